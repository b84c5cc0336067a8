//! What can be asked of a registry: plain values that also cross the daemon's socket.

mod content;
mod doctor;
mod path;
mod peers;
mod storage;

use std::{path::PathBuf, time::Duration};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::{ErrorKind, Failure};

pub use self::content::{InfoRequest, PublishContentRequest, YankRequest};
pub use self::doctor::DoctorRequest;
pub use self::peers::{PeerInfoRequest, PeerListRequest, PeerRule, PeerRuleRequest};
pub use self::storage::{GcRequest, MirrorRequest, PinRequest, VerifyRequest};

/// Publish a package directory or tarball.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Absolute path of a directory with a `gpack.toml`, or of a tarball of one.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// Wins over the version in `gpack.toml`, which is not rewritten.
    pub version: Option<String>,
    /// Wins over the namespace in `gpack.toml` and in the configuration.
    pub namespace: Option<String>,
    /// Name of the key that signs; the default key if none is named.
    pub key: Option<String>,
    /// Sign although the publisher's last head is of a later time than this machine's clock says: the user knows that the
    /// clock is right today and was not then.
    #[serde(default)]
    pub trust_clock: bool,
    /// Publish files that hold secrets (private keys, credentials), with a warning, instead of refusing the package. Those
    /// that `allow-secrets` in its `gpack.toml` names are published without it.
    pub allow_secrets: bool,
    /// The user's own ignore file, which git knows as `core.excludesFile`. It holds for a directory in a git work tree; a
    /// relative path begins at the root of that.
    #[serde(default, with = "path::optional")]
    pub user_ignore_file: Option<PathBuf>,
    /// Publish a package that lacks files which its `gpack.toml` names, with a warning, instead of refusing it.
    pub skip_verify: bool,
    /// List what would go in, store and sign nothing.
    pub dry_run: bool,
    /// Return only when this many peers answered to have all of it.
    pub min_replicas: u32,
    /// Give up waiting for the network after this long; the release stays published locally.
    pub timeout: Duration,
}

/// Show a recovery key, or confirm that it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryKeyRequest {
    /// Name of the publisher's key; the default key if none is named.
    pub key: Option<String>,
    /// It is saved elsewhere: remove it here.
    pub confirm: bool,
}

/// Fetch a package, a release or any IPFS DAG, and write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The target as typed: a CID, `/ipfs/...`, `ns/name`, `ns/name@REQ`, `<publisher>/ns/name[@REQ]`.
    pub target: String,
    /// Where to write it.
    pub to: FetchTo,
    /// Give up after this long.
    pub timeout: Duration,
    /// Use only what is here.
    pub offline: bool,
    /// Multiaddresses, each with `/p2p/<peer id>`, of peers to ask first.
    pub providers: Vec<String>,
    /// Ask no peer of a lower reputation, whoever named it.
    pub min_reputation: Option<f64>,
}

/// Where a fetched tree goes. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FetchTo {
    /// Into `<directory>/<name>`, which is the package's name, the last of a target's path, or its CID; known only once the
    /// target is resolved.
    NamedIn(#[serde(with = "path")] PathBuf),
    /// To exactly this path, which must not exist or be an empty directory, which is filled. Missing directories on the way
    /// are made.
    Path(#[serde(with = "path")] PathBuf),
    /// As [`NamedIn`](Self::NamedIn), where an older tree may be: it is made equal to what is fetched. Its files that match
    /// stay, those of the former version that are gone are removed, and files that were never part of it are left alone and
    /// listed. Local edits are refused.
    UpdateNamedIn(#[serde(with = "path")] PathBuf),
    /// As [`UpdateNamedIn`](Self::UpdateNamedIn), to exactly this path.
    Update(#[serde(with = "path")] PathBuf),
    /// As [`UpdateNamedIn`](Self::UpdateNamedIn); local edits are overwritten.
    OverwriteNamedIn(#[serde(with = "path")] PathBuf),
    /// As [`OverwriteNamedIn`](Self::OverwriteNamedIn), to exactly this path.
    Overwrite(#[serde(with = "path")] PathBuf),
    /// As the canonical tarball, to this file, compressed as the end of its name says (`.tar.gz`, `.tgz`, `.tar.zst`).
    /// Devices, pipes that a process reads, and sockets are written through.
    Tar(#[serde(with = "path")] PathBuf),
}

/// Search the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// Words; never interpreted as a query language.
    pub query: String,
    /// Only packages of this category.
    pub category: Option<String>,
    /// Only packages with all these tags.
    pub tags: Vec<String>,
    /// At most this many hits.
    pub limit: usize,
    /// Only packages that some peer of at least this reputation provides.
    pub min_reputation: Option<f64>,
    /// Ask nobody else.
    pub local: bool,
}

impl BootstrapRequest {
    /// The addresses of the nodes.
    ///
    /// # Errors
    /// The first that is none.
    pub fn addresses(&self) -> Result<Vec<Multiaddr>, Failure> {
        self.nodes.iter().map(|text| parse_address(text)).collect()
    }
}

/// Reads an address as typed.
pub(crate) fn parse_address(text: &str) -> Result<Multiaddr, Failure> {
    text.parse().map_err(|error| {
        Failure::new(ErrorKind::Usage, format!("`{text}` is not a multiaddress: {error}"))
            .hinted("an address looks like `/ip4/127.0.0.1/tcp/4001/p2p/<peer id>` or `/dnsaddr/bootstrap.libp2p.io`")
    })
}

/// Connect to bootstrap nodes and fill the routing tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapRequest {
    /// Multiaddresses, with `/p2p/<peer id>` or `/dnsaddr/...`.
    pub nodes: Vec<String>,
    /// Give up after this long.
    pub timeout: Duration,
}
