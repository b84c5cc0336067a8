//! Errors of blocks, stores and DAGs.

use std::path::PathBuf;

use crate::{Cid, CodecName, Finding, HashName, Refusal};

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
        /// The reason.
        reason: String,
    },
    /// The caller cancelled the operation.
    #[error("cancelled")]
    Cancelled,
    /// A required block is not in the store.
    #[error("block not found: {cid}")]
    NotFound {
        /// The missing block.
        cid: Cid,
    },
    /// Bytes that do not hash to their alleged CID.
    #[error("the bytes given for {expected} hash to {actual}")]
    HashMismatch {
        /// The alleged CID.
        expected: Box<Cid>,
        /// The actual CID of the bytes.
        actual: Box<Cid>,
    },
    /// A block larger than [`MAX_BLOCK_BYTES`](crate::MAX_BLOCK_BYTES).
    #[error("block of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit it exceeds.
        limit: usize,
    },
    /// A hash function this project does not accept.
    #[error("the hash function {} is not supported", HashName(*code))]
    UnsupportedHash {
        /// Its multihash code.
        code: u64,
    },
    /// A digest of a length that its hash function cannot produce, or that is too short to be safe.
    #[error("a {} digest has {} bytes, not {bytes}", HashName(*code), span(*least, *most))]
    DigestLength {
        /// The multihash code of the function.
        code: u64,
        /// Length of the digest, in bytes.
        bytes: usize,
        /// Shortest length accepted, in bytes.
        least: usize,
        /// Longest length accepted, in bytes.
        most: usize,
    },
    /// A stored block whose bytes no longer match its CID (bit rot, or external modification).
    #[error("stored block {cid} is corrupt: {detail}")]
    Corrupt {
        /// The damaged block.
        cid: Box<Cid>,
        /// The location, and the failed check.
        detail: String,
    },
    /// A directory that cannot be opened as a store.
    #[error("cannot open the blockstore at `{}`: {reason}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A block that is invalid for its CID's codec, or for its position in a DAG.
    #[error("block {cid} is not valid: {reason}")]
    InvalidNode {
        /// The block.
        cid: Box<Cid>,
        /// The reason.
        reason: String,
    },
    /// A block that is not part of a file or directory.
    #[error("{cid} is not a file or directory: {}{reason}", CodecName(cid.codec()))]
    NotUnixfs {
        /// The block.
        cid: Box<Cid>,
        /// The reason in parentheses after a space; empty if the codec explains it.
        reason: String,
    },
    /// A file where a directory is needed.
    #[error("{cid} is a file, and a tarball is made of a directory")]
    NotADirectory {
        /// The file.
        cid: Box<Cid>,
    },
    /// A symlink where a file or directory is needed.
    #[error("{cid} is a symlink to `{target}`, not a file or directory")]
    IsSymlink {
        /// The symlink.
        cid: Box<Cid>,
        /// Where it points to.
        target: String,
    },
    /// A codec whose links this crate cannot read.
    #[error("the links of {cid} cannot be read: {} is not supported", CodecName(*codec))]
    UnsupportedCodec {
        /// The block.
        cid: Box<Cid>,
        /// Its codec.
        codec: u64,
    },
    /// A limit of this crate is exceeded.
    #[error("too many {what}: the limit is {limit}")]
    LimitExceeded {
        /// The counted items, in the plural.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A tree that is unsafe or cannot be represented, in an import or an export.
    #[error("refusing `{entry}`: {refusal}")]
    Refused {
        /// The entry's path in the tree.
        entry: String,
        /// The reason.
        refusal: Refusal,
    },
    /// Files that the caller excludes from a tree; see [`ImportOptions::inspect`](crate::ImportOptions::inspect).
    #[error("{} must not go in: {}", files(findings), named(findings))]
    Withheld {
        /// All excluded files.
        findings: Vec<Finding>,
    },
    /// An archive that is damaged, truncated, a bomb, or of another format.
    #[error("cannot read the archive: {reason}")]
    Archive {
        /// The reason.
        reason: String,
        /// The decoder's error, if there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A path that does not exist in a DAG.
    #[error("there is no `{path}` in {root}")]
    NoSuchPath {
        /// The root of the path.
        root: Box<Cid>,
        /// The path up to its first missing name.
        path: String,
    },
    /// A destination that already exists.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// A directory that an update would replace with a file, although it contains an untracked file.
    #[error("`{}` cannot become a file: `{}` is in it and is no part of the package", path.display(), by.display())]
    Blocked {
        /// The directory.
        path: PathBuf,
        /// The untracked file.
        by: PathBuf,
    },
    /// Files that an update would replace or remove although they differ from what the former export wrote, or although
    /// that is unknown.
    #[error("{}", edited(path, edits, *more, *is_known))]
    Edited {
        /// The directory or file.
        path: PathBuf,
        /// Paths in it, in order; a single empty path for a file.
        edits: Vec<String>,
        /// Number of further paths.
        more: u64,
        /// Whether it is known what was written there before.
        is_known: bool,
    },
    /// A store directory that another process has open.
    #[error("the blockstore at `{}` is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A pin label longer than [`MAX_PIN_LABEL_BYTES`](crate::MAX_PIN_LABEL_BYTES).
    #[error("pin label of {bytes} bytes is longer than the limit of {limit}")]
    LabelTooLong {
        /// Its length.
        bytes: usize,
        /// The limit it exceeds.
        limit: usize,
    },
    /// An I/O error, with the operation and the file.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
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

    pub(crate) fn refused(entry: impl Into<String>, refusal: Refusal) -> Self {
        Self::Refused { entry: entry.into(), refusal }
    }

    pub(crate) fn archive(reason: impl Into<String>) -> Self {
        Self::Archive { reason: reason.into(), source: None }
    }
}

fn files(findings: &[Finding]) -> String {
    if findings.len() == 1 { "a file".to_owned() } else { format!("{} files", findings.len()) }
}

fn named(findings: &[Finding]) -> String {
    let named = findings.iter().map(|Finding { path, what }| format!("`{path}` ({what})"));
    named.collect::<Vec<_>>().join(", ")
}

fn span(least: usize, most: usize) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// Most paths in the message about edits.
const NAMED_EDITS: usize = 10;

fn edited(path: &std::path::Path, edits: &[String], more: u64, is_known: bool) -> String {
    let place = path.display();
    if let [edit] = edits
        && edit.is_empty()
    {
        return match is_known {
            true => format!("`{place}` was edited since it was fetched"),
            false => format!("`{place}` differs, and no fetch of it is known"),
        };
    }
    let named: Vec<_> = edits.iter().take(NAMED_EDITS).map(|edit| format!("`{}`", edit.escape_debug())).collect();
    let more = (edits.len() - named.len()) as u64 + more;
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let named = named.join(", ");
    match is_known {
        true => format!("these files in `{place}` were edited since they were fetched: {named}{more}"),
        false => format!("no fetch to `{place}` is known, and these files there differ: {named}{more}"),
    }
}
