//! Trees that are written while they arrive.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

use super::support::{Item, Items, file, items, read_items, write_items};
use crate::{
    Arrivals, Block, Blockstore, Cid, Error, ExportOptions, Exported, ImportOptions, MemoryBlockstore, PbLink, PbNode,
    Profile, Refusal, Result, Staged, UnixfsData, UnixfsKind, dfs_blocks, import_directory, stage_directory,
};

fn sample() -> Items {
    let large = (0..9_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    items([
        ("a", file("alpha")),
        ("dir/large", Item::File(large)),
        ("dir/link", Item::Link("../a".to_owned())),
        ("dir/run", Item::Executable(b"#!/bin/sh\n".to_vec())),
        ("z/last", file("omega")),
    ])
}

/// A tree that is written in another thread while blocks arrive.
struct Arriving {
    arrivals: Arrivals,
    place: tempfile::TempDir,
    staging: thread::JoinHandle<Result<Staged>>,
}

impl Arriving {
    fn begin(root: Cid) -> Self {
        let place = tempfile::tempdir().unwrap();
        let arrivals = Arrivals::new(Arc::new(MemoryBlockstore::new()));
        let (reader, out) = (arrivals.awaiting(), place.path().join("out"));
        let executables = ["dir/run".to_owned()];
        let staging = thread::spawn(move || {
            let options = ExportOptions { executables: &executables, ..ExportOptions::default() };
            stage_directory(&reader, root, &out, &options)
        });
        Self { arrivals, place, staging }
    }

    fn names(&self) -> Vec<PathBuf> {
        fs::read_dir(self.place.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// What is at a path of the tree that is being written.
    fn written(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.names().first()?.join(path)).ok()
    }
}

/// A tree in a store, and its blocks in the order of a walk.
fn imported() -> (tempfile::TempDir, Cid, Vec<Block>) {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    write_items(place.path(), &sample());
    let root = import_directory(&store, place.path(), &ImportOptions::default()).unwrap().root;
    let blocks = dfs_blocks(&store, root).map(|block| {
        let cid = block.unwrap().0;
        Block::verify(cid, store.get(&cid).unwrap().unwrap()).unwrap()
    });
    (place, root, blocks.collect())
}

#[test]
fn a_tree_is_written_while_it_arrives_and_shown_when_it_is_committed() {
    let (original, root, blocks) = imported();
    let arriving = Arriving::begin(root);
    let (last, others) = blocks.split_last().unwrap();
    arriving.arrivals.put_many(others).unwrap();
    // Everything but the last file can be written, and nothing is where it will be.
    while arriving.written("dir/large").is_none_or(|large| large.len() != 9_000_000) {
        thread::yield_now();
    }
    assert!(!arriving.place.path().join("out").exists());
    assert!(!arriving.staging.is_finished());
    arriving.arrivals.put(last).unwrap();
    let staged = arriving.staging.join().unwrap().unwrap();
    assert!(!arriving.place.path().join("out").exists());
    assert_eq!(staged.commit().unwrap(), Exported { files: 4, size_bytes: 9_000_020 });
    assert_eq!(read_items(&arriving.place.path().join("out")), read_items(original.path()));
    assert_eq!(fs::read_dir(arriving.place.path()).unwrap().count(), 1);
}

#[test]
fn blocks_may_come_in_any_order() {
    let (original, root, mut blocks) = imported();
    blocks.reverse();
    let arriving = Arriving::begin(root);
    for block in &blocks {
        arriving.arrivals.put(block).unwrap();
    }
    arriving.staging.join().unwrap().unwrap().commit().unwrap();
    assert_eq!(read_items(&arriving.place.path().join("out")), read_items(original.path()));
}

#[test]
fn nothing_stays_of_a_tree_that_ends_early_or_is_not_committed() {
    let (_original, root, blocks) = imported();
    for arrived in [0, 1, blocks.len() / 2, blocks.len() - 1] {
        let arriving = Arriving::begin(root);
        arriving.arrivals.put_many(&blocks[..arrived]).unwrap();
        arriving.arrivals.end();
        let (done, ended) = mpsc::channel();
        let place = arriving.place;
        thread::spawn(move || done.send(arriving.staging.join().unwrap().map(drop)));
        assert!(matches!(ended.recv().unwrap(), Err(Error::NotFound { .. })), "after {arrived} blocks");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "after {arrived} blocks");
    }
    let arriving = Arriving::begin(root);
    arriving.arrivals.put_many(&blocks).unwrap();
    drop(arriving.staging.join().unwrap().unwrap());
    assert_eq!(fs::read_dir(arriving.place.path()).unwrap().count(), 0);
}

/// The refusal comes while other files are written already; of these nothing may stay.
#[test]
fn an_unsafe_name_far_into_the_tree_leaves_nothing() {
    let store = MemoryBlockstore::new();
    let leaf = Block::raw(&b"content"[..]).unwrap();
    let directory = |names: &[(&str, Cid)]| {
        let link = |(name, cid): &(&str, Cid)| PbLink::new(*cid, name.as_bytes().to_vec(), 0);
        let links = names.iter().map(link).collect();
        Block::dag_pb(PbNode { links, data: Some(UnixfsData::new(UnixfsKind::Directory).encode().into()) }.encode())
    };
    let bad = directory(&[("..", *leaf.cid())]).unwrap();
    let names: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    let mut entries: Vec<_> = names.iter().map(|name| (name.as_str(), *leaf.cid())).collect();
    entries.push(("z", *bad.cid()));
    let root = directory(&entries).unwrap();
    store.put_many(&[leaf, bad, root.clone()]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let staged = stage_directory(&store, *root.cid(), &place.path().join("out"), &ExportOptions::default());
    assert!(matches!(staged, Err(Error::Refused { refusal: Refusal::Name { .. }, .. })));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn a_single_file_is_staged_like_a_tree() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    let profile = Profile { chunk_bytes: 10, file_links: 3, ..Profile::V1_2025 };
    fs::write(place.path().join("in"), "a file of some more than ten bytes").unwrap();
    let options = ImportOptions { profile, ..ImportOptions::default() };
    let root = crate::import_file(&store, &place.path().join("in"), &options).unwrap().root;
    let out = place.path().join("out");
    stage_directory(&store, root, &out, &ExportOptions::default()).unwrap().commit().unwrap();
    assert_eq!(fs::read(out).unwrap(), fs::read(place.path().join("in")).unwrap());
}
