//! Directories to DAGs and back.

use super::support::{Item, Items, file, items, read_items, write_items};
use crate::{
    Blockstore, ExportOptions, ImportOptions, MemoryBlockstore, Profile, dfs_blocks, export_directory, import_directory,
};

fn sample() -> Items {
    let big: Vec<u8> = (0..9_500_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    items([
        ("README.md", file("hello")),
        (".hidden/file", file("seen")),
        ("big.bin", Item::File(big)),
        ("empty", file("")),
        ("empty dir", Item::Directory),
        ("bin/run", Item::Executable(b"#!/bin/sh\n".to_vec())),
        ("bin/README", Item::Link("../README.md".to_owned())),
        ("bin.txt", file("sorts between bin and bin/run")),
    ])
}

#[test]
fn a_directory_comes_back_as_it_was() {
    for profile in [Profile::V1_2025, Profile::V0_2015] {
        let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
        write_items(&place.path().join("in"), &sample());
        let options = ImportOptions { profile, ..ImportOptions::default() };
        let imported = import_directory(&store, &place.path().join("in"), &options).unwrap();
        assert_eq!(imported.files, 6);
        assert_eq!(imported.executables, ["bin/run"]);
        let out = place.path().join("out");
        let export = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
        let exported = export_directory(&store, imported.root, &out, &export).unwrap();
        assert_eq!((exported.files, exported.size_bytes), (6, imported.size_bytes));
        assert_eq!(read_items(&out), read_items(&place.path().join("in")));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
        let blocks = dfs_blocks(&store, imported.root).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(blocks.len() as u64, store.stats().blocks);
    }
}
