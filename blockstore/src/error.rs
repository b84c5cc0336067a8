//! What can go wrong with blocks, stores and DAGs.

use std::path::PathBuf;

use crate::Cid;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on blocks, stores or DAGs failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is not a CID.
    #[error("invalid CID `{text}`: {reason}")]
    InvalidCid {
        /// What was parsed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A block that is needed and that the store does not have.
    #[error("block not found: {cid}")]
    NotFound {
        /// The missing block.
        cid: Cid,
    },
    /// Bytes that do not hash to the CID they were given under.
    #[error("the bytes given for {expected} hash to {actual}")]
    HashMismatch {
        /// The CID that was claimed.
        expected: Box<Cid>,
        /// The CID the bytes have.
        actual: Box<Cid>,
    },
    /// A block over [`MAX_BLOCK_BYTES`](crate::MAX_BLOCK_BYTES).
    #[error("block of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit it passed.
        limit: usize,
    },
    /// A hash function this project does not accept.
    #[error("unsupported hash function 0x{code:x}")]
    UnsupportedHash {
        /// Its multihash code.
        code: u64,
    },
    /// A stored block whose bytes no longer match its CID (bit rot, or a foreign hand).
    #[error("stored block {cid} is corrupt: {detail}")]
    Corrupt {
        /// The damaged block.
        cid: Box<Cid>,
        /// Where, and how it was noticed.
        detail: String,
    },
    /// A store directory that cannot be used as one.
    #[error("cannot open the blockstore at `{}`: {reason}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A store directory that another process has open.
    #[error("the blockstore at `{}` is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A pin label over [`MAX_PIN_LABEL_BYTES`](crate::MAX_PIN_LABEL_BYTES).
    #[error("pin label of {bytes} bytes is longer than the limit of {}", crate::MAX_PIN_LABEL_BYTES)]
    LabelTooLong {
        /// Its length.
        bytes: usize,
    },
    /// An I/O error, with what was being done to which file.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Adds the attempted action and the path to an I/O error: `.map_err(Error::io("write", &path))`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
