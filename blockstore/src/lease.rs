//! Leases: what keeps blocks that nothing pins yet out of a running garbage collection.
//!
//! Time is counted in epochs: every new lease begins one. A store stamps each block with the epoch in which it was
//! last put or retained. A block whose stamp is not older than the oldest lease held may belong to that lease's work
//! and stays. Stamps live in memory only: a process that died holds no leases.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Protects blocks that are put or retained while it is held; see [`Blockstore::lease`](crate::Blockstore::lease).
#[derive(Debug)]
pub struct Lease {
    epoch: u64,
    epochs: Arc<Epochs>,
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
    /// Leases held per epoch.
    held: BTreeMap<u64, usize>,
}

impl Epochs {
    /// Begins a lease, and with it a new epoch.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now += 1;
        let epoch = state.now;
        *state.held.entry(epoch).or_default() += 1;
        Lease { epoch, epochs: Arc::clone(self) }
    }

    /// The epoch to stamp a block with that is put or retained now.
    pub(crate) fn now(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    /// Blocks with a stamp below this are protected by no lease.
    pub(crate) fn oldest_held(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held.first_key_value().map_or(state.now + 1, |(epoch, _)| *epoch)
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
