//! Progress events, for progress bars, logs and tests.

use serde::{Deserialize, Serialize};

/// The stage of a running operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// Files are read, hashed and stored. The total is known for directories.
    Importing {
        /// Files done.
        files: u64,
        /// Bytes done.
        bytes: u64,
        /// Total bytes, if known.
        total_bytes: Option<u64>,
    },
    /// A release is announced to the network.
    Announcing,
    /// A name is looked up.
    Finding {
        /// Peers queried so far.
        peers_asked: u64,
    },
    /// Providers of blocks are searched for.
    FindingProviders {
        /// Peers queried for the blocks so far.
        peers_asked: u64,
    },
    /// Blocks arrive.
    Fetching {
        /// Blocks in the store, including those stored before.
        blocks: u64,
        /// Total blocks, if known.
        total_blocks: Option<u64>,
        /// Bytes in the store.
        bytes: u64,
        /// Total bytes, if known.
        total_bytes: Option<u64>,
        /// Peers that sent blocks.
        providers: u64,
    },
    /// A release is published, and the operation waits for peers that have all of it.
    Replicating {
        /// Peers that confirmed to have all of it.
        replicas: u64,
        /// Required number of such peers.
        wanted: u64,
    },
    /// Blocks of the store are hashed again.
    Checking {
        /// Blocks done.
        blocks: u64,
        /// Total blocks, if known.
        total_blocks: Option<u64>,
    },
    /// The tree is written.
    Writing {
        /// Bytes written.
        bytes: u64,
        /// Total bytes.
        total_bytes: u64,
    },
}

/// Receives progress events. Called often and from any thread: it must be quick and never block.
pub trait Reporter: Send + Sync + 'static {
    /// Receives one event.
    fn report(&self, progress: Progress);
}

impl<F: Fn(Progress) + Send + Sync + 'static> Reporter for F {
    fn report(&self, progress: Progress) {
        self(progress);
    }
}
