//! Errors of block manifests.

use ggen_blockstore::Cid;

/// Why a block manifest was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Bytes that are no manifest.
    #[error("malformed block manifest: {reason}")]
    Malformed {
        /// The decoder's error.
        reason: String,
    },
    /// A manifest that is not the one its release describes.
    #[error("the block manifest has {what} {actual}, its release says {expected}")]
    Mismatch {
        /// The compared property.
        what: &'static str,
        /// The value in the manifest.
        actual: String,
        /// The value in the release.
        expected: String,
    },
    /// More entries than the limit.
    #[error("a block manifest of {entries} entries is larger than the limit of {limit}")]
    TooManyEntries {
        /// Number of entries.
        entries: u64,
        /// The limit.
        limit: u64,
    },
    /// A block that a manifest cannot list.
    #[error("block {cid} of {size} bytes cannot stand in a block manifest")]
    Entry {
        /// The block.
        cid: Box<Cid>,
        /// Its size.
        size: u32,
    },
}
