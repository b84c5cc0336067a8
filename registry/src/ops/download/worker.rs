//! The blocking side of a download: writes arrived blocks, and determines the next wants.

use std::{collections::HashMap, sync::Arc};

use ggen_blockstore::{Block, Blockstore, Cid, Multihash};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{DownloadError, OPEN_WANTS, Source, Want};
use crate::node::Handle;

/// Maximum number of blocks written at once.
pub(super) const WRITE_BATCH: usize = 256;

/// A block that waits to be written. The permit limits the queued bytes until then.
pub(super) struct Queued {
    pub(super) block: Block,
    pub(super) permit: OwnedSemaphorePermit,
}

/// The worker of one download.
pub(super) struct Worker<S> {
    store: Arc<dyn Blockstore>,
    node: Option<Handle>,
    source: S,
    wants: mpsc::UnboundedSender<Vec<Want>>,
    /// Open wants by multihash: the same bytes may be wanted under several CIDs, and arrive once.
    open: HashMap<Multihash, Vec<Cid>>,
}

impl<S: Source> Worker<S> {
    pub(super) fn new(
        store: Arc<dyn Blockstore>,
        node: Option<Handle>,
        source: S,
        wants: mpsc::UnboundedSender<Vec<Want>>,
    ) -> Self {
        Self { store, node, source, wants, open: HashMap::new() }
    }

    /// Runs until no want is open, or until the channel of arrived blocks is closed. Returns the number of blocks that
    /// were in the store already.
    pub(super) fn run(mut self, mut arrived: mpsc::Receiver<Queued>) -> Result<u64, DownloadError> {
        let mut batch = Vec::with_capacity(WRITE_BATCH);
        loop {
            self.want_more()?;
            if self.open.is_empty() || arrived.blocking_recv_many(&mut batch, WRITE_BATCH) == 0 {
                return Ok(self.source.reused());
            }
            let (blocks, permits): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|Queued { block, permit }| (block, permit)).unzip();
            self.store.put_many(&blocks)?;
            drop(permits);
            self.wake_peers(&blocks);
            for block in &blocks {
                for cid in self.open.remove(block.cid().hash()).into_iter().flatten() {
                    let named = block.renamed(cid).expect("it is kept under its multihash");
                    self.source.arrived(&named)?;
                }
            }
        }
    }

    /// Requests further wants of the source, up to [`OPEN_WANTS`].
    fn want_more(&mut self) -> Result<(), DownloadError> {
        while self.open.len() < OPEN_WANTS {
            let Some(wants) = self.source.more(&*self.store)? else { return Ok(()) };
            let mut asked = Vec::new();
            for want in wants {
                let names = self.open.entry(*want.cid.hash()).or_default();
                if names.is_empty() {
                    asked.push(want);
                }
                if !names.contains(&want.cid) {
                    names.push(want.cid);
                }
            }
            if !asked.is_empty() && self.wants.send(asked).is_err() {
                // The receiver is dropped: the download has ended.
                return Ok(());
            }
        }
        Ok(())
    }

    fn wake_peers(&self, blocks: &[Block]) {
        if let Some(node) = &self.node {
            node.new_blocks_blocking(blocks.iter().map(|block| *block.cid()).collect());
        }
    }
}
