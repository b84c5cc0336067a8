//! Stores blocks of builders in batches.

use super::file::Sink;
use crate::{Block, Blockstore, PutReport, Result};

/// Batch size in bytes after which a batch is written.
const BATCH_BYTES: usize = 4 << 20;
/// Number of blocks after which a batch is written.
const BATCH_BLOCKS: usize = 4096;

/// Stores blocks, one batch at a time.
#[derive(Debug)]
pub(crate) struct StoreSink<'a, S: ?Sized> {
    store: &'a S,
    batch: Vec<Block>,
    batch_bytes: usize,
    report: PutReport,
    blocks: u64,
}

impl<'a, S: Blockstore + ?Sized> StoreSink<'a, S> {
    pub(crate) fn new(store: &'a S) -> Self {
        Self { store, batch: Vec::new(), batch_bytes: 0, report: PutReport::default(), blocks: 0 }
    }

    /// Writes the last batch, and returns what was stored and the number of blocks built.
    pub(crate) fn finish(mut self) -> Result<(PutReport, u64)> {
        self.flush()?;
        Ok((self.report, self.blocks))
    }

    fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.report += self.store.put_many(&self.batch)?;
            self.batch.clear();
            self.batch_bytes = 0;
        }
        Ok(())
    }
}

impl<S: Blockstore + ?Sized> Sink for StoreSink<'_, S> {
    fn put(&mut self, block: Block) -> Result<()> {
        self.blocks += 1;
        self.batch_bytes += block.data().len();
        self.batch.push(block);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_BLOCKS {
            self.flush()?;
        }
        Ok(())
    }
}
