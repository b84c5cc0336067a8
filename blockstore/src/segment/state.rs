//! The state of a store in memory: index, pins, and the number of live bytes in each segment.
//!
//! It is rebuilt from the log. A change is applied after its record was written.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Cid, Pin, PinMode};

use super::{
    disk::File,
    index::{Entry, Index},
    record::{Location, Target, fingerprint},
};

/// A segment file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    /// Bytes of whole records.
    pub(super) size: u64,
    /// Bytes of live records.
    pub(super) live: u64,
    /// Whether it contains a block whose record head is damaged: such a block cannot be copied, so the file stays.
    pub(super) unmovable: bool,
}

impl Segment {
    pub(super) fn new(file: Arc<dyn File>, size: u64) -> Self {
        Self { file, size, live: 0, unmovable: false }
    }
}

/// A pin and the record that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PinEntry {
    pub(super) mode: PinMode,
    pub(super) location: Location,
    pub(super) record_len: u32,
}

/// Label and CID of a pin.
pub(super) type PinKey = (String, Cid);

/// The state; see the module documentation.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seed: u64,
    pub(super) index: Index,
    pub(super) pins: BTreeMap<PinKey, PinEntry>,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// Bytes of kills by (segment of the target, segment of the kill).
    pub(super) kills: BTreeMap<(u32, u32), u64>,
    pub(super) block_bytes: u64,
}

impl State {
    /// Counts the bytes of a record that was written.
    pub(super) fn place(&mut self, location: Location, record_len: u32) {
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            segment.size = segment.size.max(u64::from(location.offset) + u64::from(record_len));
        }
    }

    /// Adds a block that has no entry.
    pub(super) fn insert_block(&mut self, entry: Entry) {
        self.index.insert(entry);
        self.block_bytes += u64::from(entry.data_len());
        self.gain(entry.location.segment, entry.record_len());
    }

    /// Removes the block whose record is at `location`; returns `false` if there is none.
    pub(super) fn remove_block(&mut self, fingerprint: u64, location: Location) -> bool {
        let Some(entry) = self.index.remove(fingerprint, location) else { return false };
        self.block_bytes -= u64::from(entry.data_len());
        self.lose(location.segment, entry.record_len());
        true
    }

    /// Points the entry of a block that was copied to its copy.
    pub(super) fn move_block(&mut self, fingerprint: u64, from: Location, to: Location, cid_len: u8) -> bool {
        let Some(entry) = self.index.find_mut(fingerprint, from) else { return false };
        let old = *entry;
        *entry = Entry::new(fingerprint, to, cid_len, old.data_len(), old.epoch);
        let new_len = entry.record_len();
        self.lose(from.segment, old.record_len());
        self.gain(to.segment, new_len);
        true
    }

    /// Sets a pin, and returns the location of its former record, if there was one.
    pub(super) fn set_pin(&mut self, pin: &Pin, location: Location, record_len: u32) -> Option<Location> {
        let entry = PinEntry { mode: pin.mode, location, record_len };
        let old = self.pins.insert((pin.label.clone(), pin.cid), entry);
        self.gain(location.segment, record_len);
        old.map(|old| {
            self.lose(old.location.segment, old.record_len);
            old.location
        })
    }

    /// Applies a kill: removes its target, if that is still the current record.
    pub(super) fn kill(&mut self, cid: &Cid, target: &Target, holder: u32, record_len: u32) {
        match &target.label {
            None => {
                self.remove_block(fingerprint(self.seed, cid.hash()), target.location);
            }
            Some(label) => self.remove_pin(&(label.clone(), *cid), target.location),
        }
        self.note_kill(target.location.segment, holder, u64::from(record_len));
    }

    /// Counts a kill's own bytes, which are live as long as the target's segment exists.
    pub(super) fn note_kill(&mut self, target: u32, holder: u32, bytes: u64) {
        if target != holder && !self.segments.contains_key(&target) {
            return;
        }
        *self.kills.entry((target, holder)).or_default() += bytes;
        if let Some(segment) = self.segments.get_mut(&holder) {
            segment.live += bytes;
        }
    }

    /// Removes a segment whose file was removed, and the kills in it or of its records.
    pub(super) fn drop_segment(&mut self, id: u32) {
        self.segments.remove(&id);
        let gone: Vec<_> =
            self.kills.keys().copied().filter(|(target, holder)| *target == id || *holder == id).collect();
        for key in gone {
            let bytes = self.kills.remove(&key).unwrap_or_default();
            if let Some(segment) = self.segments.get_mut(&key.1) {
                segment.live = segment.live.saturating_sub(bytes);
            }
        }
    }

    /// Bytes of all segments.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.size).sum()
    }

    fn remove_pin(&mut self, key: &PinKey, location: Location) {
        if self.pins.get(key).is_some_and(|pin| pin.location == location)
            && let Some(pin) = self.pins.remove(key)
        {
            self.lose(location.segment, pin.record_len);
        }
    }

    fn gain(&mut self, segment: u32, bytes: u32) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live += u64::from(bytes);
        }
    }

    fn lose(&mut self, segment: u32, bytes: u32) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live = segment.live.saturating_sub(u64::from(bytes));
        }
    }
}
