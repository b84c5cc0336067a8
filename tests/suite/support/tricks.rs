//! A store that cheats its readers: with it a real node sends wrong bytes or stalls.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Cid, MemoryBlockstore, Result, forward_blockstore};

/// The store; see the module documentation. It is honest until one of its methods is called.
#[derive(Debug, Default)]
pub(crate) struct TrickStore {
    store: MemoryBlockstore,
    lies: AtomicBool,
    hangs: Mutex<bool>,
    read_takes: Mutex<Duration>,
    released: Condvar,
    reads: Mutex<Vec<(Instant, Cid)>>,
}

impl TrickStore {
    /// From now on every text block is returned with wrong bytes that are text too, so that only the hash shows it.
    pub(crate) fn lie(&self) {
        self.lies.store(true, Ordering::Release);
    }

    /// From now on every read takes this long, as from a slow disk.
    pub(crate) fn slow_down(&self, read_takes: Duration) {
        *self.read_takes.lock().unwrap() = read_takes;
    }

    /// From now on no read returns, until [`Self::release`].
    pub(crate) fn hang(&self) {
        *self.hangs.lock().unwrap() = true;
    }

    pub(crate) fn release(&self) {
        *self.hangs.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// The reads since the last call: the time and the requested CID.
    pub(crate) fn reads(&self) -> Vec<(Instant, Cid)> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl Blockstore for TrickStore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        self.reads.lock().unwrap().push((Instant::now(), *cid));
        drop(self.released.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        let takes = *self.read_takes.lock().unwrap();
        std::thread::sleep(takes);
        let data = self.store.get(cid)?;
        match self.lies.load(Ordering::Acquire) {
            true => Ok(data.map(|data| if data.is_ascii() { data.iter().rev().copied().collect() } else { data })),
            false => Ok(data),
        }
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        self.reads.lock().unwrap().push((Instant::now(), *cid));
        self.store.size(cid)
    }

    forward_blockstore!(self.store: put_many retain delete_many lease delete_unused last_used reclaim sync cids pin
        unpin pins pins_of damage mend stats);
}
