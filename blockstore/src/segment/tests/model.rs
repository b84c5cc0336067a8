//! Random operations against a model, with reopening, with and without the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::Multihash;

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>),
    Delete(Vec<u8>),
    Pin(u8, u8, bool),
    Unpin(u8, u8),
    Sync,
    Checkpoint,
    Compact,
    Reopen,
    Rebuild,
}

fn op() -> impl Strategy<Value = Op> {
    let numbers = || prop::collection::vec(0..40_u8, 0..12);
    prop_oneof![
        6 => numbers().prop_map(Op::Put),
        4 => numbers().prop_map(Op::Delete),
        2 => (0..4_u8, 0..40_u8, any::<bool>()).prop_map(|(label, block, deep)| Op::Pin(label, block, deep)),
        1 => (0..4_u8, 0..40_u8).prop_map(|(label, block)| Op::Unpin(label, block)),
        1 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        2 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        1 => Just(Op::Rebuild),
    ]
}

fn block(number: u8) -> Block {
    sample_block(u64::from(number), usize::from(number) * 61 % 1400)
}

fn blocks_of(numbers: &[u8]) -> Vec<Block> {
    numbers.iter().map(|number| block(*number)).collect()
}

fn check(store: &SegmentBlockstore, held: &BTreeMap<Multihash, Block>, pins: &BTreeMap<(String, Cid), PinMode>) {
    assert_all_there(store, &held.values().cloned().collect::<Vec<_>>());
    let listed: BTreeSet<_> = store.cids().map(|cid| *cid.unwrap().hash()).collect();
    assert_eq!(listed, held.keys().copied().collect());
    let found: BTreeMap<_, _> = store.pins().into_iter().map(|pin| ((pin.label, pin.cid), pin.mode)).collect();
    assert_eq!(&found, pins);
    let bytes: usize = held.values().map(|block| block.data().len()).sum();
    assert_eq!((store.stats().blocks, store.stats().block_bytes), (held.len() as u64, bytes as u64));
    let counted: u64 = store.inner.state().segments.values().map(|segment| segment.live).sum();
    assert!(counted <= store.stats().stored_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_the_model_does(ops in prop::collection::vec(op(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let options = || SegmentOptions { checkpoint_records: 30, ..small_segments() };
        let mut store = Some(SegmentBlockstore::open(dir.path(), options()).unwrap());
        let (mut held, mut pins) = (BTreeMap::new(), BTreeMap::new());
        for op in ops {
            let open = store.as_ref().unwrap();
            match op {
                Op::Put(numbers) => {
                    open.put_many(&blocks_of(&numbers)).unwrap();
                    held.extend(blocks_of(&numbers).into_iter().map(|block| (*block.cid().hash(), block)));
                }
                Op::Delete(numbers) => {
                    let named = blocks_of(&numbers);
                    let gone: BTreeSet<_> = named.iter().filter_map(|block| held.remove(block.cid().hash())).map(|block| *block.cid().hash()).collect();
                    prop_assert_eq!(open.delete_many(&cids(&blocks_of(&numbers))).unwrap(), gone.len() as u64);
                }
                Op::Pin(label, number, deep) => {
                    let mode = if deep { PinMode::Recursive } else { PinMode::Direct };
                    let pin = Pin { label: label.to_string(), cid: *block(number).cid(), mode };
                    open.pin(pin.clone()).unwrap();
                    pins.insert((pin.label, pin.cid), mode);
                }
                Op::Unpin(label, number) => {
                    let key = (label.to_string(), *block(number).cid());
                    prop_assert_eq!(open.unpin(&key.0, &key.1).unwrap(), pins.remove(&key).is_some());
                }
                Op::Sync => open.sync().unwrap(),
                Op::Checkpoint => open.checkpoint().unwrap(),
                Op::Compact => {
                    open.compact().unwrap();
                }
                Op::Reopen | Op::Rebuild => {
                    drop(store.take());
                    if matches!(op, Op::Rebuild) {
                        remove_checkpoints(dir.path());
                    }
                    store = Some(SegmentBlockstore::open(dir.path(), options()).unwrap());
                }
            }
            check(store.as_ref().unwrap(), &held, &pins);
        }
    }
}
