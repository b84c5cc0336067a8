//! Directories to DAGs and back.

use std::{num::NonZeroUsize, sync::Mutex};

use proptest::{collection::btree_map, prelude::*};

use super::support::{Item, Items, file, items, read_items, write_items};
use crate::{
    Blockstore, ExportOptions, ImportOptions, ImportProgress, MemoryBlockstore, Profile, dfs_blocks, export_directory,
    export_tar, import_directory, import_file, import_tarball,
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
        let mut tarball = Vec::new();
        export_tar(&store, imported.root, &mut tarball, &export).unwrap();
        let again = import_tarball(&MemoryBlockstore::new(), &mut &tarball[..], &options).unwrap();
        assert_eq!((again.root, again.executables), (imported.root, imported.executables));
    }
}

#[test]
fn the_number_of_threads_does_not_change_the_root() {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &sample());
    let root = |threads| {
        let options = ImportOptions { threads: NonZeroUsize::new(threads), ..ImportOptions::default() };
        import_directory(&MemoryBlockstore::new(), place.path(), &options).unwrap().root
    };
    assert!([2, 3, 8].into_iter().all(|threads| root(threads) == root(1)));
}

#[test]
fn a_second_import_puts_nothing_and_progress_reaches_the_end() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    write_items(place.path(), &sample());
    let reports = Mutex::new(Vec::new());
    let report = |progress: ImportProgress| reports.lock().unwrap().push(progress);
    let options = ImportOptions { progress: Some(&report), ..ImportOptions::default() };
    let first = import_directory(&store, place.path(), &options).unwrap();
    let last = *reports.lock().unwrap().last().unwrap();
    assert_eq!((Some(last.files), Some(last.bytes)), (last.total_files, last.total_bytes));
    assert_eq!((last.files, last.bytes), (first.files, first.size_bytes));
    assert!(reports.lock().unwrap().is_sorted_by_key(|progress| progress.bytes));
    assert_eq!(first.put.new_blocks, store.stats().blocks);
    let second = import_directory(&store, place.path(), &options).unwrap();
    assert_eq!((second.root, second.put.new_blocks, second.put.new_bytes), (first.root, 0, 0));
}

#[test]
fn a_file_is_imported_without_a_name() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    write_items(place.path(), &sample());
    let imported = import_file(&store, &place.path().join("big.bin"), &ImportOptions::default()).unwrap();
    export_directory(&store, imported.root, &place.path().join("copy"), &ExportOptions::default()).unwrap();
    let read = |name: &str| std::fs::read(place.path().join(name)).unwrap();
    assert!(read("copy") == read("big.bin"));
    assert_eq!(imported.size_bytes, 9_500_000);
    assert!(import_file(&store, place.path(), &ImportOptions::default()).is_err());
}

fn any_item() -> impl Strategy<Value = Item> {
    let content = || prop::collection::vec(any::<u8>(), 0..3000);
    prop_oneof![
        6 => content().prop_map(Item::File),
        2 => content().prop_map(Item::Executable),
        1 => Just(Item::Directory),
        1 => "[a-d]{1,3}".prop_map(Item::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_trees_come_back_through_every_way(tree in btree_map("([a-d]{1,2}/){0,3}[ekm.-]{3,6}", any_item(), 0..40)) {
        let place = tempfile::tempdir().unwrap();
        let (input, output) = (place.path().join("in"), place.path().join("out"));
        std::fs::create_dir(&input).unwrap();
        write_items(&input, &tree);
        // A small profile, so that a few kilobytes have several levels and shards.
        let profile = Profile { chunk_bytes: 100, file_links: 4, fanout: 8, shard_threshold: 200, ..Profile::V1_2025 };
        let options = ImportOptions { profile, ..ImportOptions::default() };
        let store = MemoryBlockstore::new();
        let imported = import_directory(&store, &input, &options).unwrap();
        let export = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
        export_directory(&store, imported.root, &output, &export).unwrap();
        prop_assert_eq!(read_items(&output), read_items(&input));
        let mut tarball = Vec::new();
        export_tar(&store, imported.root, &mut tarball, &export).unwrap();
        let again = import_tarball(&store, &mut &tarball[..], &options).unwrap();
        prop_assert_eq!((again.root, again.executables, again.entries), (imported.root, imported.executables, imported.entries));
        let blocks = dfs_blocks(&store, imported.root).collect::<Result<Vec<_>, _>>().unwrap();
        prop_assert_eq!(blocks.len() as u64, store.stats().blocks);
        prop_assert_eq!(blocks.iter().map(|(_, size)| u64::from(*size)).sum::<u64>(), store.stats().block_bytes);
    }
}
