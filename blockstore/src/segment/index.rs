//! The index: the location of each block, in 24 bytes per block.
//!
//! A block is identified by a seeded 64-bit fingerprint of its multihash. Two blocks may share a fingerprint, so the
//! index returns candidates, which the caller confirms by the CID in the record.

use hashbrown::HashTable;

use super::record::{Location, record_len};

const CID_LEN_SHIFT: u32 = 24;

/// A stored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fingerprint: u64,
    pub(super) location: Location,
    /// Length of the data in the lower 24 bits, that of the CID in the upper 8.
    pub(super) lengths: u32,
    /// The epoch of leases in which the block was last put or retained.
    pub(super) epoch: u32,
}

impl Entry {
    pub(super) fn new(fingerprint: u64, location: Location, cid_len: u8, data_len: u32, epoch: u32) -> Self {
        debug_assert!(data_len < 1 << CID_LEN_SHIFT);
        Self { fingerprint, location, lengths: u32::from(cid_len) << CID_LEN_SHIFT | data_len, epoch }
    }

    pub(super) fn data_len(&self) -> u32 {
        self.lengths & ((1 << CID_LEN_SHIFT) - 1)
    }

    pub(super) fn cid_len(&self) -> u8 {
        (self.lengths >> CID_LEN_SHIFT) as u8
    }

    pub(super) fn record_len(&self) -> u32 {
        record_len(self.cid_len(), self.data_len())
    }
}

/// All blocks of a store.
#[derive(Debug, Default)]
pub(super) struct Index {
    table: HashTable<Entry>,
}

impl Index {
    pub(super) fn with_capacity(blocks: usize) -> Self {
        Self { table: HashTable::with_capacity(blocks) }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// The entries with this fingerprint: at most one, except after collisions.
    pub(super) fn candidates(&self, fingerprint: u64) -> impl Iterator<Item = &Entry> {
        self.table.iter_hash(fingerprint).filter(move |entry| entry.fingerprint == fingerprint)
    }

    /// The entry for the record at `location`.
    pub(super) fn find(&self, fingerprint: u64, location: Location) -> Option<&Entry> {
        self.table.find(fingerprint, |entry| entry.location == location)
    }

    pub(super) fn find_mut(&mut self, fingerprint: u64, location: Location) -> Option<&mut Entry> {
        self.table.find_mut(fingerprint, |entry| entry.location == location)
    }

    /// Adds an entry. The block must not have one.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.table.insert_unique(entry.fingerprint, entry, |entry| entry.fingerprint);
    }

    pub(super) fn remove(&mut self, fingerprint: u64, location: Location) -> Option<Entry> {
        let found = self.table.find_entry(fingerprint, |entry| entry.location == location).ok()?;
        Some(found.remove().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fingerprint: u64, offset: u32) -> Entry {
        Entry::new(fingerprint, Location { segment: 1, offset }, 36, 2 << 20, 0)
    }

    #[test]
    fn an_entry_takes_24_bytes_and_keeps_both_lengths() {
        assert_eq!(size_of::<Entry>(), 24);
        assert_eq!((entry(1, 2).data_len(), entry(1, 2).cid_len()), (2 << 20, 36));
    }

    #[test]
    fn entries_that_share_a_fingerprint_are_kept_apart_by_location() {
        let mut index = Index::default();
        index.insert(entry(7, 1));
        index.insert(entry(7, 2));
        index.insert(entry(8, 3));
        assert_eq!(index.candidates(7).count(), 2);
        assert_eq!(index.remove(7, Location { segment: 1, offset: 1 }), Some(entry(7, 1)));
        assert_eq!(index.remove(7, Location { segment: 1, offset: 1 }), None);
        assert_eq!(index.candidates(7).collect::<Vec<_>>(), [&entry(7, 2)]);
        assert_eq!(index.len(), 2);
    }
}
