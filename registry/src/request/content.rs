//! Requests about what is published: content that is in IPFS already, yanks, and questions.

use std::time::Duration;

use ggen_blockstore::Cid;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::package::{Dependency, Metadata, PackageId};

/// Publish a tree that has a CID already, whether it is in the store or has to be fetched first.
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
    /// What the package says of itself.
    pub metadata: Metadata,
    /// Packages of this registry that it needs.
    pub dependencies: Vec<Dependency>,
    /// Name of the key that signs; the default key if none is named.
    pub key: Option<String>,
    /// As in a [`PublishRequest`](crate::PublishRequest).
    pub trust_clock: bool,
    /// Publish files that hold secrets (private keys, credentials), with a warning, instead of refusing the tree.
    pub allow_secrets: bool,
    /// Give up fetching the content when nothing new has come for so long.
    pub timeout: Duration,
}

/// Say that a version is no longer to be chosen, or take that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YankRequest {
    /// The package.
    pub package: PackageId,
    /// The version.
    pub version: Version,
    /// Take a yank back.
    pub undo: bool,
    /// Why, for people.
    pub reason: Option<String>,
    /// Name of the key that signs; the default key if none is named.
    pub key: Option<String>,
    /// As in a [`PublishRequest`](crate::PublishRequest).
    #[serde(default)]
    pub trust_clock: bool,
}

/// Tell what is known of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoRequest {
    /// The target as typed; see [`FetchRequest`](crate::FetchRequest).
    pub target: String,
    /// Read the record of every version, not only of the one that the target means.
    pub versions: bool,
    /// Look for peers that provide the content.
    pub providers: bool,
    /// Give up when nothing new has come for so long.
    pub timeout: Duration,
    /// Use only what is here.
    pub offline: bool,
}
