//! Checkpoints: the state of a store in one file, so that opening need not read every segment.
//!
//! ```text
//! bytes  field (integers little endian)
//!     8  magic `gBSckpt1`
//!     8  the store's seed
//!     8  position: segment and offset up to which the log is contained, all of it synced before
//!    24  number of blocks, pins and kill sums (8 each)
//!    20  per block: fingerprint (8), segment, offset, lengths (4 each, as in the index)
//!     -  per pin: lengths of label (2) and CID (1), mode (1), segment, offset, record length (4 each), label, CID
//!    16  per kill sum: segment of the targets, segment of the kills (4 each), bytes (8)
//!     8  xxh3-64 of everything before
//! ```
//!
//! Written under a temporary name, synced, renamed. A damaged checkpoint is ignored, because the log is authoritative.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use xxhash_rust::xxh3::Xxh3;

use crate::{Cid, Pin, PinMode, Result};

use super::{
    disk::{Disk, File},
    index::{Entry, Index},
    record::{Location, cid_len, read_u32, read_u64},
    state::{PinEntry, PinKey, Segment, State},
};

/// Name of a checkpoint being written.
pub(super) const TEMPORARY_NAME: &str = "index.tmp";
const MAGIC: &[u8; 8] = b"gBSckpt1";
const HEAD_BYTES: usize = 48;
const ENTRY_BYTES: usize = 20;
const PIN_HEAD_BYTES: usize = 16;
const KILL_BYTES: usize = 16;
const HASH_BYTES: usize = 8;
/// How much is read or written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Name of the checkpoint with this number.
pub(super) fn checkpoint_name(sequence: u32) -> String {
    format!("index-{sequence:08}.ckpt")
}

/// The number of the checkpoint with this name.
pub(super) fn checkpoint_sequence(name: &str) -> Option<u32> {
    let sequence = name.strip_prefix("index-")?.strip_suffix(".ckpt")?.parse().ok()?;
    (checkpoint_name(sequence) == name).then_some(sequence)
}

/// Writes a checkpoint of `state`, which contains everything before `position` of the log, all of it durable.
pub(super) fn write(disk: &dyn Disk, sequence: u32, state: &State, position: Location) -> Result<()> {
    let name = checkpoint_name(sequence);
    let error = |source| crate::Error::io("write", disk.path().join(&name))(source);
    let mut writer = Writer::new(disk.create(TEMPORARY_NAME).map_err(error)?);
    write_parts(&mut writer, state, position).map_err(error)?;
    writer.finish().map_err(error)?;
    disk.rename(TEMPORARY_NAME, &name).map_err(error)?;
    disk.sync_dir().map_err(error)
}

fn write_parts(writer: &mut Writer, state: &State, position: Location) -> io::Result<()> {
    writer.put(&[MAGIC, &state.seed.to_le_bytes()])?;
    writer.put(&[&position.segment.to_le_bytes(), &position.offset.to_le_bytes()])?;
    for count in [state.index.len(), state.pins.len(), state.kills.len()] {
        writer.put(&[&(count as u64).to_le_bytes()])?;
    }
    for entry in state.index.iter() {
        let Location { segment, offset } = entry.location;
        let numbers = [segment.to_le_bytes(), offset.to_le_bytes(), entry.lengths.to_le_bytes()];
        writer.put(&[&entry.fingerprint.to_le_bytes(), numbers.as_flattened()])?;
    }
    for ((label, cid), pin) in &state.pins {
        let mode = match pin.mode {
            PinMode::Recursive => 0,
            PinMode::Direct => 1,
        };
        let Location { segment, offset } = pin.location;
        let numbers = [segment.to_le_bytes(), offset.to_le_bytes(), pin.record_len.to_le_bytes()];
        writer.put(&[&(label.len() as u16).to_le_bytes(), &[cid_len(cid), mode], numbers.as_flattened()])?;
        writer.put(&[label.as_bytes(), &cid.to_bytes()])?;
    }
    for ((target, holder), bytes) in &state.kills {
        writer.put(&[&target.to_le_bytes(), &holder.to_le_bytes(), &bytes.to_le_bytes()])?;
    }
    Ok(())
}

/// The seed in a checkpoint, whether or not the checkpoint is valid.
pub(super) fn seed(file: &dyn File) -> Option<u64> {
    let head = file.read_at(0, HEAD_BYTES).ok()?;
    (head.get(..MAGIC.len())? == MAGIC).then(|| read_u64(&head, MAGIC.len())).flatten()
}

/// The validity of a checkpoint for the existing segments.
pub(super) enum Checkpoint {
    Sound {
        state: State,
        position: Location,
        /// Pins in segments that do not exist. A compaction has copied them, or their file is lost.
        absent: BTreeSet<PinKey>,
    },
    /// It covers more than the segments contain: a file was truncated or lost.
    Ahead,
    Damaged,
}

/// Reads a checkpoint for the existing `segments`; blocks in other segments are left out.
pub(super) fn read(file: Arc<dyn File>, seed: u64, segments: BTreeMap<u32, Segment>) -> io::Result<Checkpoint> {
    Ok(read_parts(file, seed, segments)?.unwrap_or(Checkpoint::Damaged))
}

fn read_parts(file: Arc<dyn File>, seed: u64, segments: BTreeMap<u32, Segment>) -> io::Result<Option<Checkpoint>> {
    let mut reader = Reader::new(file)?;
    let Some(head) = reader.take(HEAD_BYTES)? else { return Ok(None) };
    let number = |at| read_u64(head, at).unwrap_or_default();
    let position =
        Location { segment: read_u32(head, 16).unwrap_or_default(), offset: read_u32(head, 20).unwrap_or_default() };
    let [blocks, pins, kills] = [24, 32, 40].map(number);
    let known = &head[..MAGIC.len()] == MAGIC && number(8) == seed;
    let newest = segments.keys().next_back().copied().unwrap_or_default();
    let lost = match segments.get(&position.segment) {
        Some(segment) => segment.size < u64::from(position.offset),
        // The segment may have been compacted, but then there are newer ones.
        None => newest < position.segment,
    };
    if !known || blocks.saturating_mul(ENTRY_BYTES as u64) > reader.len {
        return Ok(None);
    }
    let mut absent = BTreeSet::new();
    let mut state = State { seed, segments, index: Index::with_capacity(blocks as usize), ..State::default() };
    for _ in 0..blocks {
        let Some(bytes) = reader.take(ENTRY_BYTES)? else { return Ok(None) };
        read_entry(bytes, &mut state);
    }
    for _ in 0..pins {
        let Some((key, entry)) = read_pin(&mut reader)? else { return Ok(None) };
        let ((label, cid), PinEntry { mode, location, record_len }) = (key, entry);
        if state.segments.contains_key(&location.segment) {
            state.set_pin(&Pin { label, cid, mode }, location, record_len);
        } else {
            absent.insert((label, cid));
        }
    }
    for _ in 0..kills {
        let Some(bytes) = reader.take(KILL_BYTES)? else { return Ok(None) };
        let (target, holder) = (read_u32(bytes, 0).unwrap_or_default(), read_u32(bytes, 4).unwrap_or_default());
        let bytes = read_u64(bytes, 8).unwrap_or_default();
        if state.segments.contains_key(&holder) {
            state.note_kill(target, holder, bytes);
        }
    }
    let sound = if lost { Checkpoint::Ahead } else { Checkpoint::Sound { state, position, absent } };
    Ok(reader.finish()?.then_some(sound))
}

fn read_entry(bytes: &[u8], state: &mut State) {
    let [segment, offset, lengths] = [8, 12, 16].map(|at| read_u32(bytes, at).unwrap_or_default());
    let fingerprint = read_u64(bytes, 0).unwrap_or_default();
    if state.segments.contains_key(&segment) {
        state.insert_block(Entry { fingerprint, location: Location { segment, offset }, lengths, epoch: 0 });
    }
}

fn read_pin(reader: &mut Reader) -> io::Result<Option<(PinKey, PinEntry)>> {
    let Some(head) = reader.take(PIN_HEAD_BYTES)? else { return Ok(None) };
    let label_len = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let (cid_len, mode) = (usize::from(head[2]), head[3]);
    let [segment, offset, record_len] = [4, 8, 12].map(|at| read_u32(head, at).unwrap_or_default());
    let Some(text) = reader.take(label_len + cid_len)? else { return Ok(None) };
    let (label, cid) = text.split_at(label_len);
    let (Ok(label), Ok(cid)) = (str::from_utf8(label), Cid::try_from(cid)) else { return Ok(None) };
    let mode = match mode {
        0 => PinMode::Recursive,
        1 => PinMode::Direct,
        _ => return Ok(None),
    };
    Ok(Some(((label.to_owned(), cid), PinEntry { mode, location: Location { segment, offset }, record_len })))
}

/// Buffers and hashes what is written.
struct Writer {
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    offset: u64,
    hash: Xxh3,
}

impl Writer {
    fn new(file: Arc<dyn File>) -> Self {
        Self { file, buffer: Vec::new(), offset: 0, hash: Xxh3::new() }
    }

    fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        for part in parts {
            self.buffer.extend(*part);
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hash.update(&self.buffer);
        self.file.write_at(self.offset, &[&self.buffer])?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.file.write_at(self.offset, &[&self.hash.digest().to_le_bytes()])?;
        self.file.sync()
    }
}

/// Buffers and hashes what is read.
struct Reader {
    file: Arc<dyn File>,
    len: u64,
    /// File offset of the buffer's end.
    offset: u64,
    buffer: Vec<u8>,
    used: usize,
    hash: Xxh3,
}

impl Reader {
    fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let len = file.len()?.saturating_sub(HASH_BYTES as u64);
        Ok(Self { file, len, offset: 0, buffer: Vec::new(), used: 0, hash: Xxh3::new() })
    }

    /// The next `len` bytes; `None` if the content is shorter.
    fn take(&mut self, len: usize) -> io::Result<Option<&[u8]>> {
        if self.buffer.len() - self.used < len {
            self.buffer.drain(..self.used);
            self.used = 0;
            let room = usize::try_from(self.len - self.offset).unwrap_or(usize::MAX);
            let bytes = self.file.read_at(self.offset, BUFFER_BYTES.max(len).min(room))?;
            self.offset += bytes.len() as u64;
            self.hash.update(&bytes);
            self.buffer.extend(bytes);
        }
        let range = self.used..self.used + len;
        let taken = self.buffer.get(range.clone());
        if taken.is_some() {
            self.used = range.end;
        }
        Ok(taken)
    }

    /// Returns whether everything was read and matches the hash at the end.
    fn finish(self) -> io::Result<bool> {
        let done = self.offset == self.len && self.used == self.buffer.len();
        let hash = self.file.read_at(self.len, HASH_BYTES)?;
        Ok(done && read_u64(&hash, 0) == Some(self.hash.digest()))
    }
}
