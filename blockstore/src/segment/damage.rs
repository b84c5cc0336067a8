//! Damage to the log: detection and repair.
//!
//! A record whose head cannot be read is a hole: its former content is known only if the index or the pins refer to it.
//! A hole stays in its file, and every check finds it again, until [`Inner::mend`] has copied the surrounding records
//! to another segment.

use std::{io, ops::Range, sync::PoisonError};

use crate::{Damage, Error, Result};

use super::{
    Inner,
    log::segment_name,
    record::Kind,
    scan::{Found, Scanner},
};

/// Damage to one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    segment: u32,
    range: Range<u64>,
    /// The wrong bit, counted from the start of the segment, if it is a single one.
    wrong_bit: Option<u64>,
}

impl Spot {
    pub(super) fn report(&self) -> Damage {
        Damage { file: segment_name(self.segment), bytes: self.range.clone(), is_lost: self.wrong_bit.is_none() }
    }
}

/// The damage in what a scan of a segment found. The data of blocks is not checked; reading a block does that.
pub(super) fn of(scanner: &mut Scanner, segment: u32, found: &Found) -> io::Result<Option<Spot>> {
    let record = match found {
        Found::Damage(range) => return Ok(Some(Spot { segment, range: range.clone(), wrong_bit: None })),
        Found::Record(record) => record,
    };
    let start = u64::from(record.location.offset);
    let range = start..start + u64::from(record.header.record_len());
    let at = |from: u64, bit: usize| Some((start + from) * 8 + bit as u64);
    if let Some(bit) = record.wrong_bit {
        return Ok(Some(Spot { segment, range, wrong_bit: at(0, bit) }));
    }
    if record.header.kind == Kind::Block {
        return Ok(None);
    }
    let data_start = record.header.data_start() as u64;
    Ok(match scanner.sound_data(record)? {
        Some(sound) => sound.wrong_bit.map(|bit| Spot { segment, range, wrong_bit: at(data_start, bit) }),
        None => Some(Spot { segment, range, wrong_bit: None }),
    })
}

impl Inner {
    /// Checks the whole log.
    pub(super) fn damage(&self) -> Result<Vec<Damage>> {
        Ok(self.spots()?.iter().map(Spot::report).collect())
    }

    fn spots(&self) -> Result<Vec<Spot>> {
        let segments = self.state().segments.clone();
        let mut spots = Vec::new();
        for (id, segment) in segments {
            let mut scanner = Scanner::new(segment.file, id, self.seed, 0..segment.size);
            let mut scan = || -> io::Result<Vec<Spot>> {
                let mut spots = Vec::new();
                while let Some(found) = scanner.advance()? {
                    spots.extend(of(&mut scanner, id, &found)?);
                }
                Ok(spots)
            };
            spots.extend(scan().map_err(Error::io("read", self.disk.path().join(segment_name(id))))?);
        }
        // A compaction may have removed some segments meanwhile.
        let state = self.state();
        spots.retain(|spot| state.segments.contains_key(&spot.segment));
        Ok(spots)
    }

    /// Corrects single wrong bits, and copies everything readable out of the segments with holes. Index entries that
    /// refer to a hole are removed; a pin is written again.
    pub(super) fn mend(&self) -> Result<u64> {
        let _removals = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
        let spots = self.spots()?;
        let (wrong, lost): (Vec<&Spot>, Vec<&Spot>) = spots.iter().partition(|spot| spot.wrong_bit.is_some());
        for spot in wrong {
            self.put_right(spot)?;
        }
        for run in lost.chunk_by(|a, b| a.segment == b.segment) {
            self.leave(run[0].segment, run)?;
        }
        if !spots.is_empty() {
            self.checkpoint(&mut self.writer())?;
        }
        Ok(spots.len() as u64)
    }

    fn put_right(&self, spot: &Spot) -> Result<()> {
        let (Some(bit), Some(segment)) = (spot.wrong_bit, self.state().segments.get(&spot.segment).cloned()) else {
            return Ok(());
        };
        let error = Error::io("write", self.disk.path().join(segment_name(spot.segment)));
        let flip = || {
            let mut byte = segment.file.read_at(bit / 8, 1)?;
            super::record::flip(&mut byte, (bit % 8) as usize);
            segment.file.write_at(bit / 8, &[&byte])?;
            segment.file.sync()
        };
        flip().map_err(error)
    }

    /// Copies the live records out of a segment with holes, and removes the segment.
    fn leave(&self, id: u32, holes: &[&Spot]) -> Result<()> {
        {
            let _writer = self.writer();
            let mut state = self.state_mut();
            let in_hole = |offset: u32| holes.iter().any(|spot| spot.range.contains(&u64::from(offset)));
            let gone =
                state.index.iter().filter(|entry| entry.location.segment == id && in_hole(entry.location.offset));
            let gone: Vec<_> = gone.map(|entry| (entry.fingerprint, entry.location)).collect();
            for (fingerprint, location) in gone {
                state.remove_block(fingerprint, location);
            }
            drop(state);
            if self.log.tail().segment == id {
                self.log.begin_segment(&self.state)?;
            }
        }
        self.compact_segment(id).map(drop)
    }
}
