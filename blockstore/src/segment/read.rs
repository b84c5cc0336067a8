//! Finding and reading records.

use std::{io, sync::Arc};

use bytes::Bytes;

use crate::{Buffers, Cid, Multihash};

use super::{
    disk::File,
    index::Entry,
    record::{HEADER_BYTES, Header, Kind, decode_mended, hash_data},
    state::State,
};

/// Bytes of a record from which on it is read into a pooled buffer.
const MIN_POOLED_BYTES: usize = 256 << 10;

/// An index entry with the file that contains its record. Needs no lock: an open file stays readable when it is
/// removed.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    file: Arc<dyn File>,
}

/// The result of comparing an index entry with its record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The requested block.
    Match,
    /// Another block with the same fingerprint.
    Other,
    /// A record with a damaged head: almost certainly the requested block.
    Damaged,
}

/// The data of a record, or the reason why there is none.
#[derive(Debug)]
pub(super) enum Data {
    Sound(Bytes),
    Other,
    Damaged(&'static str),
}

/// The entries that may be the block with this fingerprint; more than one only after a collision.
pub(super) fn find(state: &State, fingerprint: u64) -> Vec<Found> {
    let open = |entry: &Entry| {
        let segment = state.segments.get(&entry.location.segment)?;
        Some(Found { entry: *entry, file: Arc::clone(&segment.file) })
    };
    state.index.candidates(fingerprint).filter_map(open).collect()
}

impl Found {
    pub(super) fn location(&self) -> super::record::Location {
        self.entry.location
    }

    /// Compares the record's CID with `hash`.
    pub(super) fn confirm(&self, hash: &Multihash, seed: u64) -> io::Result<Candidate> {
        let head = self.file.read_at(self.offset(), HEADER_BYTES + usize::from(self.entry.cid_len()))?;
        Ok(match self.head(&head, seed) {
            Some((_, cid)) if cid.hash() == hash => Candidate::Match,
            Some(_) => Candidate::Other,
            None => Candidate::Damaged,
        })
    }

    /// Reads the record's data in one go and checks all of it.
    pub(super) fn read(&self, hash: &Multihash, seed: u64, buffers: &Buffers) -> io::Result<Data> {
        let len = self.entry.record_len() as usize;
        let bytes = match len {
            ..MIN_POOLED_BYTES => self.file.read_at(self.offset(), len)?,
            _ => self.file.read_into(self.offset(), buffers.take_whole(len))?,
        };
        let Some((header, cid)) = self.head(&bytes, seed) else { return Ok(Data::Damaged("its record head")) };
        if cid.hash() != hash {
            return Ok(Data::Other);
        }
        let sound = bytes.len() == len && hash_data(&bytes[header.data_start()..]) == header.data_hash;
        if !sound {
            return Ok(Data::Damaged("its data"));
        }
        Ok(Data::Sound(buffers.freeze(bytes).slice(header.data_start()..)))
    }

    /// Reads the whole record without verifying it: its head, if that is valid, and its data with the stored checksum.
    pub(super) fn read_raw(&self, seed: u64) -> io::Result<Option<(Cid, Bytes, u64)>> {
        let bytes = self.file.read_at(self.offset(), self.entry.record_len() as usize)?;
        let Some((header, cid)) = self.head(&bytes, seed) else { return Ok(None) };
        let whole = bytes.len() == self.entry.record_len() as usize;
        Ok(whole.then(|| (cid, Bytes::from(bytes).slice(header.data_start()..), header.data_hash)))
    }

    fn head(&self, bytes: &[u8], seed: u64) -> Option<(Header, Cid)> {
        let (header, cid, _) = decode_mended(bytes, seed, self.entry.location)?;
        let same = header.data_len == self.entry.data_len() && header.cid_len == self.entry.cid_len();
        (same && header.kind == Kind::Block).then_some((header, cid))
    }

    fn offset(&self) -> u64 {
        u64::from(self.entry.location.offset)
    }
}
