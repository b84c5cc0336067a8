use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;
use crate::{
    Block, ImportOptions, MemoryBlockstore, PbLink, PbNode, SegmentBlockstore, SegmentOptions, dfs_blocks,
    import_directory,
};

fn leaf(store: &impl Blockstore, content: impl Into<Vec<u8>>) -> Cid {
    let block = Block::raw(content.into()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn node(store: &impl Blockstore, name: &str, links: &[Cid]) -> Cid {
    let link = |cid: &Cid| PbLink::new(*cid, bytes::Bytes::new(), 0);
    let data = Some(bytes::Bytes::copy_from_slice(name.as_bytes()));
    let block = Block::dag_pb(PbNode { links: links.iter().map(link).collect(), data }.encode()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn pin(store: &impl Blockstore, cid: Cid, mode: PinMode) {
    store.pin(Pin { label: "user".to_owned(), cid, mode }).unwrap();
}

fn collect(store: &impl Blockstore) -> Collected {
    Collector::begin(store).unwrap().collect().unwrap()
}

#[test]
fn what_pins_reach_stays_and_the_rest_goes() {
    let store = MemoryBlockstore::new();
    let (a, b, c) = (leaf(&store, "a"), leaf(&store, "bb"), leaf(&store, "ccc"));
    let inner = node(&store, "inner", &[a, b]);
    let root = node(&store, "root", &[inner, a]);
    let alone = node(&store, "alone", &[c]);
    pin(&store, root, PinMode::Recursive);
    pin(&store, alone, PinMode::Direct);
    let preview = Collector::begin(&store).unwrap().preview().unwrap();
    assert_eq!(preview, Collected { removed_blocks: 1, freed_bytes: 3 });
    assert!(store.has(&c).unwrap(), "a preview removes nothing");
    assert_eq!(collect(&store), preview);
    assert!([a, b, inner, root, alone].iter().all(|cid| store.has(cid).unwrap()));
    assert!(!store.has(&c).unwrap(), "a direct pin keeps its block alone");
    store.unpin("user", &root).unwrap();
    assert_eq!(collect(&store).removed_blocks, 4);
}

#[test]
fn a_node_is_followed_although_its_bytes_were_kept_as_a_leaf_before() {
    let store = MemoryBlockstore::new();
    let child = leaf(&store, "child");
    let root = node(&store, "root", &[child]);
    pin(&store, Cid::new_v1(crate::RAW, *root.hash()), PinMode::Recursive);
    assert!(!Marks::of(&store, &store.pins()).unwrap().keeps(&child));
    pin(&store, root, PinMode::Recursive);
    assert!(Marks::of(&store, &store.pins()).unwrap().keeps(&child));
}

#[test]
fn nothing_goes_while_a_pinned_dag_cannot_be_followed() {
    let store = MemoryBlockstore::new();
    let garbage = leaf(&store, "garbage");
    let inner = node(&store, "inner", &[leaf(&store, "a")]);
    pin(&store, node(&store, "root", &[inner]), PinMode::Recursive);
    store.delete_many(&[inner]).unwrap();
    assert!(matches!(Collector::begin(&store), Err(Error::NotFound { cid }) if cid == inner));
    assert!(store.has(&garbage).unwrap());
}

#[test]
fn a_collection_passes_over_the_nodes_that_are_known_to_be_lost_and_no_others() {
    let store = MemoryBlockstore::new();
    let (garbage, below, beside) = (leaf(&store, "garbage"), leaf(&store, "below"), leaf(&store, "beside"));
    let inner = node(&store, "inner", &[below]);
    let root = node(&store, "root", &[inner, beside]);
    pin(&store, root, PinMode::Recursive);
    store.delete_many(&[inner]).unwrap();
    let known = BTreeSet::from([inner]);
    let collected = Collector::begin_past(&store, &known).unwrap().collect().unwrap();
    assert_eq!(collected.removed_blocks, 2, "nothing leads to what was below");
    assert!(store.has(&root).unwrap() && store.has(&beside).unwrap());
    assert!(!store.has(&garbage).unwrap() && !store.has(&below).unwrap());
    // A node that is back is followed again, and another that is lost is not passed over.
    node(&store, "inner", &[leaf(&store, "below")]);
    assert_eq!(Collector::begin_past(&store, &known).unwrap().collect().unwrap().removed_blocks, 0);
    assert!(store.has(&below).unwrap());
    store.delete_many(&[root]).unwrap();
    assert!(matches!(Collector::begin_past(&store, &known), Err(Error::NotFound { cid }) if cid == root));
}

#[test]
fn work_that_was_under_way_and_is_pinned_after_the_marking_stays() {
    let store = MemoryBlockstore::new();
    let import = store.lease();
    let child = leaf(&store, "child");
    let collector = Collector::begin(&store).unwrap();
    let root = node(&store, "root", &[child]);
    pin(&store, root, PinMode::Recursive);
    drop(import);
    assert_eq!(collector.collect().unwrap(), Collected::default());
    assert!(store.has(&child).unwrap() && store.has(&root).unwrap());
}

#[test]
fn an_eviction_takes_what_was_used_longest_ago_and_no_more_than_it_must() {
    let store = MemoryBlockstore::new();
    let sizes = 1000;
    let content = |n: u8| vec![n; sizes];
    let cids: Vec<Cid> = (0..10)
        .map(|n| {
            let _lease = store.lease();
            leaf(&store, content(n))
        })
        .collect();
    pin(&store, cids[0], PinMode::Direct);
    {
        let _lease = store.lease();
        store.retain(&[cids[1]]).unwrap();
    }
    let evicted = Collector::begin(&store).unwrap().evict(2500).unwrap();
    assert_eq!(evicted, Collected { removed_blocks: 3, freed_bytes: 3000 });
    let left: Vec<bool> = cids.iter().map(|cid| store.has(cid).unwrap()).collect();
    let expected = [true, true, false, false, false, true, true, true, true, true];
    assert_eq!(left, expected, "0 is pinned, 1 was used again");
    let all = Collector::begin(&store).unwrap().evict(u64::MAX).unwrap();
    assert_eq!(all.removed_blocks, 6);
    assert!(store.has(&cids[0]).unwrap());
}

#[test]
fn more_times_than_are_told_apart_are_taken_together_in_order() {
    let mut ages = Ages::default();
    (0..4 * MAX_AGES as u64).for_each(|time| ages.add(time, 1));
    assert!(ages.bytes.len() <= MAX_AGES);
    let span = ages.last_to_go(1000);
    assert!(span.contains(999), "{span:?}");
    assert!(span.to - span.from < 8, "{span:?}");
}

#[test]
fn a_store_on_disk_comes_within_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes: 64 << 10, ..SegmentOptions::default() };
    let store = SegmentBlockstore::open(dir.path(), options).unwrap();
    let mut kept = Vec::new();
    for n in 0..400_u32 {
        // Two in three stay: no segment is ever mostly dead.
        let cid = leaf(&store, n.to_le_bytes().repeat(500));
        if n % 3 > 0 {
            pin(&store, cid, PinMode::Direct);
            kept.push(cid);
        }
    }
    let before = store.stats();
    let collected = collect(&store);
    assert_eq!(collected, Collected { removed_blocks: 134, freed_bytes: 134 * 2000 });
    let within = before.stored_bytes * 4 / 5;
    store.reclaim(within).unwrap();
    let after = store.stats();
    assert!(after.stored_bytes <= within, "{after:?} of {before:?}");
    assert!(kept.iter().all(|cid| store.get(cid).unwrap().is_some()));
}

/// Publishing and fetching go on while the collector runs again and again; whatever was pinned is whole in the end.
#[test]
fn collecting_beside_imports_and_fetches_costs_them_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes: 256 << 10, ..SegmentOptions::default() };
    let store = SegmentBlockstore::open(dir.path().join("store"), options).unwrap();
    let source = MemoryBlockstore::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::Acquire) {
                removed += collect(&store).removed_blocks;
                store.reclaim(0).unwrap();
            }
            removed
        });
        let work: Vec<_> = (0..4_u32)
            .map(|worker| {
                let (store, source, dir) = (&store, &source, dir.path());
                scope.spawn(move || {
                    for round in 0..12 {
                        let tree = dir.join(format!("{worker}-{round}"));
                        // Some files are the same in every round: found in the store now and then, or collected.
                        std::fs::create_dir(&tree).unwrap();
                        for file in 0..20 {
                            let own = if file % 2 == 0 { round } else { 0 };
                            let content = format!("{file} {own}").repeat(400);
                            std::fs::write(tree.join(file.to_string()), content).unwrap();
                        }
                        if worker % 2 == 0 { publish(store, &tree, round) } else { fetch(store, source, &tree, round) }
                    }
                })
            })
            .collect();
        work.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::Release);
        assert!(collector.join().unwrap() > 0, "there was nothing to collect: this proves nothing");
    });
    for pin in store.pins() {
        dfs_blocks(&store, pin.cid).for_each(|block| assert!(block.is_ok()));
    }
    collect(&store);
    assert!(store.pins().iter().all(|pin| dfs_blocks(&store, pin.cid).all(|block| block.is_ok())));
}

/// As a publish does: import, then pin, under one lease. Every other one is given up before its pin.
fn publish(store: &SegmentBlockstore, tree: &std::path::Path, round: u32) {
    let imported = import_directory(store, tree, &ImportOptions::default()).unwrap();
    if round.is_multiple_of(2) {
        pin(store, imported.root, PinMode::Recursive);
    }
    drop(imported.lease);
}

/// As a fetch does: what is there is retained, the rest put, and the whole is pinned (a mirror) or read (a fetch).
fn fetch(store: &SegmentBlockstore, source: &MemoryBlockstore, tree: &std::path::Path, round: u32) {
    let root = import_directory(source, tree, &ImportOptions::default()).unwrap().root;
    let _lease = store.lease();
    for block in dfs_blocks(source, root) {
        let (cid, _) = block.unwrap();
        if !store.retain(&[cid]).unwrap()[0] {
            thread::yield_now();
            store.put(&Block::verify(cid, source.get(&cid).unwrap().unwrap()).unwrap()).unwrap();
        }
    }
    if round.is_multiple_of(2) {
        pin(store, root, PinMode::Recursive);
    }
    assert!(dfs_blocks(store, root).all(|block| block.is_ok()), "what a fetch brought stays until it ends");
}
