//! A store in memory for a dry run. It keeps only selected blocks of an import.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use ggen_blockstore::{
    Block, Blockstore, Cid, DAG_PB, MemoryBlockstore, PutReport, Result, forward_blockstore, may_have_links,
};

/// Keeps the inner nodes of DAGs (about one ten-thousandth of their bytes) and the blocks named in advance. Counts the
/// blocks that another store lacks.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    kept: MemoryBlockstore,
    named: HashSet<Cid>,
    other: Option<Arc<dyn Blockstore>>,
    /// The first 8 bytes of the digests of the counted blocks. A given pair of blocks collides with a probability of
    /// 2^-64.
    counted: Mutex<HashSet<[u8; 8]>>,
}

impl Sieve {
    /// Creates a store that also keeps these blocks.
    pub(super) fn keeping(named: impl IntoIterator<Item = Cid>) -> Self {
        Self { named: named.into_iter().collect(), ..Self::default() }
    }

    /// Counts blocks that `other` lacks as new.
    pub(super) fn counting_beside(self, other: Arc<dyn Blockstore>) -> Self {
        Self { other: Some(other), ..self }
    }

    /// Returns the number of distinct blocks that were put; 0 without [`counting_beside`](Self::counting_beside).
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
