//! Lists the blocks of a store, segment by segment.

use std::{io, sync::Arc};

use crate::{Cid, Result};

use super::{
    Inner,
    record::{Kind, Location, fingerprint},
    scan::Scanner,
};

/// Iterates over all blocks. A block that a compaction moves meanwhile may be listed twice, but is not missed, because
/// blocks only move forward in the log. A block with a damaged record head cannot be listed; this is logged.
pub(super) struct Cids<'a> {
    inner: &'a Inner,
    /// The segment being read, and the end of its known part.
    current: Option<(u32, u64, Scanner)>,
    failed: bool,
}

impl<'a> Cids<'a> {
    pub(super) fn new(inner: &'a Inner) -> Self {
        Self { inner, current: None, failed: false }
    }

    fn advance(&mut self) -> io::Result<Option<Cid>> {
        loop {
            if let Some((_, _, scanner)) = &mut self.current {
                while let Some(record) = scanner.next_of(Kind::Block)? {
                    let key = fingerprint(self.inner.seed, record.cid.hash());
                    if self.inner.state().index.find(key, record.location).is_some() {
                        return Ok(Some(record.cid));
                    }
                }
            }
            if !self.begin_next() {
                return Ok(None);
            }
        }
    }

    /// Continues with what was appended to the segment meanwhile, or with the next segment.
    fn begin_next(&mut self) -> bool {
        let state = self.inner.state();
        let (id, done) = self.current.as_ref().map_or((0, 0), |(id, end, _)| (*id, *end));
        let grown = state.segments.get(&id).filter(|segment| segment.size > done).map(|segment| (id, done, segment));
        let next = || state.segments.range(id + 1..).next().map(|(id, segment)| (*id, 0, segment));
        let Some((id, from, segment)) = grown.or_else(next) else { return false };
        let scanner = Scanner::new(Arc::clone(&segment.file), id, self.inner.seed, from..segment.size);
        self.current = Some((id, segment.size, scanner));
        true
    }
}

impl Iterator for Cids<'_> {
    type Item = Result<Cid>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.advance()
            .map_err(|error| {
                self.failed = true;
                let segment = self.current.as_ref().map_or(0, |(id, ..)| *id);
                self.inner.read_error(Location { segment, offset: 0 })(error)
            })
            .transpose()
    }
}
