//! What can go wrong with blocks, stores and DAGs.

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
        /// What is wrong with it.
        reason: String,
    },
    /// The caller no longer wants it.
    #[error("cancelled")]
    Cancelled,
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
    #[error("the hash function {} is not supported", HashName(*code))]
    UnsupportedHash {
        /// Its multihash code.
        code: u64,
    },
    /// A digest that its hash function does not make, or that is too short to be safe.
    #[error("a {} digest has {} bytes, not {bytes}", HashName(*code), span(*least, *most))]
    DigestLength {
        /// The function's multihash code.
        code: u64,
        /// Length of the digest, in bytes.
        bytes: usize,
        /// Shortest length accepted, in bytes.
        least: usize,
        /// Longest length accepted, in bytes.
        most: usize,
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
    /// A block that is not what its CID's codec, or its place in a DAG, says.
    #[error("block {cid} is not valid: {reason}")]
    InvalidNode {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it.
        reason: String,
    },
    /// A block that is no part of a file or directory.
    #[error("{cid} is not a file or directory: {}{reason}", CodecName(cid.codec()))]
    NotUnixfs {
        /// The block.
        cid: Box<Cid>,
        /// What is wrong with it in parentheses after a space; empty if its codec says it all.
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
    /// More than this crate is willing to handle.
    #[error("too many {what}: the limit is {limit}")]
    LimitExceeded {
        /// Of what there is too much, in the plural.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A tree that is unsafe or cannot be represented, on the way in or out.
    #[error("refusing `{entry}`: {refusal}")]
    Refused {
        /// The entry's path in the tree.
        entry: String,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// Files that must not go into a tree; see [`ImportOptions::inspect`](crate::ImportOptions::inspect).
    #[error("{} must not go in: {}", files(findings), named(findings))]
    Withheld {
        /// All of them.
        findings: Vec<Finding>,
    },
    /// An archive that is damaged, truncated, a bomb, or of another format.
    #[error("cannot read the archive: {reason}")]
    Archive {
        /// What is wrong with it.
        reason: String,
        /// The decoder's answer, where there is one.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A path that leads nowhere in a DAG.
    #[error("there is no `{path}` in {root}")]
    NoSuchPath {
        /// Where the path began.
        root: Box<Cid>,
        /// The path as far as its first missing name.
        path: String,
    },
    /// A place to be written to that is taken.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A directory that an update would replace with a file, and that holds something of which the update knows nothing.
    #[error("`{}` cannot become a file: `{}` is in it and is no part of the package", path.display(), by.display())]
    Blocked {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        by: PathBuf,
    },
    /// Files that an update would replace or remove, and that are not as a former export has written them, as far as that
    /// is known.
    #[error("{}", edited(path, edits, *more, *is_known))]
    Edited {
        /// The directory or file.
        path: PathBuf,
        /// Paths in it, in order; one that is empty for a file.
        edits: Vec<String>,
        /// Paths beyond these.
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
    /// A pin label over [`MAX_PIN_LABEL_BYTES`](crate::MAX_PIN_LABEL_BYTES).
    #[error("pin label of {bytes} bytes is longer than the limit of {limit}")]
    LabelTooLong {
        /// Its length.
        bytes: usize,
        /// The limit it passed.
        limit: usize,
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

/// Paths that the message about edits names.
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
