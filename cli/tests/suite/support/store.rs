//! The store of a home, inspected while no process holds it.

use std::fs;

use ggen_blockstore::{Block, Blockstore, SegmentBlockstore, SegmentOptions};

use super::Home;

/// Opens the store of a home that no process holds, and hashes every block in it. Returns the number of blocks and of
/// pins.
#[track_caller]
pub(crate) fn rehash(home: &Home) -> (usize, usize) {
    let store = SegmentBlockstore::open(home.path().join("store"), SegmentOptions::default()).expect("it opens");
    let mut blocks = 0;
    for cid in store.cids() {
        let cid = cid.expect("the store can be listed");
        let data = store.get(&cid).expect("a listed block can be read").expect("a listed block is there");
        Block::verify(cid, data).expect("a stored block hashes to its CID");
        blocks += 1;
    }
    let pins = store.pins();
    for pin in &pins {
        assert!(store.has(&pin.cid).expect("the store can be asked"), "{pin:?} holds nothing");
    }
    (blocks, pins.len())
}

/// Bytes in the segments of the store, as they are while a node writes to it.
pub(crate) fn store_bytes(home: &Home) -> u64 {
    let entries = fs::read_dir(home.path().join("store")).into_iter().flatten().flatten();
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "seg"));
    // A segment that is removed meanwhile counts as zero.
    segments.filter_map(|segment| segment.metadata().ok()).map(|metadata| metadata.len()).sum()
}
