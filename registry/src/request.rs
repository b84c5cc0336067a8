//! Requests to a registry: plain values that are also sent over the daemon's control socket.

mod content;
mod doctor;
mod path;
mod peers;
mod storage;
mod trust;

use std::{path::PathBuf, time::Duration};

use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};

use crate::{ErrorKind, Failure};

pub use self::content::{InfoRequest, PublishContentRequest, YankRequest};
pub use self::doctor::DoctorRequest;
pub use self::peers::{PeerInfoRequest, PeerListRequest, PeerRule, PeerRuleRequest};
pub use self::storage::{GcRequest, MirrorRequest, PinRequest, VerifyRequest};
pub use self::trust::{TrustAddRequest, TrustRemoveRequest};

/// Publish a package directory or tarball.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Absolute path of a directory with a `gpack.toml`, or of a tarball of one.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// Overrides the version in `gpack.toml`, which is not rewritten.
    pub version: Option<String>,
    /// Overrides the namespace in `gpack.toml` and in the configuration.
    pub namespace: Option<String>,
    /// Name of the key that signs; the default key if none is named.
    pub key: Option<String>,
    /// Sign although the publisher's last head is dated later than this machine's clock. The user asserts that the
    /// clock is right now and was wrong then.
    #[serde(default)]
    pub trust_clock: bool,
    /// Publish files that hold secrets (private keys, credentials), with a warning, instead of refusing the package.
    /// Files listed in `allow-secrets` of its `gpack.toml` do not need this flag.
    pub allow_secrets: bool,
    /// The user's own ignore file, git's `core.excludesFile`. It applies to a directory in a git work tree; a relative
    /// path is resolved against the root of that work tree.
    #[serde(default, with = "path::optional")]
    pub user_ignore_file: Option<PathBuf>,
    /// Publish a package that lacks files listed in its `gpack.toml`, with a warning, instead of refusing it.
    pub skip_verify: bool,
    /// List the files that would be published; store and sign nothing.
    pub dry_run: bool,
    /// Return only when this many peers have confirmed that they have every block.
    pub min_replicas: u32,
    /// Give up waiting for `min_replicas` after this long; the release stays published.
    pub timeout: Duration,
}

/// Show a recovery key, or confirm that it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryKeyRequest {
    /// Name of the publisher's key; the default key if none is named.
    pub key: Option<String>,
    /// The user has saved the key elsewhere: remove it from the home.
    pub confirm: bool,
}

/// Fetch a package, a release or any IPFS DAG, and write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The target as typed: a CID, `/ipfs/...`, `ns/name`, `ns/name@REQ`, `<publisher>/ns/name[@REQ]`.
    pub target: String,
    /// Where to write it.
    pub to: FetchTo,
    /// Give up when no new data has arrived for this long.
    pub timeout: Duration,
    /// Use only local data.
    pub offline: bool,
    /// Multiaddresses, each with `/p2p/<peer id>`, of providers to query first.
    pub providers: Vec<String>,
    /// Use no provider with a lower reputation, including those in `providers`.
    pub min_reputation: Option<f64>,
}

/// Where a fetched tree is written. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FetchTo {
    /// Into `<directory>/<name>`. The name is the package's name, the last component of the target's path, or its CID;
    /// it is known only once the target is resolved.
    NamedIn(#[serde(with = "path")] PathBuf),
    /// To exactly this path, which must not exist or be an empty directory. Missing parent directories are created.
    Path(#[serde(with = "path")] PathBuf),
    /// As [`NamedIn`](Self::NamedIn), but an older tree may exist there and is updated to the fetched one. Equal files
    /// are kept, files that the new version lacks are removed, and files that were never part of the package are kept
    /// and listed. Fails if there are local edits.
    UpdateNamedIn(#[serde(with = "path")] PathBuf),
    /// As [`UpdateNamedIn`](Self::UpdateNamedIn), to exactly this path.
    Update(#[serde(with = "path")] PathBuf),
    /// As [`UpdateNamedIn`](Self::UpdateNamedIn); local edits are overwritten.
    OverwriteNamedIn(#[serde(with = "path")] PathBuf),
    /// As [`OverwriteNamedIn`](Self::OverwriteNamedIn), to exactly this path.
    Overwrite(#[serde(with = "path")] PathBuf),
    /// As the canonical tarball, to this file. The suffix selects the compression (`.tar.gz`, `.tgz`, `.tar.zst`).
    /// Devices, pipes with a reader, and sockets are written to directly.
    Tar(#[serde(with = "path")] PathBuf),
}

/// Search the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// Search terms; never interpreted as a query language.
    pub query: String,
    /// Only packages of this category.
    pub category: Option<String>,
    /// Only packages with all these tags.
    pub tags: Vec<String>,
    /// At most this many hits.
    pub limit: usize,
    /// Only packages that some peer of at least this reputation provides.
    pub min_reputation: Option<f64>,
    /// Search the local catalog only; query no peer.
    pub local: bool,
}

impl BootstrapRequest {
    /// Parses the addresses of the nodes.
    ///
    /// # Errors
    /// The first string that is not a multiaddress.
    pub fn addresses(&self) -> Result<Vec<Multiaddr>, Failure> {
        self.nodes.iter().map(|text| parse_address(text)).collect()
    }
}

/// Parses an address as typed.
pub(crate) fn parse_address(text: &str) -> Result<Multiaddr, Failure> {
    let refuse = |message: String| {
        Failure::new(ErrorKind::Usage, message)
            .hinted("an address looks like `/ip4/127.0.0.1/tcp/4001/p2p/<peer id>` or `/dnsaddr/bootstrap.libp2p.io`")
    };
    // libp2p takes it for an address without parts.
    if text.trim().is_empty() {
        return Err(refuse("the address is empty".to_owned()));
    }
    text.parse().map_err(|error| refuse(format!("`{text}` is not a multiaddress: {error}")))
}

/// Connect to bootstrap nodes and fill the routing tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapRequest {
    /// Multiaddresses, with `/p2p/<peer id>` or `/dnsaddr/...`.
    pub nodes: Vec<String>,
    /// Give up after this long.
    pub timeout: Duration,
}
