//! A store that hands out other bytes than those of the blocks it was asked for.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use ggen_blockstore::{
    Block, Blockstore, Cid, Lease, MemoryBlockstore, Pin, PutReport, Result, StoreStats, TreeLimits, list_tree,
};

/// Honest, but for the files of the trees that it is told to lie about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Liar {
    honest: MemoryBlockstore,
    lies: Arc<Mutex<HashSet<Cid>>>,
}

impl Liar {
    pub(crate) fn new(honest: MemoryBlockstore) -> Self {
        Self { honest, lies: Arc::default() }
    }

    pub(crate) fn lie_about(&self, root: Cid) {
        let tree = list_tree(&self.honest, root, &TreeLimits::default()).unwrap();
        self.lies.lock().unwrap().extend(tree.entries.iter().map(|entry| entry.cid));
    }
}

impl Blockstore for Liar {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        let honest = self.honest.get(cid)?;
        let lies = self.lies.lock().unwrap().contains(cid);
        Ok(honest.map(|bytes| if lies { bytes.iter().map(|byte| !byte).collect() } else { bytes }))
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        self.honest.size(cid)
    }

    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        self.honest.put_many(blocks)
    }

    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        self.honest.retain(cids)
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<u64> {
        self.honest.delete_many(cids)
    }

    fn lease(&self) -> Lease {
        self.honest.lease()
    }

    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64> {
        self.honest.delete_unused(cids, lease)
    }

    fn sync(&self) -> Result<()> {
        self.honest.sync()
    }

    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        self.honest.cids()
    }

    fn pin(&self, pin: Pin) -> Result<()> {
        self.honest.pin(pin)
    }

    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        self.honest.unpin(label, cid)
    }

    fn pins(&self) -> Vec<Pin> {
        self.honest.pins()
    }

    fn stats(&self) -> StoreStats {
        self.honest.stats()
    }
}
