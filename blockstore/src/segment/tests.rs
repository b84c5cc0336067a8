//! Tests of the store on a real disk. Those of crashes and failing disks are in `crash`.

mod crash;
mod flips;
mod lost;
mod model;

use std::{fs, path::Path, sync::Arc};

use super::*;
use crate::{
    PinMode,
    conformance::{self, sample_block},
};

fn open(dir: &Path) -> SegmentBlockstore {
    SegmentBlockstore::open(dir, SegmentOptions::default()).unwrap()
}

fn small_segments() -> SegmentOptions {
    SegmentOptions { segment_bytes: 4096, ..SegmentOptions::default() }
}

fn blocks(numbers: std::ops::Range<u64>, len: usize) -> Vec<Block> {
    numbers.map(|number| sample_block(number, len)).collect()
}

fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| *block.cid()).collect()
}

fn assert_all_there(store: &SegmentBlockstore, blocks: &[Block]) {
    for block in blocks {
        assert_eq!(store.get(block.cid()).unwrap().as_ref(), Some(block.data()), "{}", block.cid());
    }
}

fn damage_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    // More than one bit: a single one in a head is put right.
    bytes[at] ^= 0x42;
    fs::write(path, bytes).unwrap();
}

fn remove_checkpoints(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "ckpt") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn the_store_on_disk_conforms() {
    let dirs = std::cell::RefCell::new(Vec::new());
    conformance::run_all(|| {
        let dir = tempfile::tempdir().unwrap();
        let store =
            SegmentBlockstore::open(dir.path(), SegmentOptions { verify_reads: true, ..small_segments() }).unwrap();
        dirs.borrow_mut().push(dir);
        store
    });
}

#[test]
fn the_store_in_memory_conforms() {
    conformance::run_all(crate::MemoryBlockstore::new);
}

#[test]
fn blocks_and_pins_are_there_after_reopening_with_and_without_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, deleted) = (blocks(0..40, 700), blocks(40..60, 300));
    let pin = Pin { label: "release/a".into(), cid: *kept[0].cid(), mode: PinMode::Recursive };
    let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    store.put_many(&kept).unwrap();
    store.put_many(&deleted).unwrap();
    store.pin(pin.clone()).unwrap();
    store.pin(Pin { label: "gone".into(), ..pin.clone() }).unwrap();
    store.pin(Pin { mode: PinMode::Direct, ..pin.clone() }).unwrap();
    store.unpin("gone", &pin.cid).unwrap();
    assert_eq!(store.delete_many(&cids(&deleted)).unwrap(), 20);
    store.checkpoint().unwrap();
    let stats = store.stats();
    drop(store);
    for without_checkpoint in [false, true] {
        if without_checkpoint {
            remove_checkpoints(dir.path());
        }
        let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
        assert_eq!(store.stats(), stats);
        assert_eq!(store.pins(), [Pin { mode: PinMode::Direct, ..pin.clone() }]);
        assert_all_there(&store, &kept);
        assert!(deleted.iter().all(|block| !store.has(block.cid()).unwrap()));
        assert_eq!(store.cids().count(), 40);
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = store.clone();
    let refused = SegmentBlockstore::open(dir.path(), SegmentOptions::default());
    assert!(matches!(refused, Err(Error::InUse { path }) if path == dir.path()));
    drop(store);
    assert!(SegmentBlockstore::open(dir.path(), SegmentOptions::default()).is_err());
    drop(other);
    open(dir.path());
}

/// Names and contents.
fn files(dir: &Path) -> std::collections::BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_store_is_read_after_a_crash_without_a_byte_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let stored = blocks(0..90, 100);
    let pin = Pin { label: "user".to_owned(), cid: *stored[0].cid(), mode: PinMode::Direct };
    let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    store.put_many(&stored).unwrap();
    store.pin(pin.clone()).unwrap();
    store.delete_many(&cids(&stored[80..])).unwrap();
    store.sync().unwrap();
    // As after a crash: no checkpoint, and half a record at the end.
    let copy = tempfile::tempdir().unwrap();
    for (name, mut bytes) in files(dir.path()) {
        bytes.extend(if name == "00000003.seg" { &b"half a record"[..] } else { b"" });
        fs::write(copy.path().join(name), bytes).unwrap();
    }
    drop(store);
    let before = files(copy.path());
    assert!(before.contains_key(std::ffi::OsStr::new("00000003.seg")), "{:?}", before.keys());
    let open = || SegmentBlockstore::open_read_only(copy.path(), small_segments()).unwrap();
    let (first, second) = (open(), open());
    for store in [&first, &second] {
        assert_all_there(store, &stored[..80]);
        assert_eq!((store.cids().count(), store.pins()), (80, vec![pin.clone()]));
    }
    // What is written is there for this opening alone.
    let more = blocks(100..200, 100);
    first.put_many(&more).unwrap();
    assert!(first.unpin("user", &pin.cid).unwrap());
    first.delete_many(&cids(&stored[..40])).unwrap();
    first.reclaim(0).unwrap();
    first.checkpoint().unwrap();
    assert_all_there(&first, &more);
    assert_all_there(&first, &stored[40..80]);
    assert_eq!(first.cids().count(), 140);
    drop(first);
    assert_all_there(&second, &stored[..80]);
    assert_eq!((second.cids().count(), second.pins()), (80, vec![pin]));
    drop(second);
    assert_eq!(files(copy.path()), before);
}

#[test]
fn a_store_that_is_read_is_not_written_to_meanwhile_and_one_that_is_written_to_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let read_only = || SegmentBlockstore::open_read_only(dir.path(), SegmentOptions::default());
    let writer = open(dir.path());
    assert!(matches!(read_only(), Err(Error::InUse { .. })));
    drop(writer);
    let reader = read_only().unwrap();
    assert!(matches!(SegmentBlockstore::open(dir.path(), SegmentOptions::default()), Err(Error::InUse { .. })));
    drop(reader);
    open(dir.path());
    let empty = SegmentBlockstore::open_read_only(&absent, SegmentOptions::default()).unwrap();
    assert_eq!((empty.cids().count(), absent.exists()), (0, false));
}

#[test]
fn a_directory_of_another_format_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let version = dir.path().join("VERSION");
    fs::write(&version, "ggen-blockstore 9\nseed 0\n").unwrap();
    let refused = SegmentBlockstore::open(dir.path(), SegmentOptions::default());
    assert!(matches!(refused, Err(Error::Open { reason, .. }) if reason.contains("ggen-blockstore 9")));
    fs::remove_file(&version).unwrap();
    let refused = SegmentBlockstore::open(dir.path(), SegmentOptions::default());
    assert!(matches!(refused, Err(Error::Open { reason, .. }) if reason.contains("00000001.seg")));
}

#[test]
fn a_damaged_byte_anywhere_never_gives_wrong_bytes_and_costs_one_block() {
    let dir = tempfile::tempdir().unwrap();
    let stored = blocks(0..5, 60);
    let store = open(dir.path());
    store.put_many(&stored).unwrap();
    store.sync().unwrap();
    drop(store);
    let segment = dir.path().join("00000001.seg");
    let (record, marks) = (32 + 36 + 60, 32 + 4 + 9);
    assert_eq!(fs::read(&segment).unwrap().len(), 5 * record + marks);
    for at in 0..5 * record {
        damage_byte(&segment, at);
        let store = open(dir.path());
        let results: Vec<_> = stored.iter().map(|block| store.get(block.cid())).collect();
        let damaged = results.iter().filter(|result| matches!(result, Err(Error::Corrupt { .. }))).count();
        assert_eq!(damaged, 1, "byte {at}");
        for (block, result) in stored.iter().zip(results) {
            assert!(result.is_err() || result.unwrap().as_ref() == Some(block.data()), "byte {at}");
        }
        damage_byte(&segment, at);
    }
}

#[test]
fn a_damaged_block_is_repaired_by_deleting_and_putting_it() {
    let dir = tempfile::tempdir().unwrap();
    let stored = blocks(0..3, 100);
    let store = open(dir.path());
    store.put_many(&stored).unwrap();
    let segment = dir.path().join("00000001.seg");
    let record = 168;
    // The middle block's data, then the last one's record head.
    for (at, block) in [(record + 100, &stored[1]), (2 * record + 9, &stored[2])] {
        damage_byte(&segment, at);
        assert!(matches!(store.get(block.cid()), Err(Error::Corrupt { .. })));
        store.delete_many(&[*block.cid()]).unwrap();
        assert_eq!(store.get(block.cid()).unwrap(), None);
        assert_eq!(store.put(block).unwrap().new_blocks, 1);
    }
    assert_all_there(&store, &stored);
    damage_byte(&segment, 9);
    assert!(store.has(stored[0].cid()).is_err());
    assert_eq!(store.put(&stored[0]).unwrap().new_blocks, 1, "a damaged record head is replaced by putting");
    assert_all_there(&store, &stored);
    drop(store);
    let store = open(dir.path());
    assert_all_there(&store, &stored);
    assert_eq!(store.stats().blocks, 3);
}

#[test]
fn old_damage_found_while_rebuilding_costs_only_what_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let stored = blocks(0..20, 500);
    let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    for block in &stored {
        store.put(block).unwrap();
        store.sync().unwrap();
    }
    drop(store);
    remove_checkpoints(dir.path());
    let record = 568;
    damage_byte(&dir.path().join("00000001.seg"), record + 12);
    damage_byte(&dir.path().join("00000002.seg"), record + 200);
    // In the newest segment, later records distinguish such damage from the mark of a crash.
    damage_byte(&dir.path().join("00000003.seg"), record + 200);
    let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    let lost = |block: &&Block| !matches!(store.get(block.cid()), Ok(Some(_)));
    assert_eq!(stored.iter().filter(lost).count(), 3);
    assert_eq!(store.stats().blocks, 19, "damaged data is known, a damaged head is not");
}

#[test]
fn blocks_that_an_interrupted_compaction_left_twice_do_not_come_back_when_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    let store = open();
    let stored = blocks(0..12, 600);
    store.put_many(&stored).unwrap();
    store.delete_many(&cids(&stored[2..6])).unwrap();
    let segment = dir.path().join("00000001.seg");
    let bytes = fs::read(&segment).unwrap();
    assert!(store.compact().unwrap() > 0);
    assert!(!segment.exists());
    drop(store);
    // As if the machine had died before the removal.
    fs::write(&segment, bytes).unwrap();
    remove_checkpoints(dir.path());
    let store = open();
    assert_eq!(store.stats().blocks, 8, "kills outlive the interruption too");
    assert_eq!(store.delete_many(&cids(&stored[..6])).unwrap(), 2);
    drop(store);
    remove_checkpoints(dir.path());
    let store = open();
    assert_eq!(store.stats().blocks, 6);
    assert_all_there(&store, &stored[6..]);
}

#[test]
fn verified_reads_notice_what_a_checksum_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let block = sample_block(1, 100);
    let options = SegmentOptions { verify_reads: true, ..SegmentOptions::default() };
    let store = SegmentBlockstore::open(dir.path(), options).unwrap();
    let data = vec![7; 100];
    let change = log::Change::Block {
        fingerprint: fingerprint(store.inner.seed, block.cid().hash()),
        cid: block.cid(),
        data: &data,
        data_hash: record::hash_data(&data),
        epoch: 0,
        moved_from: None,
    };
    store.inner.log.append(&[change], &store.inner.state).unwrap();
    assert!(matches!(store.get(block.cid()), Err(Error::Corrupt { detail, .. }) if detail.contains("hash")));
}

#[test]
fn blocks_with_one_fingerprint_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = [1, 2, 3].map(|number| sample_block(number, 100));
    let store = open(dir.path());
    store.put(&first).unwrap();
    // Stored under the fingerprint of the first, as a collision would have it.
    let key = fingerprint(store.inner.seed, first.cid().hash());
    let change = log::Change::Block {
        fingerprint: key,
        cid: second.cid(),
        data: second.data(),
        data_hash: record::hash_data(second.data()),
        epoch: 0,
        moved_from: None,
    };
    store.inner.log.append(&[change], &store.inner.state).unwrap();
    store.put(&third).unwrap();
    assert_eq!(read::find(&store.inner.state(), key).len(), 2);
    assert_all_there(&store, &[first.clone(), third.clone()]);
    assert_eq!(store.put(&first).unwrap().new_blocks, 0);
    assert_eq!(store.delete_many(&[*first.cid()]).unwrap(), 1);
    assert_eq!(store.get(first.cid()).unwrap(), None);
    assert_eq!(read::find(&store.inner.state(), key).len(), 1);
}

#[test]
fn compaction_frees_space_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes: 64 << 10, ..SegmentOptions::default() };
    let store = SegmentBlockstore::open(dir.path(), options.clone()).unwrap();
    let stored = blocks(0..400, 1000);
    let pin = Pin { label: "user".into(), cid: *stored[0].cid(), mode: PinMode::Direct };
    store.pin(pin.clone()).unwrap();
    store.put_many(&stored).unwrap();
    let (kept, deleted): (Vec<_>, Vec<_>) = stored.iter().cloned().enumerate().partition(|(number, _)| number % 5 == 0);
    let [kept, deleted] = [kept, deleted].map(|blocks| blocks.into_iter().map(|(_, block)| block).collect::<Vec<_>>());
    assert_eq!(store.delete_many(&cids(&deleted)).unwrap(), 320);
    let before = store.stats().stored_bytes;
    let freed = store.compact().unwrap();
    store.checkpoint().unwrap();
    let after = store.stats().stored_bytes;
    assert!(freed > before / 2 && after < before / 2, "{before} - {freed} -> {after}");
    let on_disk: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".seg"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, after);
    assert_eq!(store.compact().unwrap(), 0, "nothing is left to do");
    let check = |store: &SegmentBlockstore| {
        assert_all_there(store, &kept);
        assert!(deleted.iter().all(|block| !store.has(block.cid()).unwrap()));
        assert_eq!(store.pins(), std::slice::from_ref(&pin));
        assert_eq!(store.cids().count(), kept.len());
        assert_eq!(store.stats().stored_bytes, after);
    };
    check(&store);
    drop(store);
    check(&SegmentBlockstore::open(dir.path(), options.clone()).unwrap());
    remove_checkpoints(dir.path());
    check(&SegmentBlockstore::open(dir.path(), options).unwrap());
}

#[test]
fn readers_do_not_notice_compactions() {
    let dir = tempfile::tempdir().unwrap();
    let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    let kept = blocks(0..30, 400);
    store.put_many(&kept).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_all_there(&store, &kept);
                    let listed: std::collections::BTreeSet<_> =
                        store.cids().map(|cid| cid.unwrap().to_string()).collect();
                    assert!(kept.iter().all(|block| listed.contains(&block.cid().to_string())));
                }
            });
        }
        for round in 0..15 {
            let garbage = blocks(1000 + round * 100..1060 + round * 100, 300);
            store.put_many(&garbage).unwrap();
            store.delete_many(&cids(&garbage)).unwrap();
            store.compact().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(store.stats().stored_bytes < 64 << 10, "{:?}", store.stats());
}

#[test]
fn a_damaged_live_block_keeps_its_segment_from_being_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    let stored = blocks(0..12, 600);
    store.put_many(&stored).unwrap();
    let record = 668;
    // Of the first segment's six blocks the first and the second stay; the second's head is damaged.
    store.delete_many(&cids(&stored[2..6])).unwrap();
    let segment = dir.path().join("00000001.seg");
    damage_byte(&segment, record + 20);
    assert_eq!(store.compact().unwrap(), 0);
    assert!(segment.exists());
    assert_all_there(&store, &stored[..1]);
    assert!(matches!(store.get(stored[1].cid()), Err(Error::Corrupt { .. })));
}

#[test]
fn checkpoints_are_made_while_writing_and_old_ones_removed() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions { checkpoint_records: 10, checkpoint_bytes: 1 << 20, ..SegmentOptions::default() };
    let store = SegmentBlockstore::open(dir.path(), options).unwrap();
    for block in blocks(0..25, 10) {
        store.put(&block).unwrap();
    }
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let checkpoints: Vec<_> = names.filter(|name| name.starts_with("index")).collect();
    assert_eq!(checkpoints, ["index-00000002.ckpt"]);
}

#[test]
fn a_damaged_checkpoint_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let stored = blocks(0..10, 50);
    for at in [0, 9, 17, 30, 100, 240] {
        let store = open(dir.path());
        store.put_many(&stored).unwrap();
        store.pin(Pin { label: format!("{at}"), cid: *stored[0].cid(), mode: PinMode::Direct }).unwrap();
        drop(store);
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        damage_byte(&names.into_iter().find(|path| path.extension().is_some_and(|e| e == "ckpt")).unwrap(), at);
        let store = open(dir.path());
        assert_all_there(&store, &stored);
        assert_eq!(store.stats().blocks, 10);
    }
}

#[test]
fn concurrent_syncs_all_return_after_a_sync_that_covers_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for block in blocks(writer * 100..writer * 100 + 50, 100) {
                    store.put(&block).unwrap();
                    let end = store.inner.log.tail().end;
                    store.sync().unwrap();
                    assert!(store.inner.log.tail().durable >= end);
                }
            });
        }
    });
    assert_eq!(store.stats().blocks, 200);
}
