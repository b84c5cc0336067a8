//! Requests about packages: publish content that is in IPFS already, yank, and info.

use std::time::Duration;

use ggen_blockstore::Cid;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::package::{Dependency, Metadata, PackageId};

/// Publish a tree by its CID, whether it is in the local store or has to be fetched first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishContentRequest {
    /// The package.
    pub package: PackageId,
    /// The version.
    pub version: Version,
    /// Root of the tree.
    pub content: Cid,
    /// Paths of the files that are executable.
    pub executables: Vec<String>,
    /// The package's own metadata.
    pub metadata: Metadata,
    /// Packages of this registry that it needs.
    pub dependencies: Vec<Dependency>,
    /// Name of the key that signs; the default key if none is named.
    pub key: Option<String>,
    /// As in a [`PublishRequest`](crate::PublishRequest).
    pub trust_clock: bool,
    /// Publish files that hold secrets (private keys, credentials), with a warning, instead of refusing the tree.
    pub allow_secrets: bool,
    /// Give up fetching the content when no new data has arrived for this long.
    pub timeout: Duration,
}

/// Yank a version, so that it is no longer selected, or undo a yank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YankRequest {
    /// The package.
    pub package: PackageId,
    /// The version.
    pub version: Version,
    /// Undo a yank.
    pub undo: bool,
    /// The reason, for human readers.
    pub reason: Option<String>,
    /// Name of the key that signs; the default key if none is named.
    pub key: Option<String>,
    /// As in a [`PublishRequest`](crate::PublishRequest).
    #[serde(default)]
    pub trust_clock: bool,
}

/// Report what is known of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoRequest {
    /// The target as typed; see [`FetchRequest`](crate::FetchRequest).
    pub target: String,
    /// Read the record of every version, not only of the version that the target selects.
    pub versions: bool,
    /// Look for peers that provide the content.
    pub providers: bool,
    /// Give up when no new data has arrived for this long.
    pub timeout: Duration,
    /// Use only local data.
    pub offline: bool,
}
