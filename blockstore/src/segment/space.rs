//! Full disks: deletions must work there, although a deletion writes a record.
//!
//! A small file reserves space ([`RESERVE_NAME`]), and only operations that free space may consume it. If that is not
//! enough, the data of deleted blocks is returned to the file system in place (hole punching), which needs no space.

use std::{io, ops::Range};

use crate::{Error, Result};

use super::{
    Inner,
    log::Change,
    record::{Kind, fingerprint},
    scan::Scanner,
    state::Segment,
};

/// Name of the file that reserves space, in the directory of the store.
pub(super) const RESERVE_NAME: &str = "RESERVE";
/// Its length in bytes: enough for the deletion of some 25,000 blocks.
const RESERVE_BYTES: u64 = 2 << 20;
/// The reserve is created if this multiple of its length is free.
const PLENTY: u64 = 8;
/// With fewer free bytes, every dead record is returned, not only those in segments with a large dead part.
const TIGHT_BYTES: u64 = 4 * RESERVE_BYTES;
/// Fewest dead bytes of a segment that is scanned for them.
const WORTH_BYTES: u64 = 64 << 10;
/// Space is returned in whole pages of this size.
const PAGE_BYTES: u64 = 4096;

/// Returns whether an error means that no space is left.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if is_full_disk(source))
}

fn is_full_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Inner {
    /// Creates the reserve if there is plenty of space and it does not exist.
    pub(super) fn keep_reserve(&self) {
        if self.disk.free_bytes().is_some_and(|free| free >= PLENTY * RESERVE_BYTES)
            && let Err(error) = self.disk.reserve(RESERVE_NAME, RESERVE_BYTES)
        {
            tracing::debug!(%error, "no space is kept in reserve");
        }
    }

    /// Runs `work`, which frees space, and makes space first if there is none. Requires the writer lock.
    pub(super) fn freeing<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        let mut outcome = work();
        if outcome.as_ref().is_err_and(is_full) && self.disk.remove(RESERVE_NAME).is_ok() {
            outcome = work();
        }
        if outcome.as_ref().is_err_and(is_full) && self.give_back()? > 0 {
            outcome = work();
        }
        outcome
    }

    /// Appends changes that free space. Requires the writer lock.
    pub(super) fn append_freeing(&self, changes: &[Change<'_>]) -> Result<()> {
        self.freeing(|| self.log.append(changes, &self.state))
    }

    pub(super) fn is_tight(&self) -> bool {
        self.disk.free_bytes().is_some_and(|free| free < TIGHT_BYTES)
    }

    /// Returns the space of the data of deleted blocks, including those in the newest segment, which is closed for
    /// this. Returns the number of bytes. Requires the writer lock.
    pub(super) fn give_back(&self) -> Result<u64> {
        // The deletions are made durable first: a block that reappears after a crash must have its data.
        self.log.sync()?;
        let newest = self.log.tail().segment;
        if self.state().segments.get(&newest).is_some_and(has_garbage) {
            self.log.begin_segment(&self.state)?;
        }
        let newest = self.log.tail().segment;
        let segments: Vec<(u32, Segment)> =
            self.state().segments.range(..newest).map(|(id, segment)| (*id, segment.clone())).collect();
        let mut freed = 0;
        for (id, segment) in segments.into_iter().filter(|(_, segment)| has_garbage(segment)) {
            match self.punch(id, &segment) {
                Ok(bytes) => freed += bytes,
                Err(error) => tracing::info!(segment = id, %error, "the space of deleted blocks cannot be given back"),
            }
        }
        Ok(freed)
    }

    fn punch(&self, id: u32, segment: &Segment) -> io::Result<u64> {
        let mut scanner = Scanner::new(segment.file.clone(), id, self.seed, 0..segment.size);
        let mut freed = 0;
        while let Some(record) = scanner.next_of(Kind::Block)? {
            let key = fingerprint(self.seed, record.cid.hash());
            if self.state().index.find(key, record.location).is_some() {
                continue;
            }
            let start = u64::from(record.location.offset);
            let data = start + record.header.data_start() as u64..start + u64::from(record.header.record_len());
            if let Some(pages) = whole_pages(&data) {
                segment.file.punch(pages.clone())?;
                freed += pages.end - pages.start;
            }
        }
        Ok(freed)
    }
}

/// Returns whether enough of the segment is dead to be worth scanning.
fn has_garbage(segment: &Segment) -> bool {
    segment.size.saturating_sub(segment.live) >= WORTH_BYTES
}

fn whole_pages(range: &Range<u64>) -> Option<Range<u64>> {
    let (start, end) = (range.start.next_multiple_of(PAGE_BYTES), range.end / PAGE_BYTES * PAGE_BYTES);
    (start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_within_a_range_are_given_back() {
        assert_eq!(whole_pages(&(1..8191)), None);
        assert_eq!(whole_pages(&(1..8192)), Some(4096..8192));
        assert_eq!(whole_pages(&(4096..20_000)), Some(4096..16_384));
        assert_eq!(whole_pages(&(0..0)), None);
    }
}
