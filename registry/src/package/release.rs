//! The release record.

use ggen_blockstore::{Block, Cid, DAG_CBOR, DAG_PB, MAX_BLOCK_BYTES, RAW, SHA2_256};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    identity::{PublisherId, Record, RecordCid, RecordError, RecordKind, Timestamp},
    manifest::{MAX_MANIFEST_ENTRIES, ManifestError, ManifestReader},
    package::{Dependency, MAX_DEPENDENCIES, Metadata, PackageId},
};

/// Longest version text, in characters.
pub const MAX_VERSION_CHARS: usize = 64;
/// Most bytes of executable paths in the release itself; longer lists are stored in a block of their own.
pub const MAX_INLINE_EXECUTABLES_BYTES: usize = 4 << 10;
/// Longest path in a package, in bytes (PATH_MAX of the supported systems).
const MAX_PATH_BYTES: usize = 4096;

const WHAT: &str = "release";

/// One version of one package, as its publisher signed it. At most 16 KiB.
///
/// Only `content` and `manifest` are IPLD links. Pinning a release on an IPFS node therefore pins these two, and never
/// the publisher's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The package.
    pub package: PackageId,
    /// The version.
    pub version: Version,
    /// Root of the UnixFS tree.
    pub content: Cid,
    /// Root of the block manifest.
    pub manifest: Cid,
    /// Total bytes of the manifest's blocks.
    pub manifest_bytes: u64,
    /// Number of entries of the manifest: the blocks of the content.
    pub blocks: u64,
    /// Total bytes of the files.
    pub size: u64,
    /// Number of files.
    pub files: u64,
    /// Paths of the executable files, ordered; empty if `executables_block` contains them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
    /// Raw block with the paths of the executable files, each ended by a zero byte, if they do not fit in the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executables_block: Option<RecordCid>,
    /// Descriptive metadata.
    pub metadata: Metadata,
    /// Packages of this registry that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// The publisher.
    pub publisher: PublisherId,
    /// Release of the same package with the next lower version, when this one was published.
    pub predecessor: Option<RecordCid>,
    /// When it was published, by the publisher's clock.
    pub created: Timestamp,
}

impl Release {
    /// Sets the executable files. If their paths do not fit in the release, returns the block to store beside it.
    ///
    /// # Errors
    /// [`RecordError::Invalid`] for an invalid path; [`RecordError::TooLarge`] if the paths exceed one block.
    pub fn set_executables(&mut self, mut paths: Vec<String>) -> Result<Option<Block>, RecordError> {
        paths.sort_unstable();
        paths.dedup();
        check_paths(&paths)?;
        let bytes: usize = paths.iter().map(|path| path.len() + 1).sum();
        if bytes <= MAX_INLINE_EXECUTABLES_BYTES {
            (self.executables, self.executables_block) = (paths, None);
            return Ok(None);
        }
        let too_large = |_| RecordError::TooLarge { what: "list of executables", bytes, limit: MAX_BLOCK_BYTES };
        let block = Block::raw(paths.join("\0") + "\0").map_err(too_large)?;
        (self.executables, self.executables_block) = (Vec::new(), RecordCid::new(*block.cid()));
        Ok(Some(block))
    }

    /// Decodes the root of the block manifest; the caller has checked its hash.
    ///
    /// # Errors
    /// [`ManifestError`] if it is malformed, larger than its limits, or inconsistent with this release.
    pub fn read_manifest(&self, root: &[u8]) -> Result<ManifestReader, ManifestError> {
        ManifestReader::new(self.content, self.blocks, self.manifest_bytes, root)
    }

    /// Decodes the block that `executables_block` names; the caller has checked its hash.
    ///
    /// # Errors
    /// [`RecordError`] if it is not valid list of paths.
    pub fn read_executables(block: &[u8]) -> Result<Vec<String>, RecordError> {
        let malformed =
            |reason: &str| RecordError::Malformed { what: "list of executables", reason: reason.to_owned() };
        let text = std::str::from_utf8(block).map_err(|_| malformed("it is not UTF-8"))?;
        let text = text.strip_suffix('\0').ok_or_else(|| malformed("it does not end with a zero byte"))?;
        let paths: Vec<String> = text.split('\0').map(str::to_owned).collect();
        check_paths(&paths)?;
        Ok(paths)
    }
}

impl Record for Release {
    const KIND: RecordKind = RecordKind::Release;

    fn validate(&self) -> Result<(), RecordError> {
        let invalid = |reason: String| Err(RecordError::Invalid { what: WHAT, reason });
        if self.version.to_string().len() > MAX_VERSION_CHARS {
            return invalid(format!("its version has more than {MAX_VERSION_CHARS} characters"));
        }
        if !is_sha2_256(&self.content, &[DAG_PB, RAW]) {
            return invalid(format!("{} is not the root of a UnixFS tree", self.content));
        }
        if !is_sha2_256(&self.manifest, &[DAG_CBOR]) {
            return invalid(format!("{} is not the root of a block manifest", self.manifest));
        }
        if self.blocks == 0 || self.blocks > MAX_MANIFEST_ENTRIES {
            return invalid(format!("{} blocks, allowed are 1 to {MAX_MANIFEST_ENTRIES}", self.blocks));
        }
        if let Err((field, reason)) = self.metadata.validate() {
            return invalid(format!("its {field} {reason}"));
        }
        if self.dependencies.len() > MAX_DEPENDENCIES {
            return invalid(format!("{} dependencies, the limit is {MAX_DEPENDENCIES}", self.dependencies.len()));
        }
        for dependency in &self.dependencies {
            if let Err(error) = dependency.parsed_requirement() {
                return invalid(format!("dependency {}: {error}", dependency.package));
            }
        }
        if !self.executables.is_empty() && self.executables_block.is_some() {
            return invalid("its executables stand in two places".to_owned());
        }
        check_paths(&self.executables)
    }
}

/// Checks that paths are relative, normalised, ordered and without duplicates.
fn check_paths(paths: &[String]) -> Result<(), RecordError> {
    let invalid = |reason: String| Err(RecordError::Invalid { what: "list of executables", reason });
    if !paths.is_sorted_by(|a, b| a < b) {
        return invalid("its paths are not ordered, or one stands twice".to_owned());
    }
    for path in paths {
        let plain = |name: &str| !matches!(name, "" | "." | "..");
        if path.len() > MAX_PATH_BYTES || path.contains('\0') || !path.split('/').all(plain) {
            return invalid(format!("`{}` is not a path inside a package", path.escape_default()));
        }
    }
    Ok(())
}

fn is_sha2_256(cid: &Cid, codecs: &[u64]) -> bool {
    cid.version() == cid::Version::V1
        && codecs.contains(&cid.codec())
        && cid.hash().code() == SHA2_256
        && cid.hash().size() == 32
}

#[cfg(test)]
mod tests;
