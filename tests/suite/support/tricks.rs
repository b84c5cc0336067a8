//! A store that cheats whoever reads from it: behind a node, it makes a liar or a staller of a real peer.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use ggen_blockstore::{Block, Blockstore, Cid, Lease, MemoryBlockstore, Pin, PutReport, Result, StoreStats};

/// See the module's words. Honest until it is told otherwise.
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
    /// From now on every block of text has other bytes than it should: what is text only its hash can tell.
    pub(crate) fn lie(&self) {
        self.lies.store(true, Ordering::Release);
    }

    /// From now on every read takes so long, as from a slow disk.
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

    /// What was read, or asked for, and when, since this was last called.
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
    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        self.store.put_many(blocks)
    }
    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        self.store.retain(cids)
    }
    fn delete_many(&self, cids: &[Cid]) -> Result<u64> {
        self.store.delete_many(cids)
    }
    fn lease(&self) -> Lease {
        self.store.lease()
    }
    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64> {
        self.store.delete_unused(cids, lease)
    }
    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        self.store.cids()
    }
    fn pin(&self, pin: Pin) -> Result<()> {
        self.store.pin(pin)
    }
    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        self.store.unpin(label, cid)
    }
    fn pins(&self) -> Vec<Pin> {
        self.store.pins()
    }
    fn stats(&self) -> StoreStats {
        self.store.stats()
    }
}
