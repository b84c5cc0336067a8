//! A store for looking at a package without keeping it: of what an import puts, only what is asked for stays, in memory.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ggen_blockstore::{
    Block, Blockstore, Cid, DAG_PB, Lease, MemoryBlockstore, Pin, PutReport, Result, StoreStats, may_have_links,
};

/// Keeps the inner nodes of DAGs (some ten thousandth of their bytes), and blocks that were named beforehand. Counts the
/// blocks that another store does not have.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    kept: MemoryBlockstore,
    named: HashSet<Cid>,
    other: Option<Arc<dyn Blockstore>>,
    /// The first bytes of the digests of blocks that were counted: 8 bytes a block, and 1 of 10^19 pairs alike.
    counted: Mutex<HashSet<[u8; 8]>>,
}

impl Sieve {
    /// Keeps these blocks too.
    pub(super) fn keeping(named: impl IntoIterator<Item = Cid>) -> Self {
        Self { named: named.into_iter().collect(), ..Self::default() }
    }

    /// Counts the blocks that `other` does not have as new ones.
    pub(super) fn counting_beside(self, other: Arc<dyn Blockstore>) -> Self {
        Self { other: Some(other), ..self }
    }

    /// Blocks that were put, each counted once; 0 unless they are counted beside another store.
    pub(super) fn blocks(&self) -> u64 {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn count_new(&self, blocks: &[Block]) -> Result<PutReport> {
        let mut new = PutReport::default();
        let Some(other) = &self.other else { return Ok(new) };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for block in blocks {
            let first = block.cid().hash().digest().first_chunk().copied().unwrap_or_default();
            if counted.insert(first) && !other.has(block.cid())? {
                new += PutReport { new_blocks: 1, new_bytes: block.data().len() as u64 };
            }
        }
        Ok(new)
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
        self.kept.put_many(&wanted)?;
        self.count_new(blocks)
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
