//! What is to be signed: a tree that is in the store, and what is said of it.

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

/// A tree, all of its blocks in the store and kept there.
pub(super) struct Content {
    pub(super) root: Cid,
    pub(super) size_bytes: u64,
    pub(super) files: u64,
    pub(super) executables: Vec<String>,
    /// Blocks of it that were not in the store before.
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
    /// None: the publisher's short id.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) metadata: Metadata,
    pub(super) dependencies: Vec<Dependency>,
    /// See [`Published::warnings`](crate::Published::warnings).
    pub(super) warnings: Vec<String>,
}

impl Draft {
    /// What a `gpack.toml` says of a tree.
    pub(super) fn of_gpack(content: Content, manifest: ManifestSummary, gpack: Gpack) -> Self {
        let Gpack { namespace, name, version, metadata, dependencies, .. } = gpack;
        Self { content, manifest, namespace, name, version, metadata, dependencies, warnings: Vec::new() }
    }

    /// The package, published by `publisher`.
    pub(super) fn package(&self, publisher: &PublisherId) -> Result<PackageId, Failure> {
        let short = publisher.short();
        PackageId::try_new(self.namespace.as_deref().unwrap_or(&short), &self.name).map_err(usage)
    }

    /// The release to be, and the block to store beside it if it has many executables.
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
