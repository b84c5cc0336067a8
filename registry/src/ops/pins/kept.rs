//! A copy of the user's pins outside the store. A pin is one record in the log of the store, and the user's pins cannot
//! be derived from other data. If the record is lost, the pin is set again from this copy.
//!
//! *Invariant*: the copy lists a pin only while the store has it durably. A pin is set in the store before it is added
//! to the copy, and removed from the copy before it is removed from the store. So no crash brings back a removed pin,
//! or creates a pin without its blocks.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use ggen_blockstore::{Blockstore, DAMAGE, Pin, PinMode, parse_cid};

use super::is_users;
use crate::{
    Failure, checked_file,
    database::Access,
    ops::{failure, storage::Storage},
};

/// Maximum size of the file in bytes, enough for some hundred thousand pins.
const MAX_BYTES: u64 = 64 << 20;

/// The copy of the user's pins. See the module.
#[derive(Debug, Default)]
pub(crate) struct KeptPins {
    /// `None` for a registry in memory.
    path: Option<PathBuf>,
    is_read_only: bool,
    /// Serializes changes of the store together with the copy.
    turn: Mutex<()>,
}

impl KeptPins {
    /// Keeps the copy in the file at `path`.
    pub(crate) fn at(path: PathBuf, access: Access) -> Self {
        Self { path: Some(path), is_read_only: access == Access::Copy, turn: Mutex::default() }
    }

    fn read(&self) -> Option<BTreeSet<Pin>> {
        let pins: Vec<(String, String, bool)> = checked_file::read(self.path.as_ref()?, MAX_BYTES)?;
        let pin = |(label, cid, is_recursive): (String, String, bool)| {
            let mode = if is_recursive { PinMode::Recursive } else { PinMode::Direct };
            Some(Pin { label, cid: parse_cid(&cid).ok()?, mode })
        };
        pins.into_iter().map(pin).collect()
    }

    /// Writes the copy. An error is only logged, because the store has the pins.
    fn write(&self, pins: &BTreeSet<Pin>) {
        let Some(path) = self.path.as_ref().filter(|_| !self.is_read_only) else { return };
        let pins: Vec<_> =
            pins.iter().map(|pin| (&pin.label, pin.cid.to_string(), pin.mode == PinMode::Recursive)).collect();
        if let Err(error) = checked_file::write(path, &pins) {
            tracing::warn!(target: crate::LOG_TARGET, %error, "your pins are not kept beside the store");
        }
    }

    /// Sets pins durably.
    pub(super) fn add(&self, store: &dyn Blockstore, pins: Vec<Pin>) -> ggen_blockstore::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        pins.into_iter().try_for_each(|pin| store.pin(pin))?;
        store.sync()?;
        self.write(&users(store));
        Ok(())
    }

    /// Removes pins durably.
    pub(super) fn remove(&self, store: &dyn Blockstore, pins: &[&Pin]) -> ggen_blockstore::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = users(store);
        left.retain(|pin| !pins.contains(&pin));
        self.write(&left);
        pins.iter().try_for_each(|pin| store.unpin(&pin.label, &pin.cid).map(drop))?;
        store.sync()
    }

    /// Reconciles copy and store after the store was opened. If the store has lost records, sets lost pins again from
    /// the copy. Returns these pins; `None` if records are lost and there is no valid copy.
    fn compare(&self, store: &dyn Blockstore, lost_records: bool) -> ggen_blockstore::Result<Option<Vec<Pin>>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (there, kept) = (users(store), self.read());
        let is_known = kept.is_some() || !lost_records || self.path.is_none();
        let lost: Vec<Pin> = match (&kept, lost_records) {
            (Some(kept), true) => kept.difference(&there).cloned().collect(),
            _ => Vec::new(),
        };
        if !lost.is_empty() {
            lost.iter().try_for_each(|pin| store.pin(pin.clone()))?;
            store.sync()?;
        }
        let there = users(store);
        if kept.as_ref() != Some(&there) {
            self.write(&there);
        }
        Ok(is_known.then_some(lost))
    }
}

fn users(store: &dyn Blockstore) -> BTreeSet<Pin> {
    store.pins().into_iter().filter(is_users).collect()
}

impl KeptPins {
    /// Sets the user's pins again that were lost with records of the store, or logs that some may be lost. Returns
    /// whether the pins before the loss are known.
    pub(crate) async fn restore(self: &Arc<Self>, storage: &Storage, lost_records: bool) -> Result<bool, Failure> {
        let (store, kept) = (storage.store.clone(), Arc::clone(self));
        let compared = storage.run(move || kept.compare(&*store, lost_records).map_err(failure::store)).await?;
        let Some(lost) = compared else {
            tracing::warn!(
                target: DAMAGE,
                "pins that you have set may be lost with records of the store, and nothing tells which: compare the list of \
                 pins with what you had pinned, and pin again what is missing"
            );
            return Ok(false);
        };
        for pin in lost {
            tracing::warn!(target: DAMAGE, label = pin.label, cid = %pin.cid, "a lost pin is set again");
        }
        Ok(true)
    }
}
