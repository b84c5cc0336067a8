//! Reads a segment from front to back, skipping damage.

use std::{borrow::Cow, io, ops::Range, sync::Arc};

use crate::Cid;

use super::{
    disk::File,
    record::{
        HEADER_BYTES, Header, Kind, Location, MAGIC, MAGIC_OFFSET, MAX_STORED_CID_BYTES, decode, decode_mended, flip,
        hash_data, wrong_bit_of_data,
    },
};

/// Bytes read at once, unless the data of one record is longer.
const WINDOW_BYTES: usize = 64 << 10;
const HEAD_BYTES: usize = HEADER_BYTES + MAX_STORED_CID_BYTES;

/// A record with a valid head, or with a head of which one bit was wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) location: Location,
    pub(super) header: Header,
    pub(super) cid: Cid,
    /// The bit of the head that is wrong on disk, counted from the start of the record.
    pub(super) wrong_bit: Option<usize>,
}

/// The data of a record as it was written.
#[derive(Debug)]
pub(super) struct Sound<'a> {
    pub(super) data: Cow<'a, [u8]>,
    /// The bit of the data that is wrong on disk.
    pub(super) wrong_bit: Option<usize>,
}

/// An element of a segment.
#[derive(Debug)]
pub(super) enum Found {
    Record(Record),
    /// Bytes that are no record.
    Damage(Range<u64>),
}

/// Iterates over the records in a range of a segment. Memory: one window, or one record.
#[derive(Debug)]
pub(super) struct Scanner {
    file: Arc<dyn File>,
    segment: u32,
    seed: u64,
    offset: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl Scanner {
    pub(super) fn new(file: Arc<dyn File>, segment: u32, seed: u64, range: Range<u64>) -> Self {
        Self { file, segment, seed, offset: range.start, end: range.end, window: Vec::new(), window_start: 0 }
    }

    /// The next record or damage, `None` at the end of the range.
    pub(super) fn advance(&mut self) -> io::Result<Option<Found>> {
        let from = self.offset;
        if from >= self.end {
            return Ok(None);
        }
        // A damaged head is only accepted at this position: during a search for records, similar bytes mean nothing.
        if let Some(record) = self.record(from, decode_mended)? {
            self.offset = from + u64::from(record.header.record_len());
            return Ok(Some(Found::Record(record)));
        }
        self.offset = self.find_record(from + 1)?;
        Ok(Some(Found::Damage(from..self.offset)))
    }

    /// The next record; damage is skipped and logged.
    pub(super) fn next_record(&mut self) -> io::Result<Option<Record>> {
        while let Some(found) = self.advance()? {
            match found {
                Found::Record(record) => return Ok(Some(record)),
                Found::Damage(range) => {
                    tracing::warn!(segment = self.segment, ?range, "damaged bytes in a blockstore segment");
                }
            }
        }
        Ok(None)
    }

    /// The next record of this kind.
    pub(super) fn next_of(&mut self, kind: Kind) -> io::Result<Option<Record>> {
        while let Some(record) = self.next_record()? {
            if record.header.kind == kind {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The data of a record of this segment, damaged or not.
    pub(super) fn data(&mut self, record: &Record) -> io::Result<&[u8]> {
        let start = u64::from(record.location.offset) + record.header.data_start() as u64;
        let len = record.header.data_len as usize;
        let bytes = self.bytes(start, len)?;
        Ok(&bytes[..len.min(bytes.len())])
    }

    /// The data of a record, `None` if it does not match its checksum. One wrong bit of a kill or a pin is corrected.
    pub(super) fn sound_data(&mut self, record: &Record) -> io::Result<Option<Sound<'_>>> {
        let header = record.header;
        let data = self.data(record)?;
        if data.len() != header.data_len as usize {
            return Ok(None);
        }
        if hash_data(data) == header.data_hash {
            return Ok(Some(Sound { data: Cow::Borrowed(data), wrong_bit: None }));
        }
        // A block is long, and can be fetched from peers.
        let wrong_bit = if header.kind == Kind::Block { None } else { wrong_bit_of_data(data, header.data_hash) };
        Ok(wrong_bit.map(|bit| {
            let mut data = data.to_vec();
            flip(&mut data, bit);
            Sound { data: Cow::Owned(data), wrong_bit }
        }))
    }

    fn record_at(&mut self, at: u64) -> io::Result<Option<Record>> {
        self.record(at, |bytes, seed, location| decode(bytes, seed, location).map(|(header, cid)| (header, cid, None)))
    }

    fn record(
        &mut self,
        at: u64,
        decode: impl Fn(&[u8], u64, Location) -> Option<(Header, Cid, Option<usize>)>,
    ) -> io::Result<Option<Record>> {
        let Ok(offset) = u32::try_from(at) else { return Ok(None) };
        let location = Location { segment: self.segment, offset };
        let (seed, end) = (self.seed, self.end);
        let found = decode(self.bytes(at, HEAD_BYTES)?, seed, location);
        let whole = found.filter(|(header, ..)| at + u64::from(header.record_len()) <= end);
        Ok(whole.map(|(header, cid, wrong_bit)| Record { location, header, cid, wrong_bit }))
    }

    /// The offset of the first whole record at or after `at`; the end of the range if there is none.
    fn find_record(&mut self, mut at: u64) -> io::Result<u64> {
        loop {
            let bytes = self.bytes(at, HEAD_BYTES)?;
            if bytes.len() < HEADER_BYTES {
                return Ok(self.end);
            }
            let magic = bytes[MAGIC_OFFSET..].windows(MAGIC.len()).position(|window| window == MAGIC);
            let Some(skipped) = magic else {
                at += (bytes.len() - MAGIC_OFFSET - MAGIC.len() + 1) as u64;
                continue;
            };
            at += skipped as u64;
            if self.record_at(at)?.is_some() {
                return Ok(at);
            }
            at += 1;
        }
    }

    /// The buffered bytes from `at` on: at least `len`, except at the end of the range.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let wanted = (at + len as u64).min(self.end);
        let buffered = self.window_start..self.window_start + self.window.len() as u64;
        if at < buffered.start || wanted > buffered.end {
            let room = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            self.window = self.file.read_at(at, len.max(WINDOW_BYTES).min(room))?;
            self.window_start = at;
        }
        let start = usize::try_from(at - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(start..).unwrap_or_default())
    }
}
