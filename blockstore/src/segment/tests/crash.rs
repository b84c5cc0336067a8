//! A small publish-like story on a disk that dies or fails at every one of its operations.
//!
//! The oracle: after a crash the store must be exactly as it was after some prefix of the single changes that the story
//! makes, a prefix that reaches at least as far as the last sync that returned, and at most as far as the story got.

use std::collections::{BTreeMap, BTreeSet};

use super::super::sim::{Fault, SimDisk};
use super::*;
use crate::Multihash;

const SEEDS: u64 = 4;
/// More operations than the story needs.
const MANY: u64 = 10_000;

/// What a store holds.
type Content = (BTreeSet<Multihash>, BTreeMap<(String, Cid), PinMode>);

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<Block>),
    Pin(&'static str, Cid, PinMode),
    Unpin(&'static str, Cid),
    Delete(Vec<Cid>),
    Sync,
    Checkpoint,
    Compact,
}

impl Step {
    fn run(&self, store: &SegmentBlockstore) -> Result<()> {
        match self {
            Self::Put(blocks) => store.put_many(blocks).map(drop),
            Self::Pin(label, cid, mode) => store.pin(Pin { label: (*label).into(), cid: *cid, mode: *mode }),
            Self::Unpin(label, cid) => store.unpin(label, cid).map(drop),
            Self::Delete(cids) => store.delete_many(cids).map(drop),
            Self::Sync => store.sync(),
            Self::Checkpoint => store.checkpoint(),
            Self::Compact => store.compact().map(drop),
        }
    }

    /// Everything so far is durable when this has returned.
    fn promises(&self) -> bool {
        matches!(self, Self::Sync | Self::Checkpoint)
    }

    /// The contents through which it leads, one single change at a time.
    fn contents_from(&self, from: &Content) -> Vec<Content> {
        let mut contents = Vec::new();
        let mut content = from.clone();
        let mut note = |content: &Content| contents.push(content.clone());
        match self {
            Self::Put(blocks) => blocks.iter().for_each(|block| {
                content.0.insert(*block.cid().hash());
                note(&content);
            }),
            Self::Pin(label, cid, mode) => {
                content.1.insert(((*label).into(), *cid), *mode);
                note(&content);
            }
            Self::Unpin(label, cid) => {
                content.1.remove(&((*label).into(), *cid));
                note(&content);
            }
            Self::Delete(cids) => cids.iter().for_each(|cid| {
                content.0.remove(cid.hash());
                note(&content);
            }),
            Self::Sync | Self::Checkpoint | Self::Compact => {}
        }
        contents
    }
}

/// Two releases are published, the first is retired, a third is begun.
fn story() -> Vec<Step> {
    let [first, second, third] = [0..8, 20..27, 40..44].map(|numbers: std::ops::Range<u64>| {
        numbers.map(|number| sample_block(number, (number as usize * 331) % 1500)).collect::<Vec<_>>()
    });
    let root = |blocks: &[Block]| *blocks[blocks.len() - 1].cid();
    vec![
        Step::Put(first[..5].to_vec()),
        Step::Put(first[3..].to_vec()),
        Step::Pin("release/1", root(&first), PinMode::Recursive),
        Step::Sync,
        Step::Put(second.clone()),
        Step::Pin("release/2", root(&second), PinMode::Direct),
        Step::Pin("release/2", root(&second), PinMode::Recursive),
        Step::Checkpoint,
        Step::Unpin("release/1", root(&first)),
        Step::Delete(cids(&first[..6])),
        Step::Sync,
        Step::Compact,
        Step::Put(third.clone()),
        Step::Pin("release/3", root(&third), PinMode::Recursive),
        Step::Delete(cids(&first[6..])),
        Step::Sync,
        Step::Put(first[..3].to_vec()),
        Step::Compact,
        Step::Delete(cids(&first[..2])),
        Step::Checkpoint,
    ]
}

fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 3000, checkpoint_records: 12, verify_reads: true, ..SegmentOptions::default() }
}

fn open_on(disk: &SimDisk) -> Result<SegmentBlockstore> {
    SegmentBlockstore::open_on(Arc::new(disk.clone()), options(), 42)
}

/// What the store holds, every block of it read and hashed.
fn content_of(store: &SegmentBlockstore, context: &str) -> Content {
    let mut hashes = BTreeSet::new();
    for cid in store.cids() {
        let cid = cid.unwrap_or_else(|error| panic!("{context}: {error}"));
        let data = store.get(&cid).unwrap_or_else(|error| panic!("{context}: {error}"));
        let data = data.unwrap_or_else(|| panic!("{context}: {cid} is listed but not there"));
        Block::verify(cid, data).unwrap_or_else(|error| panic!("{context}: {error}"));
        hashes.insert(*cid.hash());
    }
    assert_eq!(store.stats().blocks, hashes.len() as u64, "{context}");
    let pins = store.pins().into_iter().map(|pin| ((pin.label, pin.cid), pin.mode)).collect();
    (hashes, pins)
}

fn final_content() -> Content {
    story().iter().fold(Content::default(), |content, step| step.contents_from(&content).pop().unwrap_or(content))
}

/// Runs the story up to the first error; returns the contents that a crash may leave.
fn run_until_crash(disk: &SimDisk, before: Content) -> Vec<Content> {
    let mut possible = vec![before];
    let Ok(store) = open_on(disk) else { return possible };
    for step in story() {
        let last = possible.last().cloned().unwrap_or_default();
        possible.extend(step.contents_from(&last));
        if step.run(&store).is_err() {
            break;
        }
        if step.promises() {
            possible.drain(..possible.len() - 1);
        }
    }
    possible
}

/// The story runs again from its start and ends as it should, here and after one more opening.
fn finish(disk: &SimDisk, context: &str) {
    let store = open_on(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    for step in story() {
        step.run(&store).unwrap_or_else(|error| panic!("{context}: {step:?}: {error}"));
    }
    assert_eq!(content_of(&store, context), final_content(), "{context}");
    drop(store);
    let store = open_on(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(content_of(&store, context), final_content(), "{context}");
}

fn operations_of_the_story() -> u64 {
    let disk = SimDisk::new();
    let store = open_on(&disk).unwrap();
    story().iter().for_each(|step| step.run(&store).unwrap());
    assert_eq!(content_of(&store, "no crash"), final_content());
    disk.operations()
}

#[test]
fn a_crash_at_any_operation_leaves_what_was_promised_and_no_more_than_was_done() {
    let operations = operations_of_the_story();
    assert!((60..MANY).contains(&operations), "{operations}");
    for at in 1..=operations + 1 {
        for seed in 0..SEEDS {
            let context = format!("crash at operation {at}, seed {seed}");
            let disk = SimDisk::new();
            disk.set_fault(Fault::DieAt(at));
            let possible = run_until_crash(&disk, Content::default());
            let disk = disk.crash(at * SEEDS + seed);
            let store = open_on(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            let found = content_of(&store, &context);
            assert!(possible.contains(&found), "{context}: {found:?} is none of {possible:?}");
            drop(store);
            finish(&disk, &context);
        }
    }
}

#[test]
fn a_crash_while_recovering_from_a_crash_loses_nothing_either() {
    let operations = operations_of_the_story();
    for at in (1..=operations).step_by(3) {
        let disk = SimDisk::new();
        disk.set_fault(Fault::DieAt(at));
        let possible = run_until_crash(&disk, Content::default());
        let crashed = disk.crash(at);
        let mut again = 1;
        loop {
            let context = format!("crash at operation {at}, again at {again}");
            let disk = crashed.crash(0);
            disk.set_fault(Fault::DieAt(again));
            let recovered = open_on(&disk).is_ok();
            let disk = disk.crash(again);
            let store = open_on(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            let found = content_of(&store, &context);
            assert!(possible.contains(&found), "{context}: {found:?} is none of {possible:?}");
            if recovered {
                break;
            }
            again += 1;
        }
    }
}

/// The second crash comes while the story runs again on what the first one left: what a recovery cut off must not
/// reappear behind what was written in its place.
#[test]
fn a_second_crash_later_on_keeps_the_order_too() {
    let operations = operations_of_the_story();
    for at in 3..=operations {
        let disk = SimDisk::new();
        disk.set_fault(Fault::DieAt(at));
        run_until_crash(&disk, Content::default());
        let crashed = disk.crash(at);
        let before = content_of(&open_on(&crashed.crash(0)).unwrap(), "before");
        for again in 1..24 {
            let context = format!("crash at operation {at}, later at {again}");
            let disk = crashed.crash(0);
            disk.set_fault(Fault::DieAt(again));
            let possible = run_until_crash(&disk, before.clone());
            let store = open_on(&disk.crash(again)).unwrap_or_else(|error| panic!("{context}: {error}"));
            let found = content_of(&store, &context);
            assert!(possible.contains(&found), "{context}: {found:?} is none of {possible:?}");
        }
    }
}

#[test]
fn a_failing_operation_is_reported_and_the_same_step_then_completes() {
    for length in [1, 2, 3] {
        for at in 1..=operations_of_the_story() {
            let context = format!("{length} operations fail from {at} on");
            let disk = SimDisk::new();
            disk.set_fault(Fault::FailFrom(at, length));
            let mut errors = 0;
            let store = retry(&mut errors, || open_on(&disk));
            for step in story() {
                retry(&mut errors, || step.run(&store));
                // What was written so far stays readable, whatever failed.
                content_of(&store, &context);
            }
            assert_eq!(content_of(&store, &context), final_content(), "{context}");
            disk.set_fault(Fault::None);
            store.sync().unwrap();
            let after = open_on(&disk.crash(at)).unwrap();
            assert_eq!(content_of(&after, &context), final_content(), "{context}");
            drop(store);
            assert_eq!(content_of(&open_on(&disk).unwrap(), &context), final_content(), "{context}");
        }
    }
}

fn retry<T>(errors: &mut u32, mut action: impl FnMut() -> Result<T>) -> T {
    loop {
        match action() {
            Ok(value) => return value,
            Err(Error::Io { source, .. }) if *errors < 4 => {
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                *errors += 1;
            }
            Err(error) => panic!("after {errors} errors: {error}"),
        }
    }
}

#[test]
fn an_error_names_the_file_and_the_action() {
    let disk = SimDisk::new();
    let store = open_on(&disk).unwrap();
    disk.set_fault(Fault::FailAt(disk.operations() + 1));
    let error = store.put(&sample_block(1, 100)).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `simulated/00000001.seg`");
    assert_eq!(store.stats().blocks, 0);
    store.put(&sample_block(1, 100)).unwrap();
    disk.set_fault(Fault::FailAt(disk.operations() + 1));
    assert_eq!(store.sync().unwrap_err().to_string(), "cannot sync `simulated/00000001.seg`");
    store.sync().unwrap();
    assert_all_there(&open_on(&disk.crash(7)).unwrap(), &[sample_block(1, 100)]);
}
