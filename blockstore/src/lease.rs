//! Leases: protect blocks that are not pinned yet from a concurrent garbage collection.
//!
//! Time is counted in epochs: every new lease begins one. A store stamps each block with the epoch in which it was last
//! put or retained. A block whose stamp is not older than the oldest held lease may belong to that lease's work, and
//! stays. Stamps are kept in memory only, because a process that died holds no leases.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Protects blocks that are put or retained while it is held; see [`Blockstore::lease`](crate::Blockstore::lease).
#[derive(Debug)]
pub struct Lease {
    epoch: u64,
    /// The oldest epoch held when this lease began, including its own. Blocks stamped since then belong to work that
    /// was in progress at that time, and may have been pinned after the holder of this lease read the pins.
    horizon: u64,
    epochs: Arc<Epochs>,
}

impl Lease {
    /// Blocks with a stamp below this are protected neither by a lease that was held when this one began, nor by a
    /// later one.
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.epochs.end(self.epoch);
    }
}

/// The epochs of one store.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: u64,
    /// Number of leases held per epoch.
    held: BTreeMap<u64, usize>,
}

impl Epochs {
    /// Creates a lease, and with it a new epoch.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now += 1;
        let epoch = state.now;
        *state.held.entry(epoch).or_default() += 1;
        let horizon = state.held.first_key_value().map_or(epoch, |(oldest, _)| *oldest);
        Lease { epoch, horizon, epochs: Arc::clone(self) }
    }

    /// The epoch with which to stamp a block that is put or retained now.
    pub(crate) fn now(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    fn end(&self, epoch: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = state.held.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&epoch);
            }
        }
    }
}
