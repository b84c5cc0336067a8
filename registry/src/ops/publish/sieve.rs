//! A store for looking at a package without keeping it: of what an import puts, only what is asked for stays, in memory.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use ggen_blockstore::{
    Block, Blockstore, Cid, DAG_PB, MemoryBlockstore, PutReport, Result, forward_blockstore, may_have_links,
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
    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        let wanted: Vec<Block> = blocks.iter().filter(|block| self.wants(block)).cloned().collect();
        self.kept.put_many(&wanted)?;
        self.count_new(blocks)
    }

    forward_blockstore!(self.kept: get size retain delete_many lease delete_unused last_used reclaim sync cids pin
        unpin pins pins_of damage mend stats);
}
