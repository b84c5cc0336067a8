//! The blocking side of a download: writes arrived blocks, and determines the next wants.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
};

use ggen_blockstore::{Block, Blockstore, Cid, Multihash};
use tokio::task::JoinError;

use super::{DownloadError, OPEN_WANTS, QUEUED_BYTES, Source, Want};
use crate::ops::blocking_thread::Blocking;

/// Maximum number of blocks written at once.
const WRITE_BATCH: usize = 256;

/// Writes blocks, and reads wants from a source.
struct Worker {
    store: Arc<dyn Blockstore>,
    source: Box<dyn Source>,
    /// Open wants by multihash: the same bytes may be wanted under several CIDs, and arrive once.
    open: HashMap<Multihash, Vec<Cid>>,
}

/// What a step of the worker has found.
#[derive(Default)]
pub(super) struct Found {
    /// The next wants; empty if there are none until a further block arrives.
    pub(super) wants: Vec<Want>,
    /// Blocks of the source that were in the store already.
    pub(super) reused: u64,
    /// The blocks that were written.
    pub(super) written: Vec<Cid>,
}

impl Worker {
    /// Writes blocks, follows their links, and reads the next wants.
    fn step(&mut self, blocks: &[Block]) -> Result<Found, DownloadError> {
        let before = self.source.reused();
        if !blocks.is_empty() {
            self.store.put_many(blocks)?;
        }
        for block in blocks {
            for cid in self.open.remove(block.cid().hash()).into_iter().flatten() {
                let named = block.renamed(cid).expect("it is kept under its multihash");
                self.source.arrived(&named)?;
            }
        }
        let wants = self.next_wants()?;
        let written = blocks.iter().map(|block| *block.cid()).collect();
        Ok(Found { wants, reused: self.source.reused() - before, written })
    }

    /// Reads parts of the source up to the first that has wants, while less than [`OPEN_WANTS`] are open.
    fn next_wants(&mut self) -> Result<Vec<Want>, DownloadError> {
        let mut asked = Vec::new();
        while asked.is_empty() && self.open.len() < OPEN_WANTS {
            let Some(wants) = self.source.more(&*self.store)? else { break };
            for want in wants {
                let names = self.open.entry(*want.cid.hash()).or_default();
                if names.is_empty() {
                    asked.push(want);
                }
                if !names.contains(&want.cid) {
                    names.push(want.cid);
                }
            }
        }
        Ok(asked)
    }
}

/// A step that runs. It returns the worker, the size of the blocks that it was given, and its outcome.
type Running = Pin<Box<dyn Future<Output = Result<(Worker, usize, Result<Found, DownloadError>), JoinError>> + Send>>;

/// Runs the steps of a worker one after the other, on the blocks that have arrived meanwhile.
pub(super) struct Steps {
    blocking: Blocking,
    /// `None` while a step runs, and after one has failed.
    idle: Option<Worker>,
    running: Option<Running>,
    /// Blocks that wait to be written.
    arrived: VecDeque<Block>,
    /// Bytes of the blocks that wait or are being written.
    bytes: usize,
    /// Whether the source may have wants although no block has arrived.
    may_want: bool,
}

impl Steps {
    /// Creates the steps of a download of `source` into `store`, which run where `blocking` says.
    pub(super) fn new(store: Arc<dyn Blockstore>, source: impl Source, blocking: Blocking) -> Self {
        let idle = Some(Worker { store, source: Box::new(source), open: HashMap::new() });
        Self { blocking, idle, running: None, arrived: VecDeque::new(), bytes: 0, may_want: true }
    }

    /// Takes a block to write.
    pub(super) fn push(&mut self, block: Block) {
        self.bytes += block.data().len();
        self.arrived.push_back(block);
    }

    /// Returns whether further blocks may wait.
    pub(super) fn have_room(&self) -> bool {
        self.bytes < QUEUED_BYTES && self.arrived.len() < OPEN_WANTS
    }

    /// Returns whether blocks wait to be written, and no step runs.
    pub(super) fn can_write(&self) -> bool {
        self.idle.is_some() && !self.arrived.is_empty()
    }

    /// Returns whether the next step should start before further blocks are received. On the pool it runs beside the
    /// receiving; inline, the blocks that have arrived already are written together.
    pub(super) fn are_due(&self) -> bool {
        let is_full = self.arrived.len() >= WRITE_BATCH || !self.have_room();
        let should_write = self.can_write() && (self.blocking == Blocking::Pool || is_full);
        should_write || (self.idle.is_some() && self.may_want)
    }

    pub(super) fn are_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns whether every wanted block is in the store.
    pub(super) fn are_done(&self) -> bool {
        let has_all = self.idle.as_ref().is_some_and(|worker| worker.open.is_empty());
        has_all && self.arrived.is_empty() && !self.may_want
    }

    /// Starts a step, if none runs.
    pub(super) fn start(&mut self) {
        let Some(mut worker) = self.idle.take() else { return };
        let batch: Vec<_> = self.arrived.drain(..self.arrived.len().min(WRITE_BATCH)).collect();
        let bytes = batch.iter().map(|block| block.data().len()).sum();
        let step = move || {
            let found = worker.step(&batch);
            (worker, bytes, found)
        };
        self.running = Some(Box::pin(self.blocking.step(step)));
    }

    /// Waits for the step that runs. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Found, DownloadError> {
        let Some(running) = &mut self.running else { return Ok(Found::default()) };
        let stepped = running.await;
        self.running = None;
        let (worker, bytes, found) = stepped.map_err(DownloadError::Worker)?;
        let found = found?;
        self.idle = Some(worker);
        self.bytes -= bytes;
        self.may_want = !found.wants.is_empty();
        Ok(found)
    }
}
