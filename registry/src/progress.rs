//! Progress events of operations, for progress bars, logs and tests.

use serde::{Deserialize, Serialize};

/// The current stage of a running operation.
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
        /// Bytes in all, if known.
        total_bytes: Option<u64>,
    },
    /// A release is announced to the network.
    Announcing,
    /// A name is looked up.
    Finding {
        /// Peers queried so far.
        peers_asked: u64,
    },
    /// Providers of blocks are looked up.
    FindingProviders {
        /// Peers queried so far.
        peers_asked: u64,
    },
    /// Blocks arrive.
    Fetching {
        /// Blocks in the local store, including those that were there before.
        blocks: u64,
        /// Blocks in all, if known.
        total_blocks: Option<u64>,
        /// Bytes of these blocks.
        bytes: u64,
        /// Bytes in all, if known.
        total_bytes: Option<u64>,
        /// Peers that have sent blocks.
        providers: u64,
    },
    /// A release is published, and the operation waits for peers to replicate it.
    Replicating {
        /// Peers that have confirmed every block.
        replicas: u64,
        /// The number to wait for.
        wanted: u64,
    },
    /// Blocks of the store are hashed again.
    Checking {
        /// Blocks done.
        blocks: u64,
        /// Blocks in all, if known.
        total_blocks: Option<u64>,
    },
    /// The tree is written.
    Writing {
        /// Bytes written.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
}

/// Receives progress events. It is called often and from any thread: it must be fast and must not block.
pub trait Reporter: Send + Sync + 'static {
    /// Receives one event.
    fn report(&self, progress: Progress);
}

impl<F: Fn(Progress) + Send + Sync + 'static> Reporter for F {
    fn report(&self, progress: Progress) {
        self(progress);
    }
}
