//! The one vocabulary of progress: for bars, logs and tests.

use serde::{Deserialize, Serialize};

/// Where a running operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// Files are read, hashed and stored; totals are known for directories.
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
        /// Peers asked so far.
        peers_asked: u64,
    },
    /// Providers of blocks are looked for.
    FindingProviders {
        /// Peers asked for the blocks so far.
        peers_asked: u64,
    },
    /// Blocks arrive.
    Fetching {
        /// Blocks here, those that were here before among them.
        blocks: u64,
        /// Blocks in all, if known.
        total_blocks: Option<u64>,
        /// Bytes here.
        bytes: u64,
        /// Bytes in all, if known.
        total_bytes: Option<u64>,
        /// Peers that sent some.
        providers: u64,
    },
    /// A release is published, and peers are waited for to have all of it.
    Replicating {
        /// Peers that answered to have all of it.
        replicas: u64,
        /// How many are waited for.
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

/// Takes progress. Called often and from any thread: it must be quick and never block.
pub trait Reporter: Send + Sync + 'static {
    /// Takes one event.
    fn report(&self, progress: Progress);
}

impl<F: Fn(Progress) + Send + Sync + 'static> Reporter for F {
    fn report(&self, progress: Progress) {
        self(progress);
    }
}
