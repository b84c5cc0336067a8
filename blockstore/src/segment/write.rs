//! All operations that change a store, except compaction.

use std::{collections::HashSet, sync::PoisonError};

use hashbrown::HashTable;

use crate::{Block, Cid, Error, MAX_PIN_LABEL_BYTES, Pin, PutReport, Result, identity_data};

use super::{
    Inner, Located, checkpoint,
    log::Change,
    record::{Location, Target, fingerprint, hash_data, mark},
};

/// Blocks deleted before the writer lock is released for other writers.
const DELETE_CHUNK: usize = 4096;

/// State that only the holder of the writer lock accesses.
#[derive(Debug)]
pub(super) struct Writer {
    /// Number of the newest checkpoint.
    pub(super) checkpoint: u32,
}

impl Inner {
    pub(super) fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        let mut writer = self.writer();
        let epoch = self.epoch();
        let mut changes = Vec::new();
        let mut seen = HashTable::<(u64, &Block)>::new();
        let mut report = PutReport::default();
        for block in blocks.iter().filter(|block| identity_data(block.cid()).is_none()) {
            let cid = block.cid();
            let key = fingerprint(self.seed, cid.hash());
            if blocks.len() > 1 {
                if seen.find(key, |(_, other)| other.cid().hash() == cid.hash()).is_some() {
                    continue;
                }
                seen.insert_unique(key, (key, block), |(key, _)| *key);
            }
            match self.locate(cid)? {
                Some(Located { found, damaged: false }) => {
                    self.stamp(key, found.location(), epoch);
                    continue;
                }
                Some(Located { found, damaged: true }) => {
                    changes.push(Change::Kill { cid, target: Target { location: found.location(), label: None } });
                }
                None => {}
            }
            report += PutReport { new_blocks: 1, new_bytes: block.data().len() as u64 };
            let data_hash = hash_data(block.data());
            changes.push(Change::Block {
                fingerprint: key,
                cid,
                data: block.data(),
                data_hash,
                epoch,
                moved_from: None,
            });
        }
        self.log.append(&changes, &self.state)?;
        self.checkpoint_if_due(&mut writer);
        Ok(report)
    }

    pub(super) fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        // The lock prevents a concurrent deletion from removing a block that it has found to be unused.
        let _writer = self.writer();
        let epoch = self.epoch();
        let retain = |cid: &Cid| {
            if identity_data(cid).is_some() {
                return Ok(true);
            }
            let Some(Located { found, damaged: false }) = self.locate(cid)? else { return Ok(false) };
            self.stamp(found.entry.fingerprint, found.location(), epoch);
            Ok(true)
        };
        cids.iter().map(retain).collect()
    }

    /// Deletes the blocks for whose epoch `may_go` returns true.
    pub(super) fn delete(&self, cids: &[Cid], may_go: impl Fn(u32) -> bool) -> Result<u64> {
        let _removals = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut deleted = 0;
        for cids in cids.chunks(DELETE_CHUNK) {
            let mut writer = self.writer();
            let mut kills = Vec::new();
            let mut seen = HashSet::new();
            for cid in cids.iter().filter(|cid| identity_data(cid).is_none()) {
                let Some(Located { found, .. }) = self.locate(cid)? else { continue };
                // The entry was read under the writer lock, which is also held to stamp an entry.
                if may_go(found.entry.epoch) && seen.insert(found.location()) {
                    kills.push(Change::Kill { cid, target: Target { location: found.location(), label: None } });
                }
            }
            self.append_freeing(&kills)?;
            deleted += kills.len() as u64;
            self.checkpoint_if_due(&mut writer);
        }
        Ok(deleted)
    }

    pub(super) fn pin(&self, pin: &Pin) -> Result<()> {
        if pin.label.len() > MAX_PIN_LABEL_BYTES {
            return Err(Error::LabelTooLong { bytes: pin.label.len(), limit: MAX_PIN_LABEL_BYTES });
        }
        let mut writer = self.writer();
        let old = self.state().pins.get(&(pin.label.clone(), pin.cid)).copied();
        let mut changes = vec![Change::Pin(pin)];
        if let Some(old) = old {
            if old.mode == pin.mode {
                return Ok(());
            }
            let target = Target { location: old.location, label: Some(pin.label.clone()) };
            changes.push(Change::Kill { cid: &pin.cid, target });
        }
        self.log.append(&changes, &self.state)?;
        self.checkpoint_if_due(&mut writer);
        Ok(())
    }

    pub(super) fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        let mut writer = self.writer();
        let Some(old) = self.state().pins.get(&(label.to_owned(), *cid)).copied() else { return Ok(false) };
        let target = Target { location: old.location, label: Some(label.to_owned()) };
        self.append_freeing(&[Change::Kill { cid, target }])?;
        self.checkpoint_if_due(&mut writer);
        Ok(true)
    }

    pub(super) fn checkpoint(&self, writer: &mut Writer) -> Result<()> {
        if !self.disk.is_kept() {
            return Ok(());
        }
        self.log.sync()?;
        self.mark_durable()?;
        let (position, synced) = {
            let tail = self.log.tail();
            (Location { segment: tail.segment, offset: tail.end }, tail.durable == tail.end)
        };
        debug_assert!(synced, "the writer lock is held, so nothing was written since the sync");
        let sequence = writer.checkpoint + 1;
        if let Err(error) = checkpoint::write(self.disk.as_ref(), sequence, &self.state(), position) {
            // A partial checkpoint only takes space; opening the store removes it too.
            if let Err(error) = self.disk.remove(checkpoint::TEMPORARY_NAME) {
                tracing::debug!(%error, "cannot remove an unfinished checkpoint");
            }
            return Err(error);
        }
        let former = std::mem::replace(&mut writer.checkpoint, sequence);
        {
            let mut tail = self.log.tail();
            (tail.unsaved_bytes, tail.unsaved_records) = (0, 0);
        }
        if former > 0
            && let Err(error) = self.disk.remove(&checkpoint::checkpoint_name(former))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove a former checkpoint; the next opening will");
        }
        Ok(())
    }

    /// Records in the log that everything before is durable. If the checkpoint is lost, damage there is then known not
    /// to come from a crash, and costs only the damaged record instead of all later ones.
    fn mark_durable(&self) -> Result<()> {
        let (cid, target) = mark();
        let change = Change::Kill { cid: &cid, target };
        if self.log.tail().unsaved_records == 0 || !self.log.has_room(change.record_len()) {
            return Ok(());
        }
        self.log.append(&[change], &self.state)?;
        self.log.sync()
    }

    /// Writes a checkpoint if enough was written since the last one. A failure does not fail the caller's operation.
    pub(super) fn checkpoint_if_due(&self, writer: &mut Writer) {
        let (bytes, records) = {
            let tail = self.log.tail();
            (tail.unsaved_bytes, tail.unsaved_records)
        };
        let many = self.options.checkpoint_records.max(self.state().index.len() as u64 / 4);
        if bytes < self.options.checkpoint_bytes && records < many {
            return;
        }
        if let Err(error) = self.checkpoint(writer) {
            tracing::warn!(%error, "cannot write a checkpoint; opening the blockstore after a crash will be slow");
            let mut tail = self.log.tail();
            (tail.unsaved_bytes, tail.unsaved_records) = (0, 1);
        }
    }

    fn epoch(&self) -> u32 {
        u32::try_from(self.epochs.now()).unwrap_or(u32::MAX)
    }

    fn stamp(&self, fingerprint: u64, location: Location, epoch: u32) {
        if let Some(entry) = self.state_mut().index.find_mut(fingerprint, location) {
            entry.epoch = epoch;
        }
    }
}
