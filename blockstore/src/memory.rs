//! The store in memory: the reference implementation, which reads like the contract.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;

use crate::{
    Block, Blockstore, Cid, Damage, Error, Lease, MAX_PIN_LABEL_BYTES, Multihash, Pin, PinMode, PutReport, Result,
    StoreStats, identity_data, lease::Epochs,
};

/// A [`Blockstore`] in memory: for tests, and for nodes that keep nothing.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlockstore {
    inner: Arc<RwLock<Inner>>,
    epochs: Arc<Epochs>,
}

#[derive(Debug, Default)]
struct Inner {
    blocks: HashMap<Multihash, Entry>,
    pins: BTreeMap<(String, Cid), PinMode>,
    block_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    block: Block,
    epoch: u64,
}

impl Inner {
    fn remove(&mut self, hash: &Multihash) -> u64 {
        let Some(entry) = self.blocks.remove(hash) else { return 0 };
        self.block_bytes -= entry.block.data().len() as u64;
        1
    }
}

impl MemoryBlockstore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Blockstore for MemoryBlockstore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        if let Some(data) = identity_data(cid) {
            return Ok(Some(Bytes::copy_from_slice(data)));
        }
        Ok(self.read().blocks.get(cid.hash()).map(|entry| entry.block.data().clone()))
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        Ok(self.get(cid)?.map(|data| data.len() as u32))
    }

    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        let mut inner = self.write();
        let epoch = self.epochs.now();
        let mut report = PutReport::default();
        for block in blocks.iter().filter(|block| identity_data(block.cid()).is_none()) {
            if let Some(entry) = inner.blocks.get_mut(block.cid().hash()) {
                entry.epoch = epoch;
                continue;
            }
            inner.blocks.insert(*block.cid().hash(), Entry { block: block.clone(), epoch });
            report += PutReport { new_blocks: 1, new_bytes: block.data().len() as u64 };
        }
        inner.block_bytes += report.new_bytes;
        Ok(report)
    }

    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        let mut inner = self.write();
        let epoch = self.epochs.now();
        let touched = cids.iter().map(|cid| match inner.blocks.get_mut(cid.hash()) {
            Some(entry) => {
                entry.epoch = epoch;
                true
            }
            None => identity_data(cid).is_some(),
        });
        Ok(touched.collect())
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<u64> {
        let mut inner = self.write();
        Ok(cids.iter().map(|cid| inner.remove(cid.hash())).sum())
    }

    fn lease(&self) -> Lease {
        self.epochs.lease()
    }

    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64> {
        let mut inner = self.write();
        let oldest = lease.horizon();
        let unused = |inner: &Inner, cid: &Cid| inner.blocks.get(cid.hash()).is_some_and(|entry| entry.epoch < oldest);
        Ok(cids.iter().map(|cid| if unused(&inner, cid) { inner.remove(cid.hash()) } else { 0 }).sum())
    }

    fn last_used(&self, cid: &Cid) -> Result<u64> {
        Ok(self.read().blocks.get(cid.hash()).map_or(0, |entry| entry.epoch))
    }

    fn reclaim(&self, _: u64) -> Result<u64> {
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        let cids: Vec<_> = self.read().blocks.values().map(|entry| Ok(*entry.block.cid())).collect();
        Box::new(cids.into_iter())
    }

    fn pin(&self, pin: Pin) -> Result<()> {
        if pin.label.len() > MAX_PIN_LABEL_BYTES {
            return Err(Error::LabelTooLong { bytes: pin.label.len(), limit: MAX_PIN_LABEL_BYTES });
        }
        self.write().pins.insert((pin.label, pin.cid), pin.mode);
        Ok(())
    }

    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        Ok(self.write().pins.remove(&(label.to_owned(), *cid)).is_some())
    }

    fn pins(&self) -> Vec<Pin> {
        self.read().pins.iter().map(as_pin).collect()
    }

    fn pins_of(&self, cid: &Cid) -> Vec<Pin> {
        self.read().pins.iter().filter(|((_, pinned), _)| pinned == cid).map(as_pin).collect()
    }

    fn damage(&self) -> Result<Vec<Damage>> {
        Ok(Vec::new())
    }

    fn mend(&self) -> Result<u64> {
        Ok(0)
    }

    fn stats(&self) -> StoreStats {
        let inner = self.read();
        StoreStats {
            blocks: inner.blocks.len() as u64,
            block_bytes: inner.block_bytes,
            stored_bytes: inner.block_bytes,
        }
    }
}

fn as_pin(((label, cid), mode): (&(String, Cid), &PinMode)) -> Pin {
    Pin { label: label.clone(), cid: *cid, mode: *mode }
}
