//! The writing end of a store: appends records to the newest segment, and makes them durable.
//!
//! * *Order*: a segment is synced before the next one starts, so that only the newest segment can lose data.
//! * *Failed writes* are cut off again; if this fails too, the segment is closed, and the next write starts another
//!   one.
//! * *Failed syncs*: the operating system may have discarded the data that it could not write, so that a later success
//!   would prove nothing. The next sync therefore verifies and rewrites everything that was not durable.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use crate::{Cid, Error, Pin, Result};

use super::{
    disk::{Disk, File},
    index::Entry,
    record::{Header, Kind, Location, Target, cid_len, encode, encode_pin, hash_data, record_len},
    scan::{Found, Scanner},
    state::{Segment, State},
};

/// How much is written at once, unless one record is larger.
const PIECE_BYTES: u32 = 4 << 20;
/// Data up to this length is copied next to its header; longer data is written from its own buffer.
const COPY_BYTES: usize = 8 << 10;
const SEGMENT_SUFFIX: &str = ".seg";

/// One change to a store.
#[derive(Debug)]
pub(super) enum Change<'a> {
    /// A block that the store does not have, or the copy of one that it has in another segment.
    Block { fingerprint: u64, cid: &'a Cid, data: &'a [u8], data_hash: u64, epoch: u32, moved_from: Option<Location> },
    /// A pin that is set.
    Pin(&'a Pin),
    /// A record that is no longer valid.
    Kill { cid: &'a Cid, target: Target },
}

/// The newest segment.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: u32,
    pub(super) file: Arc<dyn File>,
    /// Offset of the next record.
    pub(super) end: u32,
    /// Everything before this is synced.
    pub(super) durable: u32,
    /// A failed write could not be cut off, so nothing more is written to this segment.
    pub(super) closed: bool,
    /// The last sync failed.
    pub(super) sync_failed: bool,
    /// Bytes and records written since the last checkpoint.
    pub(super) unsaved_bytes: u64,
    pub(super) unsaved_records: u64,
}

impl Tail {
    pub(super) fn new(segment: u32, file: Arc<dyn File>) -> Self {
        let (closed, sync_failed) = (false, false);
        Self { segment, file, end: 0, durable: 0, closed, sync_failed, unsaved_bytes: 0, unsaved_records: 0 }
    }
}

/// The log; see the module documentation. Appending requires the store's writer lock; syncing does not.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    seed: u64,
    limit: u32,
    tail: Mutex<Tail>,
    /// Held while a sync runs. Waiting callers usually find their data synced already.
    turn: Mutex<()>,
}

impl Log {
    pub(super) fn new(disk: Arc<dyn Disk>, seed: u64, limit: u32, tail: Tail) -> Self {
        Self { disk, seed, limit, tail: Mutex::new(tail), turn: Mutex::new(()) }
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes changes and applies them to `state`. On failure, a prefix of them may have been made.
    pub(super) fn append(&self, changes: &[Change<'_>], state: &RwLock<State>) -> Result<()> {
        let mut rest = changes;
        while let Some(first) = rest.first() {
            if !self.has_room(first.record_len()) {
                self.begin_segment(state)?;
            }
            let piece = self.assemble(rest);
            self.write(&piece)?;
            let (done, todo) = rest.split_at(piece.records.len());
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            for (change, (location, len)) in done.iter().zip(&piece.records) {
                change.apply(&mut state, *location, *len);
            }
            rest = todo;
        }
        Ok(())
    }

    /// Makes everything appended before the call durable.
    pub(super) fn sync(&self) -> Result<()> {
        let (segment, end) = {
            let tail = self.tail();
            (tail.segment, tail.end)
        };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, durable, synced, failed) = {
            let tail = self.tail();
            if tail.segment != segment || tail.durable >= end {
                return Ok(());
            }
            (Arc::clone(&tail.file), tail.durable, tail.end, tail.sync_failed)
        };
        let again = || if failed { self.write_again(&file, segment, durable, synced) } else { Ok(()) };
        let result = again().and_then(|()| file.sync());
        let mut tail = self.tail();
        if tail.segment == segment {
            tail.sync_failed = result.is_err();
            if result.is_ok() {
                tail.durable = tail.durable.max(synced);
            }
        }
        result.map_err(self.error("sync", segment))
    }

    /// Writes a range of records again in place, after verifying it: the page cache may consider the data clean
    /// although it is not on disk.
    fn write_again(&self, file: &Arc<dyn File>, segment: u32, from: u32, to: u32) -> io::Result<()> {
        let mut scanner = Scanner::new(Arc::clone(file), segment, self.seed, u64::from(from)..u64::from(to));
        let lost = || io::Error::new(io::ErrorKind::InvalidData, "a former sync failed and lost data");
        while let Some(found) = scanner.advance()? {
            let Found::Record(record) = found else { return Err(lost()) };
            scanner.sound_data(&record)?.ok_or_else(lost)?;
        }
        for start in (from..to).step_by(PIECE_BYTES as usize) {
            let bytes = file.read_at(u64::from(start), PIECE_BYTES.min(to - start) as usize)?;
            file.write_at(u64::from(start), &[&bytes])?;
        }
        Ok(())
    }

    /// Syncs the newest segment and starts another one.
    pub(super) fn begin_segment(&self, state: &RwLock<State>) -> Result<()> {
        self.sync()?;
        let id = self.tail().segment + 1;
        let file = create_segment(self.disk.as_ref(), id)?;
        let segment = Segment::new(Arc::clone(&file), 0);
        state.write().unwrap_or_else(PoisonError::into_inner).segments.insert(id, segment);
        let mut tail = self.tail();
        let (unsaved_bytes, unsaved_records) = (tail.unsaved_bytes, tail.unsaved_records);
        *tail = Tail { unsaved_bytes, unsaved_records, ..Tail::new(id, file) };
        Ok(())
    }

    pub(super) fn has_room(&self, record_len: u32) -> bool {
        let tail = self.tail();
        !tail.closed && (tail.end == 0 || tail.end + record_len <= self.limit)
    }

    /// Assembles the changes that fit in one write.
    fn assemble<'a>(&self, changes: &[Change<'a>]) -> Piece<'a> {
        let (segment, start, durable) = {
            let tail = self.tail();
            (tail.segment, tail.end, tail.durable)
        };
        let mut piece = Piece { start, end: start, heads: Vec::new(), parts: Vec::new(), records: Vec::new() };
        for change in changes {
            let len = change.record_len();
            let full = piece.end - start + len > PIECE_BYTES || piece.end + len > self.limit;
            if full && !piece.records.is_empty() {
                break;
            }
            piece.push(change, Location { segment, offset: piece.end }, durable, self.seed);
        }
        piece
    }

    fn write(&self, piece: &Piece<'_>) -> Result<()> {
        let (segment, file) = {
            let tail = self.tail();
            (tail.segment, Arc::clone(&tail.file))
        };
        if let Err(error) = file.write_at(u64::from(piece.start), &piece.slices()) {
            if let Err(cut) = file.truncate(u64::from(piece.start)) {
                tracing::warn!(segment, error = %cut, "cannot cut off a failed write; the segment is closed");
                self.tail().closed = true;
            }
            return Err(self.error("write", segment)(error));
        }
        let mut tail = self.tail();
        tail.end = piece.end;
        tail.unsaved_bytes += u64::from(piece.end - piece.start);
        tail.unsaved_records += piece.records.len() as u64;
        Ok(())
    }

    fn error(&self, action: &'static str, segment: u32) -> impl FnOnce(io::Error) -> Error {
        Error::io(action, self.disk.path().join(segment_name(segment)))
    }
}

/// Name of a segment's file.
pub(super) fn segment_name(id: u32) -> String {
    format!("{id:08}{SEGMENT_SUFFIX}")
}

/// The segment whose file has this name.
pub(super) fn segment_id(name: &str) -> Option<u32> {
    let id = name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok()?;
    (segment_name(id) == name).then_some(id)
}

/// Creates the file of a segment, durably.
pub(super) fn create_segment(disk: &dyn Disk, id: u32) -> Result<Arc<dyn File>> {
    let name = segment_name(id);
    let file = disk.create(&name).map_err(Error::io("create", disk.path().join(&name)))?;
    disk.sync_dir().map_err(Error::io("sync", disk.path()))?;
    Ok(file)
}

impl Change<'_> {
    fn cid(&self) -> &Cid {
        match self {
            Self::Block { cid, .. } | Self::Kill { cid, .. } => cid,
            Self::Pin(pin) => &pin.cid,
        }
    }

    pub(super) fn record_len(&self) -> u32 {
        let data_len = match self {
            Self::Block { data, .. } => data.len(),
            Self::Pin(pin) => encode_pin(pin).len(),
            Self::Kill { target, .. } => target.encode().len(),
        };
        record_len(cid_len(self.cid()), data_len as u32)
    }

    fn apply(&self, state: &mut State, location: Location, record_len: u32) {
        state.place(location, record_len);
        match self {
            Self::Block { fingerprint, cid, moved_from: Some(from), .. } => {
                state.move_block(*fingerprint, *from, location, cid_len(cid));
            }
            Self::Block { fingerprint, cid, data, epoch, moved_from: None, .. } => {
                state.insert_block(Entry::new(*fingerprint, location, cid_len(cid), data.len() as u32, *epoch));
            }
            Self::Pin(pin) => {
                state.set_pin(pin, location, record_len);
            }
            Self::Kill { cid, target } => state.kill(cid, target, location.segment, record_len),
        }
    }
}

/// Records that are written at once.
struct Piece<'a> {
    start: u32,
    end: u32,
    /// Headers, CIDs and short data.
    heads: Vec<u8>,
    parts: Vec<Part<'a>>,
    records: Vec<(Location, u32)>,
}

enum Part<'a> {
    /// The part of `heads` from the end of the preceding part up to this offset.
    Heads(usize),
    Data(&'a [u8]),
}

impl<'a> Piece<'a> {
    fn push(&mut self, change: &Change<'a>, location: Location, durable: u32, seed: u64) {
        let owned;
        let (kind, data, data_hash) = match change {
            Change::Block { data, data_hash, .. } => (Kind::Block, *data, *data_hash),
            Change::Pin(pin) => {
                owned = encode_pin(pin);
                (Kind::Pin, owned.as_slice(), hash_data(&owned))
            }
            Change::Kill { target, .. } => {
                owned = target.encode();
                (Kind::Kill, owned.as_slice(), hash_data(&owned))
            }
        };
        let header = Header { kind, cid_len: cid_len(change.cid()), data_len: data.len() as u32, durable, data_hash };
        encode(&header, change.cid(), seed, location, &mut self.heads);
        match change {
            Change::Block { data, .. } if data.len() > COPY_BYTES => {
                self.parts.push(Part::Heads(self.heads.len()));
                self.parts.push(Part::Data(data));
            }
            _ => self.heads.extend(data),
        }
        self.end += header.record_len();
        self.records.push((location, header.record_len()));
    }

    fn slices(&self) -> Vec<&[u8]> {
        let mut slices = Vec::with_capacity(self.parts.len() + 1);
        let mut done = 0;
        for part in &self.parts {
            match part {
                Part::Heads(end) => {
                    slices.push(&self.heads[done..*end]);
                    done = *end;
                }
                Part::Data(data) => slices.push(data),
            }
        }
        slices.push(&self.heads[done..]);
        slices
    }
}
