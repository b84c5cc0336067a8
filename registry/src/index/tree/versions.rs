//! The versions of one package.

use ggen_blockstore::{Block, Cid};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    identity::{MAX_SIGNATURES, RecordCid, Signature},
    index::{
        MAX_REASON_BYTES, TreeError,
        tree::{MAX_VERSION_CHUNKS, NODE_VERSIONS, broken, read_block, write_block},
    },
    package::{MAX_VERSION_CHARS, PackageId, Requirement},
};

/// One version in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionEntry {
    /// The version.
    pub version: Version,
    /// The release record.
    pub release: RecordCid,
    /// Yanked: not chosen for new installations, but still available to users who have locked it.
    pub yanked: bool,
    /// The reason of the yank, as text for users: at most [`MAX_REASON_BYTES`](crate::index::MAX_REASON_BYTES). Only a
    /// yanked version has one; catalogs written by earlier versions of this program never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The release's signatures: together with its block they form the envelope.
    pub signatures: Vec<Signature>,
}

impl VersionEntry {
    /// The newest of `entries` that is not yanked, else the newest: the entry that represents the package. A
    /// pre-release is chosen only if there is nothing else.
    pub(crate) fn newest(entries: &[Self]) -> Option<&Self> {
        let newest = |yanked| {
            Requirement::Latest.newest(entries.iter().filter(|entry| entry.yanked == yanked), |entry| &entry.version)
        };
        newest(false).or_else(|| newest(true))
    }

    /// Where the version that is named stands among `entries`; without build metadata, any build of it is meant: there is one.
    pub(crate) fn position(entries: &[Self], named: &Version) -> Option<usize> {
        let is_exactly = |entry: &Self| entry.version == *named;
        let is_build_of = |entry: &Self| named.build.is_empty() && entry.version.cmp_precedence(named).is_eq();
        entries.iter().position(is_exactly).or_else(|| entries.iter().position(is_build_of))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Versions {
    All(Vec<VersionEntry>),
    Chunks(Vec<VersionChunk>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionChunk {
    pub(super) first: Version,
    pub(super) count: u64,
    pub(super) chunk: RecordCid,
}

/// Decodes a versions node; `chunk` marks a node below another versions node.
pub(super) fn read_versions(cid: &Cid, data: &[u8], chunk: bool) -> Result<Versions, TreeError> {
    let versions = read_block(cid, data)?;
    let sound = match &versions {
        Versions::All(entries) => {
            !entries.is_empty()
                && entries.len() <= NODE_VERSIONS
                && entries.is_sorted_by(|a, b| a.version < b.version)
                && entries.iter().all(is_bounded)
        }
        Versions::Chunks(chunks) => {
            !chunk
                && !chunks.is_empty()
                && chunks.len() <= MAX_VERSION_CHUNKS
                && chunks.is_sorted_by(|a, b| a.first < b.first)
        }
    };
    if sound { Ok(versions) } else { Err(broken(cid, "its versions are not in order or too many")) }
}

fn is_bounded(entry: &VersionEntry) -> bool {
    entry.signatures.len() <= MAX_SIGNATURES
        && entry.version.to_string().len() <= MAX_VERSION_CHARS
        && entry.reason.as_ref().is_none_or(|reason| entry.yanked && reason.len() <= MAX_REASON_BYTES)
}

/// Writes the nodes of `entries`, which must be ordered by version and not empty. The first block is the top node.
pub(super) fn write_versions(
    package: &PackageId,
    entries: &[VersionEntry],
) -> Result<(RecordCid, Vec<Block>), TreeError> {
    if entries.len() > MAX_VERSION_CHUNKS * NODE_VERSIONS {
        let limit = MAX_VERSION_CHUNKS * NODE_VERSIONS;
        return Err(TreeError::TooManyVersions { package: package.clone(), limit });
    }
    if entries.len() <= NODE_VERSIONS {
        let (cid, block) = write_block(&Versions::All(entries.to_vec()))?;
        return Ok((cid, vec![block]));
    }
    let (mut chunks, mut blocks) = (Vec::new(), Vec::new());
    for part in entries.chunks(NODE_VERSIONS) {
        let (chunk, block) = write_block(&Versions::All(part.to_vec()))?;
        chunks.push(VersionChunk { first: part[0].version.clone(), count: part.len() as u64, chunk });
        blocks.push(block);
    }
    let (cid, top) = write_block(&Versions::Chunks(chunks))?;
    blocks.insert(0, top);
    Ok((cid, blocks))
}
