//! Compaction: copies live records out of segments that are mostly dead, then removes their files.
//!
//! The copies are synced before the file is removed, and the removal is synced before anything may be deleted again. A
//! crash in between leaves blocks twice, which opening the store detects.

use std::{io, sync::PoisonError};

use bytes::Bytes;

use crate::{Cid, Error, Pin, Result};

use super::{
    Inner,
    log::{Change, segment_name},
    read::Found,
    record::{Kind, Location, Target, fingerprint},
    scan::{Record, Scanner},
    space::is_full,
    state::{Segment, State},
};

/// Bytes copied before the writer lock is released for other writers.
const COPY_BYTES: usize = 4 << 20;
/// The newest segment is closed for compaction if it is mostly dead and larger than this part of a full one.
const NEWEST_FRACTION: u64 = 256;

/// Least part of a segment that must be dead for it to be compacted when space is short.
const WORTH_FRACTION: u64 = 16;

/// The live records to copy out of a segment.
#[derive(Default)]
struct Plan {
    blocks: Vec<(u64, Location)>,
    kills: Vec<(Cid, Target)>,
}

impl Inner {
    pub(super) fn compact(&self) -> Result<u64> {
        let _removals = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
        self.close_newest_if(is_mostly_dead)?;
        let mut freed = 0;
        // Removing a segment makes the kills of its blocks unnecessary, which may leave another segment mostly dead.
        // The limit ends the loop if writers create garbage as fast as it is removed.
        let limit = 2 * self.state().segments.len();
        for _ in 0..limit {
            let Some(id) = self.dead_segment() else { break };
            freed += self.compact_segment(id)?;
        }
        Ok(freed)
    }

    /// Compacts, and continues with segments that are less and less dead while the store takes more than `within`
    /// bytes.
    pub(super) fn reclaim(&self, within: u64) -> Result<u64> {
        let mut freed = self.compact()?;
        let _removals = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().stored_bytes() > within {
            self.close_newest_if(is_worth_it)?;
        }
        let limit = 2 * self.state().segments.len();
        for _ in 0..limit {
            if self.state().stored_bytes() <= within {
                break;
            }
            let Some(id) = self.deadest_segment() else { break };
            freed += self.compact_segment(id)?;
        }
        if self.is_tight() {
            let _writer = self.writer();
            freed += self.freeing(|| self.give_back())?;
        }
        self.keep_reserve();
        Ok(freed)
    }

    /// Writes a checkpoint if files were removed. After a crash, an older checkpoint that lists pins in these files
    /// would look as if the files were lost. A failure to write it has no other effect.
    pub(super) fn checkpoint_without_removed(&self, freed: u64) {
        if freed > 0
            && let Err(error) = self.checkpoint(&mut self.writer())
        {
            tracing::info!(%error, "no checkpoint is written after a compaction of the blockstore");
        }
    }

    fn deadest_segment(&self) -> Option<u32> {
        let newest = self.log.tail().segment;
        let state = self.state();
        let worth = state.segments.range(..newest).filter(|(_, segment)| !segment.unmovable && is_worth_it(segment));
        worth.max_by_key(|(_, segment)| segment.size - segment.live).map(|(id, _)| *id)
    }

    fn dead_segment(&self) -> Option<u32> {
        let newest = self.log.tail().segment;
        let state = self.state();
        let dead = |segment: &Segment| !segment.unmovable && is_mostly_dead(segment);
        state.segments.range(..newest).find(|(_, segment)| dead(segment)).map(|(id, _)| *id)
    }

    fn close_newest_if(&self, dead: fn(&Segment) -> bool) -> Result<()> {
        let _writer = self.writer();
        let newest = self.log.tail().segment;
        let least = u64::from(self.options.segment_bytes) / NEWEST_FRACTION;
        let close = self.state().segments.get(&newest).is_some_and(|segment| segment.size > least && dead(segment));
        if close { self.freeing(|| self.log.begin_segment(&self.state)) } else { Ok(()) }
    }

    pub(super) fn compact_segment(&self, id: u32) -> Result<u64> {
        let Some(segment) = self.state().segments.get(&id).cloned() else { return Ok(0) };
        let path = self.disk.path().join(segment_name(id));
        let Some(plan) = self.plan(id, &segment).map_err(Error::io("read", &path))? else {
            tracing::warn!(segment = id, "a live block has a damaged record; its segment is not compacted");
            let _writer = self.writer();
            if let Some(segment) = self.state_mut().segments.get_mut(&id) {
                segment.unmovable = true;
            }
            return Ok(0);
        };
        if let Err(error) = self.copy(id, &plan) {
            if !is_full(&error) {
                return Err(error);
            }
            // The space of dead records was returned in place, so copying the rest can wait.
            tracing::info!(segment = id, %error, "no space to compact a segment of the blockstore");
            if let Some(segment) = self.state_mut().segments.get_mut(&id) {
                segment.unmovable = true;
            }
            return Ok(0);
        }
        self.log.sync()?;
        match self.disk.remove(&segment_name(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", path)(error)),
            _ => self.disk.sync_dir().map_err(Error::io("sync", self.disk.path()))?,
        }
        // A checkpoint holds the state's read lock for long. Without the writer lock, waiting for the state's write
        // lock would block readers meanwhile.
        let _writer = self.writer();
        self.state_mut().drop_segment(id);
        Ok(segment.size.saturating_sub(segment.live))
    }

    /// Lists the live records of a closed segment; `None` if some cannot be read.
    fn plan(&self, id: u32, segment: &Segment) -> io::Result<Option<Plan>> {
        let mut plan = Plan::default();
        let mut scanner = Scanner::new(segment.file.clone(), id, self.seed, 0..segment.size);
        while let Some(record) = scanner.next_record()? {
            let Record { location, header, cid, .. } = record;
            match header.kind {
                Kind::Block => {
                    let key = fingerprint(self.seed, cid.hash());
                    if self.state().index.find(key, location).is_some() {
                        plan.blocks.push((key, location));
                    }
                }
                Kind::Kill => {
                    let target = scanner.sound_data(&record)?.and_then(|sound| Target::decode(&sound.data));
                    let needed =
                        |target: &Target| target.location.segment != id && self.has_segment(target.location.segment);
                    plan.kills.extend(target.filter(needed).map(|target| (cid, target)));
                }
                Kind::Pin => {}
            }
        }
        let alive = self.state().index.iter().filter(|entry| entry.location.segment == id).count();
        Ok((plan.blocks.len() >= alive).then_some(plan))
    }

    fn copy(&self, id: u32, plan: &Plan) -> Result<()> {
        let mut rest = plan.blocks.as_slice();
        while !rest.is_empty() {
            let mut writer = self.writer();
            // Blocks copied before space ran out are not copied again, because their index entries have changed.
            let done = self.freeing(|| self.copy_some(rest))?;
            self.checkpoint_if_due(&mut writer);
            rest = &rest[done..];
        }
        let _writer = self.writer();
        let pins = pins_in(&self.state(), id);
        let kills = plan.kills.iter().map(|(cid, target)| Change::Kill { cid, target: target.clone() });
        let changes: Vec<_> = pins.iter().map(Change::Pin).chain(kills).collect();
        self.append_freeing(&changes)
    }

    /// Copies blocks from the front of the list, and returns the number of entries processed.
    fn copy_some(&self, blocks: &[(u64, Location)]) -> Result<usize> {
        let mut copies: Vec<(Found, Cid, Bytes, u64)> = Vec::new();
        let mut bytes = 0;
        let mut looked_at = 0;
        for (key, location) in blocks {
            if bytes >= COPY_BYTES {
                break;
            }
            looked_at += 1;
            let found = super::read::find(&self.state(), *key).into_iter().find(|found| found.location() == *location);
            let Some(found) = found else { continue };
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a record was damaged while it was copied");
            // Data is copied with its original checksum, so that damaged data stays recognisable.
            let raw = found.read_raw(self.seed).and_then(|raw| raw.ok_or_else(damaged));
            let (cid, data, data_hash) = raw.map_err(self.read_error(*location))?;
            bytes += data.len() + super::record::HEADER_BYTES;
            copies.push((found, cid, data, data_hash));
        }
        let changes: Vec<_> = copies
            .iter()
            .map(|(found, cid, data, data_hash)| Change::Block {
                fingerprint: found.entry.fingerprint,
                cid,
                data,
                data_hash: *data_hash,
                epoch: found.entry.epoch,
                moved_from: Some(found.location()),
            })
            .collect();
        self.log.append(&changes, &self.state)?;
        Ok(looked_at)
    }

    fn has_segment(&self, id: u32) -> bool {
        self.state().segments.contains_key(&id)
    }
}

fn is_mostly_dead(segment: &Segment) -> bool {
    segment.live * 2 < segment.size
}

fn is_worth_it(segment: &Segment) -> bool {
    segment.size.saturating_sub(segment.live) > segment.size / WORTH_FRACTION
}

fn pins_in(state: &State, id: u32) -> Vec<Pin> {
    let here = state.pins.iter().filter(|(_, pin)| pin.location.segment == id);
    here.map(|((label, cid), pin)| Pin { label: label.clone(), cid: *cid, mode: pin.mode }).collect()
}
