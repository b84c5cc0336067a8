//! A store for looking at a package without keeping it: of what an import puts, only what is asked for stays, in memory.

use std::collections::HashSet;

use bytes::Bytes;
use ggen_blockstore::{
    Block, Blockstore, Cid, DAG_PB, Lease, MemoryBlockstore, Pin, PutReport, Result, StoreStats, may_have_links,
};

/// Keeps the inner nodes of DAGs (some ten thousandth of their bytes), and blocks that were named beforehand.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    kept: MemoryBlockstore,
    named: HashSet<Cid>,
}

impl Sieve {
    /// Keeps these blocks too.
    pub(super) fn keeping(named: impl IntoIterator<Item = Cid>) -> Self {
        Self { kept: MemoryBlockstore::new(), named: named.into_iter().collect() }
    }

    fn wants(&self, block: &Block) -> bool {
        (block.cid().codec() == DAG_PB && may_have_links(block.cid())) || self.named.contains(block.cid())
    }
}

impl Blockstore for Sieve {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        self.kept.get(cid)
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        self.kept.size(cid)
    }

    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        let wanted: Vec<Block> = blocks.iter().filter(|block| self.wants(block)).cloned().collect();
        self.kept.put_many(&wanted)
    }

    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        self.kept.retain(cids)
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<u64> {
        self.kept.delete_many(cids)
    }

    fn lease(&self) -> Lease {
        self.kept.lease()
    }

    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64> {
        self.kept.delete_unused(cids, lease)
    }

    fn sync(&self) -> Result<()> {
        self.kept.sync()
    }

    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        self.kept.cids()
    }

    fn pin(&self, pin: Pin) -> Result<()> {
        self.kept.pin(pin)
    }

    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        self.kept.unpin(label, cid)
    }

    fn pins(&self) -> Vec<Pin> {
        self.kept.pins()
    }

    fn stats(&self) -> StoreStats {
        self.kept.stats()
    }
}
