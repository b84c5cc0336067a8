//! Records that are gone without damage that is left to be seen.

use super::*;

fn pin_of(block: &Block) -> Pin {
    Pin { label: "user".to_owned(), cid: *block.cid(), mode: PinMode::Direct }
}

/// Some segments of blocks, then a pin.
fn store_with_pin(dir: &Path) {
    let stored = blocks(0..40, 300);
    let store = SegmentBlockstore::open(dir, small_segments()).unwrap();
    store.put_many(&stored).unwrap();
    store.pin(pin_of(&stored[0])).unwrap();
    store.sync().unwrap();
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect();
    segments.sort();
    segments
}

/// Opens the store as it is after `change`, and again: returns each time whether it reports lost records.
fn lost_after(change: impl Fn(&Path)) -> [bool; 2] {
    let dir = tempfile::tempdir().unwrap();
    store_with_pin(dir.path());
    change(dir.path());
    [(); 2].map(|()| SegmentBlockstore::open(dir.path(), small_segments()).unwrap().lost_records())
}

#[test]
fn files_that_are_gone_or_shorter_are_noticed_once() {
    assert_eq!(lost_after(|_| {}), [false, false]);
    assert_eq!(lost_after(remove_checkpoints), [false, false]);
    let last = |dir: &Path| segments(dir).pop().unwrap();
    assert_eq!(lost_after(|dir| fs::remove_file(last(dir)).unwrap()), [true, false]);
    let all_gone = |dir: &Path| segments(dir).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(lost_after(all_gone), [true, false]);
    let shorter = |dir: &Path| {
        let file = fs::File::options().write(true).open(last(dir)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    assert_eq!(lost_after(shorter), [true, false]);
}

#[test]
fn file_of_a_pin_that_is_gone_is_noticed_although_later_ones_are_there() {
    let dir = tempfile::tempdir().unwrap();
    store_with_pin(dir.path());
    let with_pin = segments(dir.path()).pop().unwrap();
    SegmentBlockstore::open(dir.path(), small_segments()).unwrap().put_many(&blocks(100..160, 300)).unwrap();
    assert!(segments(dir.path()).len() > 4);
    fs::remove_file(with_pin).unwrap();
    let open = || SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
    let store = open();
    assert!(store.lost_records() && store.pins().is_empty());
    drop(store);
    assert!(!open().lost_records());
}

#[test]
fn compaction_and_pins_that_are_taken_away_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    store_with_pin(dir.path());
    let stored = blocks(0..40, 300);
    let copy = tempfile::tempdir().unwrap();
    {
        let store = SegmentBlockstore::open(dir.path(), small_segments()).unwrap();
        store.pin(pin_of(&stored[1])).unwrap();
        store.unpin("user", stored[0].cid()).unwrap();
        store.delete_many(&cids(&stored[2..])).unwrap();
        store.reclaim(0).unwrap();
        store.sync().unwrap();
        // As after a crash: with the checkpoint of before.
        for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let store = SegmentBlockstore::open(copy.path(), small_segments()).unwrap();
    assert_eq!((store.lost_records(), store.pins()), (false, vec![pin_of(&stored[1])]));
}

#[test]
fn cut_of_a_record_that_was_never_finished_is_no_loss_and_any_other_may_be() {
    let at_the_end = |change: &dyn Fn(&mut Vec<u8>)| {
        lost_after(|dir| {
            remove_checkpoints(dir);
            let last = segments(dir).pop().unwrap();
            let mut bytes = fs::read(&last).unwrap();
            change(&mut bytes);
            fs::write(last, bytes).unwrap();
        })
    };
    // The pin is the last record: half of it, all of it with another head, and something behind it.
    assert_eq!(at_the_end(&|bytes| bytes.truncate(bytes.len() - 2)), [false, false]);
    let without_head = |bytes: &mut Vec<u8>| {
        let head = bytes.windows(5).rposition(|window| window == b"gSR1\x03").unwrap();
        bytes[head + 2..].fill(0);
    };
    assert_eq!(at_the_end(&without_head), [true, false]);
    assert_eq!(at_the_end(&|bytes| bytes.extend([7; 100])), [true, false]);
    assert_eq!(at_the_end(&|bytes| bytes.extend([7; 10])), [false, false]);
}
