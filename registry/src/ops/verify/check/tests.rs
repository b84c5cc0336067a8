//! Checks with concurrent changes, on stores in memory.

use ggen_blockstore::{Blockstore as _, MemoryBlockstore, PbLink, PbNode, Pin};

use super::*;
use crate::ops::loopback::{Call, Watched};

fn leaf(store: &MemoryBlockstore, content: &str) -> Cid {
    let block = Block::raw(content.as_bytes().to_vec()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

fn node(store: &MemoryBlockstore, links: &[Cid]) -> Cid {
    let link = |cid: &Cid| PbLink::new(*cid, bytes::Bytes::new(), 0);
    let data = PbNode { links: links.iter().map(link).collect(), data: None };
    let block = Block::dag_pb(data.encode()).unwrap();
    store.put(&block).unwrap();
    *block.cid()
}

#[test]
fn what_pins_lead_to_and_is_not_there_is_found_with_its_root() {
    let store = MemoryBlockstore::new();
    let (a, b) = (leaf(&store, "a"), leaf(&store, "b"));
    let inner = node(&store, &[b]);
    let root = node(&store, &[a, inner]);
    let sound = node(&store, &[a]);
    for cid in [root, sound] {
        store.pin(Pin { label: "user".to_owned(), cid, mode: PinMode::Recursive }).unwrap();
    }
    let quiet = |_: Progress| {};
    let checked = check_all(&store, &quiet).unwrap();
    assert_eq!((checked.blocks, checked.bad), (5, Vec::new()));
    store.delete_many(&[a, inner]).unwrap();
    let checked = check_all(&store, &quiet).unwrap();
    let bad: HashSet<Cid> = checked.bad.iter().map(|bad| bad.cid).collect();
    assert_eq!(bad, HashSet::from([a, inner]));
    assert_eq!(checked.blocks, 3, "those that are there are hashed");
    assert!(!checked.roots.is_empty());
    let checked = check_dags(&store, &[root], &[], &quiet).unwrap();
    assert_eq!(checked.bad.len(), 2);
    assert_eq!(checked.roots, [root]);
}
const QUIET: fn(Progress) = |_| {};

/// A release has both pins: a direct one as a record of the publisher, and a recursive one as a release.
#[test]
fn what_a_direct_pin_leads_to_is_followed_where_a_recursive_pin_leads_there_too() {
    for labels in [["record", "release"], ["release", "record"]] {
        let store = MemoryBlockstore::new();
        let (kept, lost) = (leaf(&store, "kept"), leaf(&store, "lost"));
        let inner = node(&store, &[kept, lost]);
        let root = node(&store, &[inner]);
        let modes = [PinMode::Direct, PinMode::Recursive];
        // Pins are walked in the order of their labels.
        for (label, mode) in labels.into_iter().zip(modes) {
            store.pin(Pin { label: label.to_owned(), cid: root, mode }).unwrap();
        }
        store.pin(Pin { label: "another".to_owned(), cid: inner, mode: PinMode::Direct }).unwrap();
        assert_eq!(check_all(&store, &QUIET).unwrap().bad, []);
        store.delete_many(&[lost]).unwrap();
        let checked = check_all(&store, &QUIET).unwrap();
        assert_eq!(checked.bad, [Bad { cid: lost, reason: MISSING.to_owned() }], "{labels:?}");
        assert_eq!(checked.roots, [root]);
        store.delete_many(&[inner]).unwrap();
        let checked = check_all(&store, &QUIET).unwrap();
        assert_eq!(checked.bad, [Bad { cid: inner, reason: MISSING.to_owned() }], "named once");
        assert_eq!(check_dags(&store, &[root], &[root, inner], &QUIET).unwrap().bad.len(), 1);
        assert_eq!(check_dags(&store, &[root], &[kept], &QUIET).unwrap().blocks, 2, "root and the leaf beside it");
    }
}

#[test]
fn what_goes_while_the_store_is_checked_is_not_missing() {
    let memory = MemoryBlockstore::new();
    let (cache, kept, released) = (leaf(&memory, "cache"), leaf(&memory, "kept"), leaf(&memory, "released"));
    let pin = |cid| Pin { label: "user".to_owned(), cid, mode: PinMode::Recursive };
    let (root, other) = (node(&memory, &[kept]), node(&memory, &[released]));
    memory.pin(pin(root)).unwrap();
    memory.pin(pin(other)).unwrap();
    // A collection removes cache after the blocks are listed, and a pin with its blocks after the pins are listed.
    let store = Watched::new(memory, move |memory, call| match call {
        Call::Cids => drop(memory.delete_many(&[cache]).unwrap()),
        Call::Pins => {
            memory.unpin("user", &other).unwrap();
            memory.delete_many(&[other, released]).unwrap();
        }
    });
    let checked = check_all(&store, &QUIET).unwrap();
    assert_eq!((checked.bad, checked.roots), (Vec::new(), Vec::new()));
    assert!(store.has(&kept).unwrap() && !store.has(&cache).unwrap() && !store.has(&released).unwrap());
}

#[test]
fn what_is_missing_below_a_pin_that_stays_is_found_though_one_that_went_led_there_too() {
    let memory = MemoryBlockstore::new();
    let shared = leaf(&memory, "shared");
    let pin = |label: &str, cid| Pin { label: label.to_owned(), cid, mode: PinMode::Recursive };
    let (goes, stays) = (node(&memory, &[shared]), node(&memory, &[shared, shared]));
    memory.pin(pin("a", goes)).unwrap();
    memory.pin(pin("b", stays)).unwrap();
    memory.delete_many(&[shared]).unwrap();
    let store = Watched::new(memory, move |memory, call| {
        if call == Call::Pins {
            memory.unpin("a", &goes).unwrap();
        }
    });
    let checked = check_all(&store, &QUIET).unwrap();
    assert_eq!(checked.bad, [Bad { cid: shared, reason: MISSING.to_owned() }]);
    assert_eq!(checked.roots, [stays]);
}

#[test]
fn what_was_checked_by_name_stays_as_long_as_the_lease() {
    let store = MemoryBlockstore::new();
    let (a, b) = (leaf(&store, "a"), leaf(&store, "b"));
    let root = node(&store, &[a]);
    let lease = store.lease();
    assert_eq!(check_dags(&store, &[root], &[], &QUIET).unwrap().bad, []);
    let collect = || ggen_blockstore::Collector::begin(&store).unwrap().collect().unwrap().removed_blocks;
    assert_eq!(collect(), 1, "what nobody looked at");
    assert!(store.has(&root).unwrap() && store.has(&a).unwrap() && !store.has(&b).unwrap());
    drop(lease);
    assert_eq!(collect(), 2);
}

#[test]
fn only_what_does_not_hash_right_is_dropped() {
    let store = MemoryBlockstore::new();
    let sound = leaf(&store, "mended by somebody else meanwhile");
    let missing = *Block::raw(&b"missing"[..]).unwrap().cid();
    // The CID claims a dag-pb node. The bytes match its hash but are not a node.
    let hash = *leaf(&store, "\u{7f}junk").hash();
    let junk = Cid::new_v1(ggen_blockstore::DAG_PB, hash);
    let checked = check_dags(&store, &[junk], &[], &QUIET).unwrap();
    assert_eq!(checked.bad.len(), 1);
    let bad = [sound, missing, junk].map(|cid| Bad { cid, reason: "it was bad".to_owned() });
    assert_eq!(drop_damaged(&store, &bad).unwrap(), [missing]);
    assert!(store.has(&sound).unwrap() && store.has(&junk).unwrap());
}
