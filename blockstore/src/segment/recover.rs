//! Opening: lock, version, newest checkpoint, and the part of the log written after it.
//!
//! Only the newest segment can have lost anything, and only what was not synced. Damage there is the mark of a crash
//! unless a later record states that this position was durable; the log is cut at the first mark of a crash, even if
//! records that came later survived, so that no record survives an earlier one that was lost. All other damage is bit
//! rot, which costs only the damaged record.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, RwLock},
};

use crate::{Cid, DAMAGE, Damage, Error, Result, hash::digest_like};

use super::{
    checkpoint::{self, Checkpoint},
    damage,
    disk::{Disk, File},
    index::Entry,
    log::{Change, Log, Tail, create_segment, segment_id, segment_name},
    read::{Candidate, find},
    record::{HEADER_BYTES, Kind, Location, MAX_STORED_CID_BYTES, Target, decode, decode_pin, fingerprint},
    scan::{Found, Record, Scanner},
    state::{PinKey, Segment, State},
    version,
};

const LOCK_NAME: &str = "LOCK";

/// The result of opening a store.
pub(super) struct Recovered {
    pub(super) state: RwLock<State>,
    pub(super) log: Log,
    /// Number of the newest checkpoint, 0 if there is none.
    pub(super) checkpoint: u32,
    /// Damage to the part of the log that was read.
    pub(super) damage: Vec<Damage>,
    /// Whether durable records may be missing without visible damage.
    pub(super) is_short: bool,
}

/// The checkpoint from which opening continues, or an empty state.
struct Loaded {
    state: State,
    position: Option<Location>,
    /// Number of the checkpoint.
    sequence: Option<u32>,
    absent: BTreeSet<PinKey>,
    /// Whether a valid checkpoint covers more than the segments contain.
    is_ahead: bool,
}

/// Opens the store on `disk`, or creates one with `seed`.
pub(super) fn recover(disk: &Arc<dyn Disk>, seed: u64, limit: u32) -> Result<Recovered> {
    if !disk.lock(LOCK_NAME).map_err(Error::io("lock", disk.path().join(LOCK_NAME)))? {
        return Err(Error::InUse { path: disk.path().to_owned() });
    }
    let names = disk.list().map_err(Error::io("list", disk.path()))?;
    let seed = version::read_or_write(disk.as_ref(), &names, seed)?;
    let segments = open_segments(disk.as_ref(), &names)?;
    let newest = segments.keys().next_back().copied();
    let Loaded { state, position, sequence, absent, is_ahead } =
        load_checkpoint(disk.as_ref(), &names, seed, segments)?;
    let (superseded, damage) = (HashMap::new(), Vec::new());
    let mut replay = Replay { disk, state, superseded, absent, damage, was_cut: false, records: 0, bytes: 0 };
    let mut tail = match newest {
        Some(id) => replay.run(id, position)?,
        None => {
            let file = create_segment(disk.as_ref(), 1)?;
            replay.state.segments.insert(1, Segment::new(Arc::clone(&file), 0));
            Tail::new(1, file)
        }
    };
    (tail.unsaved_records, tail.unsaved_bytes) = (replay.records, replay.bytes);
    let Replay { state, superseded, absent, damage, was_cut, .. } = replay;
    if is_ahead || !absent.is_empty() {
        tracing::warn!(target: DAMAGE, path = %disk.path().display(), "a file of the store is gone or has become shorter");
        // The next checkpoint must no longer cover what is lost.
        tail.unsaved_records = tail.unsaved_records.max(1);
    }
    let is_short = is_ahead || was_cut || !absent.is_empty();
    let (state, log) = (RwLock::new(state), Log::new(Arc::clone(disk), seed, limit, tail));
    kill_superseded(&superseded, &log, &state)?;
    remove_leftovers(disk.as_ref(), &names, sequence);
    Ok(Recovered {
        state,
        log,
        checkpoint: names.iter().filter_map(|n| checkpoint::checkpoint_sequence(n)).max().unwrap_or(0),
        damage,
        is_short,
    })
}

fn open_segments(disk: &dyn Disk, names: &[String]) -> Result<BTreeMap<u32, Segment>> {
    let mut segments = BTreeMap::new();
    for (id, name) in names.iter().filter_map(|name| Some((segment_id(name)?, name))) {
        let error = |source| Error::io("open", disk.path().join(name))(source);
        let file = disk.open(name).map_err(error)?;
        let size = file.len().map_err(error)?;
        segments.insert(id, Segment::new(file, size));
    }
    Ok(segments)
}

/// The newest valid checkpoint; an empty state if there is none.
fn load_checkpoint(disk: &dyn Disk, names: &[String], seed: u64, segments: BTreeMap<u32, Segment>) -> Result<Loaded> {
    let mut is_ahead = false;
    let mut sequences: Vec<_> = names.iter().filter_map(|name| checkpoint::checkpoint_sequence(name)).collect();
    sequences.sort_unstable();
    for sequence in sequences.into_iter().rev() {
        let name = checkpoint::checkpoint_name(sequence);
        let file = disk.open(&name).map_err(Error::io("open", disk.path().join(&name)))?;
        match checkpoint::read(file, seed, segments.clone()) {
            Ok(Checkpoint::Sound { state, position, absent }) => {
                return Ok(Loaded { state, position: Some(position), sequence: Some(sequence), absent, is_ahead });
            }
            Ok(Checkpoint::Ahead) => is_ahead = true,
            Ok(Checkpoint::Damaged) => {
                tracing::warn!(target: DAMAGE, name, "damaged; the index is made again from the segments")
            }
            Err(error) => tracing::warn!(target: DAMAGE, name, %error, "the index is made again from the segments"),
        }
    }
    let state = State { seed, segments, ..State::default() };
    Ok(Loaded { state, position: None, sequence: None, absent: BTreeSet::new(), is_ahead })
}

/// Removes duplicates of blocks that a crash in a compaction has left. The older record is killed, so that it cannot
/// reappear when the newer one is deleted.
fn kill_superseded(
    superseded: &HashMap<Location, (Cid, Option<String>)>,
    log: &Log,
    state: &RwLock<State>,
) -> Result<()> {
    let mut kills: Vec<_> = superseded
        .iter()
        .map(|(location, (cid, label))| {
            (*location, Change::Kill { cid, target: Target { location: *location, label: label.clone() } })
        })
        .collect();
    kills.sort_unstable_by_key(|(location, _)| *location);
    let kills: Vec<_> = kills.into_iter().map(|(_, kill)| kill).collect();
    log.append(&kills, state)
}

/// Removes files of unfinished operations. They do no harm, so a failure does not prevent opening.
fn remove_leftovers(disk: &dyn Disk, names: &[String], sequence: Option<u32>) {
    for name in names {
        let old = checkpoint::checkpoint_sequence(name).is_some_and(|found| Some(found) != sequence);
        if !old && name != checkpoint::TEMPORARY_NAME && name != version::TEMPORARY_NAME {
            continue;
        }
        // Rewriting the version file has already renamed the leftover of an earlier attempt.
        if let Err(error) = disk.remove(name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(name, %error, "cannot remove a leftover in the blockstore");
        }
    }
}

/// Applies the log after the checkpoint to the state.
struct Replay<'a> {
    disk: &'a Arc<dyn Disk>,
    state: State,
    /// Records that a later record of the same block or pin has replaced, and that no kill invalidates so far.
    superseded: HashMap<Location, (Cid, Option<String>)>,
    /// Pins of the checkpoint whose segment does not exist, and that no later record sets or removes.
    absent: BTreeSet<PinKey>,
    damage: Vec<Damage>,
    /// Whether the log was cut at an apparent crash, and the cut contained more than one unfinished record.
    was_cut: bool,
    records: u64,
    bytes: u64,
}

impl Replay<'_> {
    /// Replays all segments from `position` on, and returns the end of the newest one.
    fn run(&mut self, newest: u32, position: Option<Location>) -> Result<Tail> {
        let from = position.unwrap_or(Location { segment: 0, offset: 0 });
        let ids: Vec<_> = self.state.segments.range(from.segment..).map(|(id, _)| *id).collect();
        let mut tail = Tail::new(newest, Arc::clone(&self.state.segments[&newest].file));
        for id in ids {
            let start = if id == from.segment { from.offset } else { 0 };
            let mut verify = position.is_some();
            if id == newest {
                (tail.end, tail.durable) = self.cut(id, start)?;
                verify = true;
            }
            self.replay(id, start, verify).map_err(self.error("read", id))?;
        }
        Ok(tail)
    }

    /// Finds the mark of a crash in the newest segment and cuts the segment there durably, so that a later recovery
    /// does not find the removed records. Returns the new end, and the end of the part that is known to be durable.
    fn cut(&mut self, id: u32, start: u32) -> Result<(u32, u32)> {
        let segment = &self.state.segments[&id];
        let (file, size) = (Arc::clone(&segment.file), segment.size);
        let found = find_cut(&file, id, self.state.seed, u64::from(start), size).map_err(self.error("read", id))?;
        let (end, durable) = found;
        if end < size {
            self.was_cut |= !is_unfinished(&file, id, self.state.seed, end, size).map_err(self.error("read", id))?;
            tracing::warn!(segment = id, from = end, to = size, "cutting off what a crash left of the last writes");
            file.truncate(end).and_then(|()| file.sync()).map_err(self.error("truncate", id))?;
        }
        if let Some(segment) = self.state.segments.get_mut(&id) {
            segment.size = end;
        }
        let in_range = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok((in_range(end), if end < size { in_range(end) } else { in_range(durable.min(end)) }))
    }

    fn replay(&mut self, id: u32, start: u32, verify: bool) -> io::Result<()> {
        let segment = &self.state.segments[&id];
        let range = u64::from(start)..segment.size;
        let mut scanner = Scanner::new(Arc::clone(&segment.file), id, self.state.seed, range);
        while let Some(found) = scanner.advance()? {
            self.damage.extend(damage::of(&mut scanner, id, &found)?.map(|spot| spot.report()));
            let Found::Record(record) = found else { continue };
            self.records += 1;
            self.bytes += u64::from(record.header.record_len());
            match record.header.kind {
                Kind::Block => self.replay_block(&record, &mut scanner, verify)?,
                Kind::Pin => {
                    if let Some(pin) =
                        scanner.sound_data(&record)?.and_then(|sound| decode_pin(record.cid, &sound.data))
                    {
                        self.absent.remove(&(pin.label.clone(), pin.cid));
                        let old = self.state.set_pin(&pin, record.location, record.header.record_len());
                        self.superseded.extend(old.map(|old| (old, (pin.cid, Some(pin.label)))));
                    }
                }
                Kind::Kill => {
                    if let Some(target) = scanner.sound_data(&record)?.and_then(|sound| Target::decode(&sound.data)) {
                        self.superseded.remove(&target.location);
                        if let Some(label) = &target.label {
                            self.absent.remove(&(label.clone(), record.cid));
                        }
                        self.state.kill(&record.cid, &target, id, record.header.record_len());
                    }
                }
            }
        }
        Ok(())
    }

    /// Indexes a block. A block with a damaged checksum is indexed too, so that reading it reports the damage.
    fn replay_block(&mut self, record: &Record, scanner: &mut Scanner, verify: bool) -> io::Result<()> {
        let hash = record.cid.hash();
        if verify
            && let Some(sound) = scanner.sound_data(record)?
            && digest_like(hash, &sound.data).ok().as_ref() != Some(hash)
        {
            tracing::warn!(cid = %record.cid, "a block in the log does not hash to its CID and is ignored");
            return Ok(());
        }
        let key = fingerprint(self.state.seed, hash);
        for candidate in find(&self.state, key) {
            let old = candidate.location();
            if matches!(candidate.confirm(hash, self.state.seed)?, Candidate::Other) {
                continue;
            }
            if self.state.remove_block(key, old) {
                self.superseded.insert(old, (record.cid, None));
            }
        }
        let header = record.header;
        self.state.insert_block(Entry::new(key, record.location, header.cid_len, header.data_len, 0));
        Ok(())
    }

    fn error(&self, action: &'static str, id: u32) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::io(action, self.disk.path().join(segment_name(id)))
    }
}

/// Returns whether the bytes from `at` to the end of a segment are one record that is longer than the file. Its write
/// was interrupted, so it was never durable.
fn is_unfinished(file: &Arc<dyn File>, id: u32, seed: u64, at: u64, size: u64) -> io::Result<bool> {
    let rest = size - at;
    if rest < HEADER_BYTES as u64 {
        return Ok(true);
    }
    let Ok(offset) = u32::try_from(at) else { return Ok(false) };
    let bytes =
        file.read_at(at, (HEADER_BYTES + MAX_STORED_CID_BYTES).min(usize::try_from(rest).unwrap_or(usize::MAX)))?;
    let head = decode(&bytes, seed, Location { segment: id, offset });
    Ok(head.is_some_and(|(header, _)| u64::from(header.record_len()) > rest))
}

/// The end of the newest segment, and the end of the part that its records state to be durable.
fn find_cut(file: &Arc<dyn File>, id: u32, seed: u64, start: u64, size: u64) -> io::Result<(u64, u64)> {
    let mut scanner = Scanner::new(Arc::clone(file), id, seed, start.min(size)..size);
    let mut durable = start;
    let mut damage = None;
    while let Some(found) = scanner.advance()? {
        let sound = match found {
            Found::Damage(range) => Err(range.start),
            Found::Record(record) => {
                durable = durable.max(u64::from(record.header.durable));
                let whole = scanner.sound_data(&record)?.is_some();
                if whole { Ok(()) } else { Err(u64::from(record.location.offset)) }
            }
        };
        if damage.is_some_and(|at| at < durable) {
            damage = None;
        }
        if let Err(at) = sound
            && at >= durable
        {
            damage.get_or_insert(at);
        }
    }
    Ok((damage.unwrap_or(size), durable))
}
