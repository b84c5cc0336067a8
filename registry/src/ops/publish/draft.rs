//! A release before it is signed: a tree in the store, and its metadata.

use ggen_blockstore::{Block, Cid, Imported, Lease};
use semver::Version;

use crate::{
    Failure,
    identity::{PublisherId, Timestamp},
    keys::PublisherKeys,
    manifest::ManifestSummary,
    ops::failure::{self, usage},
    package::{Dependency, Gpack, Metadata, PackageId, Release},
};

/// A tree whose blocks are all in the store and kept there by a lease.
pub(super) struct Content {
    pub(super) root: Cid,
    pub(super) size_bytes: u64,
    pub(super) files: u64,
    pub(super) executables: Vec<String>,
    /// Number of its blocks that were not in the store before.
    pub(super) new_blocks: u64,
    /// Held until the root is pinned.
    pub(super) _lease: Lease,
}

impl From<Imported> for Content {
    fn from(imported: Imported) -> Self {
        Self {
            root: imported.root,
            size_bytes: imported.size_bytes,
            files: imported.files,
            executables: imported.executables,
            new_blocks: imported.put.new_blocks,
            _lease: imported.lease,
        }
    }
}

/// A release that is not signed yet.
pub(super) struct Draft {
    pub(super) content: Content,
    pub(super) manifest: ManifestSummary,
    /// `None` for the publisher's short id.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) metadata: Metadata,
    pub(super) dependencies: Vec<Dependency>,
    /// See [`Published::warnings`](crate::Published::warnings).
    pub(super) warnings: Vec<String>,
}

impl Draft {
    /// Creates the draft of a tree with the metadata in its `gpack.toml`.
    pub(super) fn of_gpack(content: Content, manifest: ManifestSummary, gpack: Gpack) -> Self {
        let Gpack { namespace, name, version, metadata, dependencies, .. } = gpack;
        Self { content, manifest, namespace, name, version, metadata, dependencies, warnings: Vec::new() }
    }

    /// Returns the package id when `publisher` publishes it.
    pub(super) fn package(&self, publisher: &PublisherId) -> Result<PackageId, Failure> {
        let short = publisher.short();
        PackageId::try_new(self.namespace.as_deref().unwrap_or(&short), &self.name).map_err(usage)
    }

    /// Returns the release to sign, and the block with its list of executables if the list is too long for the record.
    pub(super) fn release(&self, keys: &PublisherKeys, now: Timestamp) -> Result<(Release, Option<Block>), Failure> {
        let publisher = keys.chain.publisher();
        let mut release = Release {
            package: self.package(&publisher)?,
            version: self.version.clone(),
            content: self.content.root,
            manifest: self.manifest.root,
            manifest_bytes: self.manifest.manifest_bytes,
            blocks: self.manifest.entries,
            size: self.content.size_bytes,
            files: self.content.files,
            executables: Vec::new(),
            executables_block: None,
            metadata: self.metadata.clone(),
            dependencies: self.dependencies.clone(),
            publisher,
            predecessor: None,
            created: now,
        };
        let block = release.set_executables(self.content.executables.clone()).map_err(failure::failed)?;
        Ok((release, block))
    }
}
