//! Results of operations. Their fields are the JSON output of the command line.

mod doctor;
mod package;
mod peers;
mod storage;
mod trust;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ErrorKind, Hint, KnownBy};

pub use self::doctor::{Diagnosis, Stage};
pub use self::package::{ClaimInfo, ContentProvider, PackageInfo, RecordInfo, ReleaseInfo, Yanked};
pub use self::peers::{PeerEvent, PeerLists, PeerReport};
pub use self::storage::{BadBlock, GcReport, MirrorReport, PinReport, StoreDamage, UnpinnedRelease, VerifyReport};
pub use self::trust::TrustReport;

/// A listening node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The node's peer id.
    pub peer_id: String,
    /// Addresses it listens on, each with `/p2p/<peer_id>`.
    pub listen_addresses: Vec<String>,
    /// The process id.
    pub pid: u32,
}

/// A running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's peer id.
    pub peer_id: String,
    /// Name and version that it sends to peers.
    pub agent: String,
    /// Addresses it listens on, each with `/p2p/<peer_id>`.
    pub listen_addresses: Vec<String>,
    /// Addresses at which peers can reach it, as far as it knows.
    pub external_addresses: Vec<String>,
    /// Number of connected peers.
    pub connected_peers: usize,
    /// Of these, subscribers of the packages topic.
    pub followers: usize,
    /// Why peers reject the newest heads of this home's publishers, one sentence each: the clock was wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unannounced: Vec<String>,
    /// `server` or `client`, on the ggen DHT.
    pub dht_mode: String,
    /// `public`, `private` or `unknown`.
    pub nat: String,
    /// The gossip topic, which is also the network's name.
    pub packages_topic: String,
    /// Packages in the catalog that this home's publishers have published.
    pub packages_published: u64,
    /// Packages in the catalog, of all publishers.
    pub packages_known: u64,
    /// Blocks in the store.
    pub blocks: u64,
    /// Bytes the store takes.
    pub store_bytes: u64,
    /// Bytes of blocks sent since the start.
    pub bytes_sent: u64,
    /// Bytes of blocks received since the start.
    pub bytes_received: u64,
    /// Number of DHT lookups, of records or providers, since the start.
    pub dht_walks: u64,
    /// Seconds since the start.
    pub uptime_seconds: u64,
}

/// A published release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// `ns/name`.
    pub package: String,
    /// The version.
    pub version: String,
    /// CID of the content root.
    pub cid: String,
    /// CID of the release record; null for a dry run.
    pub release: Option<String>,
    /// The publisher id; null for a dry run without a key.
    pub publisher: Option<String>,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' bytes.
    pub size_bytes: u64,
    /// Number of blocks of the content.
    pub blocks: u64,
    /// Of these, blocks that the store lacked.
    pub new_blocks: u64,
    /// Number of peers that the announcement was sent to.
    pub announced_to: u64,
    /// Number of peers that confirmed to have every block.
    pub replicas: u64,
    /// The same version with the same content was already published: nothing was done.
    pub unchanged: bool,
    /// With a dry run: the entries that would be published, ordered by path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<String>>,
    /// The recovery key that the user has not confirmed to have saved; null otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryNotice>,
    /// Warnings for the publisher, one sentence each: omitted files, included secrets, unknown keys of gpack.toml,
    /// directories that look generated, and failures after the release was published.
    #[serde(default)]
    pub warnings: Vec<Hint>,
}

/// A recovery key that its owner has not confirmed to have saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryNotice {
    /// The name of the publisher's key.
    pub key: String,
    /// The file that holds it, readable for its owner only.
    pub file: PathBuf,
    /// This is the publisher's first release: the key was not shown before.
    pub is_new: bool,
}

/// A recovery key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryKeyReport {
    /// The name of the publisher's key.
    pub key: String,
    /// The file that holds it, or held it before it was confirmed.
    pub file: PathBuf,
    /// The key in PKCS #8 PEM format; null once it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// The user has saved it elsewhere, and the file is removed.
    pub confirmed: bool,
}

/// A fetched tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// CID of the content root.
    pub cid: String,
    /// `ns/name`; null for a content CID.
    pub package: Option<String>,
    /// The version; null for a content CID.
    pub version: Option<String>,
    /// The publisher id; null for a CID, because no signature is checked.
    pub publisher: Option<String>,
    /// How the publisher of the name is known; null for a CID.
    #[serde(default)]
    pub known_by: Option<KnownBy>,
    /// This home had not used the namespace; from now on its names mean packages of this publisher.
    #[serde(default)]
    pub first_use: bool,
    /// Other publishers that are known to claim the name, with a version that is not yanked.
    #[serde(default)]
    pub other_claimants: Vec<String>,
    /// The version is yanked: its publisher advises against using it.
    #[serde(default)]
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default)]
    pub yank_reason: Option<String>,
    /// Where it was written. Serialization replaces bytes that are not UTF-8, so the result is for display only.
    #[serde(serialize_with = "readable")]
    pub path: PathBuf,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' bytes.
    pub size_bytes: u64,
    /// Of an update: existing files that matched and were kept.
    #[serde(default)]
    pub files_kept: u64,
    /// Of an update: files of the former version that were removed.
    #[serde(default)]
    pub files_removed: u64,
    /// Of an update: local edits that were overwritten or removed, the first thousand.
    #[serde(default)]
    pub overwritten: Vec<String>,
    /// Of an update: existing paths that were never part of the tree, the first thousand. A directory is listed without
    /// its contents.
    #[serde(default)]
    pub untracked: Vec<String>,
    /// Of an update: such paths beyond these.
    #[serde(default)]
    pub more_untracked: u64,
    /// Providers that the caller named and that could not be reached: the address of each, and why.
    #[serde(default)]
    pub unreached: Vec<String>,
    /// Blocks that came over the network.
    pub blocks_fetched: u64,
    /// Their bytes.
    pub bytes_fetched: u64,
    /// Blocks that were already in the local store.
    pub blocks_reused: u64,
    /// The peers that sent them.
    pub providers: Vec<ProviderReport>,
    /// Seconds it took.
    pub seconds: f64,
}

/// One source of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderReport {
    /// The peer.
    pub peer_id: String,
    /// Bytes of blocks it sent.
    pub bytes: u64,
}

/// One search result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchHit {
    /// `ns/name`.
    pub package: String,
    /// Newest version that is not yanked, or the newest version if all are yanked.
    pub version: String,
    /// Whether it, and thus every version, is yanked.
    #[serde(default)]
    pub yanked: bool,
    /// One line.
    pub description: String,
    /// CID of that version's content root.
    pub cid: String,
    /// The publisher id.
    pub publisher: String,
    /// `pinned` if the name means this publisher to this home; `conflict` if it means another one, or if several
    /// publishers claim it and none is trusted; otherwise `known`.
    pub trust: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Category, if it has one.
    pub category: Option<String>,
    /// License, if it states one.
    pub license: Option<String>,
    /// Number of known providers.
    pub providers: u64,
    /// Highest reputation among them.
    pub reputation: f64,
    /// Rank; higher is better.
    pub score: f64,
    /// Whether no package matches the query exactly, and this one has similar terms.
    #[serde(default)]
    pub fuzzy: bool,
}

/// The outcome of a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapReport {
    /// Peer ids that are connected.
    pub connected: Vec<String>,
    /// Addresses that could not be reached, and why.
    pub failed: Vec<FailedAddress>,
    /// Peers in the ggen routing table.
    pub routing_table_peers: usize,
}

/// An address that could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAddress {
    /// The address as given.
    pub address: String,
    /// The reason.
    pub reason: String,
    /// What sort of failure.
    pub kind: ErrorKind,
    /// What the user can do about it, if more is known than that it could not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
}

/// A key of the key store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// Its name; `node` is the peer's own, `default` signs publishes.
    pub name: String,
    /// The peer id it has (or would have) on the network.
    pub peer_id: String,
    /// The publisher it signs for, if any.
    pub publisher: Option<String>,
    /// Why it cannot be used; then `peer_id` is empty if it is not known from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

fn readable<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
