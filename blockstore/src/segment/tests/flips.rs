//! Bit rot: a store with a history, copied and damaged in one place over and over.
//!
//! The oracle: one wrong bit anywhere costs at most the data of one block, which reading it reports; pins, the index
//! and every other block are as they were. Larger damage may cost more, and then the store reports it.

use std::{collections::BTreeMap, path::PathBuf};

use super::*;

const FLIPS: u64 = 1000;
const HOLES: u64 = 300;

/// A stream of numbers that its seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn options() -> SegmentOptions {
    SegmentOptions { segment_bytes: 64 << 10, ..SegmentOptions::default() }
}

/// A closed store with live and dead records of every kind, and everything that it holds.
struct Sample {
    dir: tempfile::TempDir,
    blocks: Vec<Block>,
    pins: Vec<Pin>,
}

impl Sample {
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SegmentBlockstore::open(dir.path(), options()).unwrap();
        let mut live = Vec::new();
        for round in 0..8_u64 {
            let few: Vec<_> = (0..12).map(|n| sample_block(round * 100 + n, (n as usize * 977) % 5000 + 1)).collect();
            let gone = blocks(round * 100 + 50..round * 100 + 56, 900);
            store.put_many(&few).unwrap();
            store.put_many(&gone).unwrap();
            for (number, block) in few.iter().enumerate().take(4) {
                let label = format!("release/acme/package-{number}@1.{round}.0");
                let mode = if number % 2 == 0 { PinMode::Recursive } else { PinMode::Direct };
                store.pin(Pin { label, cid: *block.cid(), mode }).unwrap();
            }
            let first = Pin { label: "user".into(), cid: *few[0].cid(), mode: PinMode::Recursive };
            store.pin(first.clone()).unwrap();
            store.pin(Pin { mode: PinMode::Direct, ..first.clone() }).unwrap();
            if round % 2 == 0 {
                assert!(store.unpin("user", &first.cid).unwrap());
            }
            store.delete_many(&cids(&gone)).unwrap();
            store.sync().unwrap();
            live.extend(few);
            if round == 4 {
                store.compact().unwrap();
            }
        }
        let pins = store.pins();
        assert_eq!(store.stats().blocks, live.len() as u64);
        drop(store);
        Self { dir, blocks: live, pins }
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        copy
    }

    /// Blocks that can be read as they were, and those that are reported to be damaged; nothing else is allowed of one
    /// that is there.
    fn read(&self, store: &SegmentBlockstore, what: &str) -> (usize, usize) {
        let (mut sound, mut reported) = (0, 0);
        for block in &self.blocks {
            match store.get(block.cid()) {
                Ok(Some(data)) if data == *block.data() => sound += 1,
                Err(Error::Corrupt { .. }) => reported += 1,
                Ok(None) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        (sound, reported)
    }
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(suffix));
    files.sort();
    files
}

fn listed(store: &SegmentBlockstore) -> usize {
    store.cids().map(|cid| cid.unwrap().to_string()).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn one_flipped_bit_costs_nothing_but_a_block_that_is_reported() {
    let sample = Sample::make();
    let segments = files(sample.dir.path(), ".seg");
    assert!(segments.len() > 3, "{segments:?}");
    let mut random = Random(11);
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for number in 0..FLIPS {
        let copy = sample.copy();
        let segment = &segments[random.below(segments.len() as u64) as usize];
        let path = copy.path().join(segment.file_name().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let bit = random.below(bytes.len() as u64 * 8) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        if number % 2 == 1 {
            remove_checkpoints(copy.path());
        }
        let what = format!("flip {number} of bit {bit} in {}", path.display());
        let store = SegmentBlockstore::open(copy.path(), options()).unwrap();
        assert_eq!(store.pins(), sample.pins, "{what}");
        let (sound, reported) = sample.read(&store, &what);
        assert_eq!((sound + reported, reported.min(2)), (sample.blocks.len(), reported), "{what}");
        assert!(reported <= 1, "{what}");
        assert_eq!(listed(&store), sample.blocks.len(), "{what}");
        assert_eq!(store.stats().blocks, sample.blocks.len() as u64, "{what}");
        let damage = store.damage().unwrap();
        assert!(damage.len() <= 1 && damage.iter().all(|damage| !damage.is_lost), "{what}: {damage:?}");
        if number % 2 == 1 {
            assert_eq!(store.found_damaged(), damage, "{what}");
        }
        *outcomes
            .entry(if reported > 0 {
                "block"
            } else if damage.is_empty() {
                "dead"
            } else {
                "mended"
            })
            .or_default() += 1;
        if !damage.is_empty() {
            assert_eq!(store.mend().unwrap(), 1);
            assert_eq!(store.damage().unwrap(), []);
            drop(store);
            let store = SegmentBlockstore::open(copy.path(), options()).unwrap();
            assert_eq!((store.damage().unwrap(), store.pins()), (Vec::new(), sample.pins.clone()), "{what}");
            assert_eq!(sample.read(&store, &what).0, sample.blocks.len());
        }
    }
    eprintln!("{outcomes:?}");
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
}

#[test]
fn a_hole_in_the_log_is_reported_and_mended_with_what_is_put_again() {
    let sample = Sample::make();
    let segments = files(sample.dir.path(), ".seg");
    let mut random = Random(12);
    let mut outcomes = BTreeMap::<(bool, bool), usize>::new();
    for number in 0..HOLES {
        let copy = sample.copy();
        let segment = &segments[random.below(segments.len() as u64) as usize];
        let path = copy.path().join(segment.file_name().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let from = random.below(bytes.len() as u64) as usize;
        let to = (from + 1 + random.below(200) as usize).min(bytes.len());
        bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, bytes).unwrap();
        let rebuilt = number % 2 == 1;
        if rebuilt {
            remove_checkpoints(copy.path());
        }
        let what = format!("hole {number} at {from}..{to} in {}, rebuilt: {rebuilt}", path.display());
        let store = SegmentBlockstore::open(copy.path(), options()).unwrap();
        let (sound, reported) = sample.read(&store, &what);
        let damage = store.damage().unwrap();
        let whole = sound == sample.blocks.len() && store.pins() == sample.pins;
        // If nothing else shows what was lost, the damage to the log does.
        let told = sound + reported == sample.blocks.len() && store.pins() == sample.pins;
        assert!(told || damage.iter().any(|damage| damage.is_lost), "{what}: {damage:?}");
        if !rebuilt {
            assert_eq!(store.pins(), sample.pins, "the checkpoint has the pins: {what}");
        }
        *outcomes.entry((whole, damage.is_empty())).or_default() += 1;

        // What a repair does: what is missing or damaged is put and pinned again.
        for block in &sample.blocks {
            if !matches!(store.get(block.cid()), Ok(Some(_))) {
                store.delete_many(&[*block.cid()]).unwrap();
                store.put(block).unwrap();
            }
        }
        sample.pins.iter().for_each(|pin| store.pin(pin.clone()).unwrap());
        assert_eq!(store.mend().unwrap(), damage.len() as u64, "{what}");
        assert_eq!(store.damage().unwrap(), [], "{what}");
        drop(store);
        for _ in 0..2 {
            let store = SegmentBlockstore::open(copy.path(), options()).unwrap();
            assert_eq!(store.damage().unwrap(), [], "{what}");
            assert_eq!(sample.read(&store, &what), (sample.blocks.len(), 0), "{what}");
            assert!(sample.pins.iter().all(|pin| store.pins().contains(pin)), "{what}");
            drop(store);
            remove_checkpoints(copy.path());
        }
    }
    eprintln!("{outcomes:?}");
    assert!(outcomes.len() >= 3, "{outcomes:?}");
}

#[test]
fn any_flipped_bit_of_version_and_checkpoint_is_put_right() {
    let sample = Sample::make();
    let [checkpoint] = &files(sample.dir.path(), ".ckpt")[..] else { panic!("one checkpoint") };
    let mut random = Random(13);
    let version = sample.dir.path().join("VERSION");
    let version_bits = fs::read(&version).unwrap().len() * 8;
    let checkpoint_bits = fs::read(checkpoint).unwrap().len() as u64 * 8;
    let of_version = (0..version_bits).map(|bit| (&version, bit));
    let of_checkpoint = (0..200).map(|_| (checkpoint, random.below(checkpoint_bits) as usize));
    for (file, bit) in of_version.chain(of_checkpoint.collect::<Vec<_>>()) {
        let copy = sample.copy();
        let path = copy.path().join(file.file_name().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        if file == &version && bit % 2 == 1 {
            remove_checkpoints(copy.path());
        }
        let what = format!("bit {bit} of {}", path.display());
        let store = SegmentBlockstore::open(copy.path(), options()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(store.pins(), sample.pins, "{what}");
        assert_eq!(sample.read(&store, &what), (sample.blocks.len(), 0), "{what}");
        assert_eq!(store.damage().unwrap(), [], "{what}");
        drop(store);
        // The case of a digit is no damage.
        let again = String::from_utf8(fs::read(copy.path().join("VERSION")).unwrap()).unwrap();
        assert_eq!(again.to_lowercase().trim_end(), String::from_utf8(fs::read(&version).unwrap()).unwrap().trim_end());
    }
    let copy = sample.copy();
    fs::remove_file(copy.path().join("VERSION")).unwrap();
    let store = SegmentBlockstore::open(copy.path(), options()).unwrap();
    assert_eq!(sample.read(&store, "no VERSION"), (sample.blocks.len(), 0));
}

#[test]
fn a_version_that_cannot_be_told_is_refused_and_nothing_is_cut_off() {
    let sample = Sample::make();
    for text in ["ggen-blockstore 1\nseed 0123456789abcdef\n", "gone", ""] {
        let copy = sample.copy();
        remove_checkpoints(copy.path());
        fs::write(copy.path().join("VERSION"), text).unwrap();
        let error = SegmentBlockstore::open(copy.path(), options()).unwrap_err();
        assert!(
            matches!(&error, Error::Open { reason, .. } if reason.contains("VERSION") && reason.contains("backup"))
        );
        fs::copy(sample.dir.path().join("VERSION"), copy.path().join("VERSION")).unwrap();
        let store = SegmentBlockstore::open(copy.path(), options()).unwrap();
        assert_eq!(sample.read(&store, text), (sample.blocks.len(), 0));
    }
}
