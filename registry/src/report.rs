//! What operations answer: the JSON results of the command line contract, field by field.

mod doctor;
mod package;
mod peers;
mod storage;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::doctor::{Diagnosis, Stage};
pub use self::package::{ClaimInfo, ContentProvider, PackageInfo, RecordInfo, ReleaseInfo, Yanked};
pub use self::peers::{PeerEvent, PeerLists, PeerReport};
pub use self::storage::{BadBlock, GcReport, MirrorReport, PinReport, StoreDamage, UnpinnedRelease, VerifyReport};

/// A node that listens and answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The node's peer id.
    pub peer_id: String,
    /// Addresses it listens on, each with `/p2p/<peer_id>`.
    pub listen_addresses: Vec<String>,
    /// The process.
    pub pid: u32,
}

/// A running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's peer id.
    pub peer_id: String,
    /// Name and version it tells others.
    pub agent: String,
    /// Addresses it listens on, each with `/p2p/<peer_id>`.
    pub listen_addresses: Vec<String>,
    /// Addresses others can reach it at, as far as it knows.
    pub external_addresses: Vec<String>,
    /// Number of connected peers.
    pub connected_peers: usize,
    /// Of these, those that follow the packages topic.
    pub followers: usize,
    /// Why other peers refuse what publishers of this home have signed last, one sentence each: the clock was wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unannounced: Vec<String>,
    /// `server` or `client`, on the ggen DHT.
    pub dht_mode: String,
    /// `public`, `private` or `unknown`.
    pub nat: String,
    /// The gossip topic, which is also the network's name.
    pub packages_topic: String,
    /// Releases of one's own in the catalog.
    pub packages_published: u64,
    /// Packages in the catalog.
    pub packages_known: u64,
    /// Blocks in the store.
    pub blocks: u64,
    /// Bytes the store takes.
    pub store_bytes: u64,
    /// Bytes of blocks sent since the start.
    pub bytes_sent: u64,
    /// Bytes of blocks received since the start.
    pub bytes_received: u64,
    /// Walks through a DHT, for a record or for providers, since the start.
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
    /// The publisher id; null for a dry run by somebody without a key.
    pub publisher: Option<String>,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' bytes.
    pub size_bytes: u64,
    /// Blocks of the content.
    pub blocks: u64,
    /// Of these, blocks that the store did not have.
    pub new_blocks: u64,
    /// Peers that the announcement was sent to.
    pub announced_to: u64,
    /// Peers that answered to have all of it.
    pub replicas: u64,
    /// The same version with the same content was already published: nothing was done.
    pub unchanged: bool,
    /// With a dry run: the files that would go in, ordered by path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<String>>,
    /// The recovery key that waits to be saved elsewhere; none once that was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryNotice>,
    /// What the publisher should look at, in sentences: what was left out, secrets that were let in, keys of gpack.toml that
    /// mean nothing, directories that look generated; and what did not go well after the release was published.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A recovery key that its owner has not confirmed to have saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryNotice {
    /// The name of the publisher's key.
    pub key: String,
    /// The file that holds it, readable for its owner only.
    pub file: PathBuf,
    /// This is the publisher's first release: nobody was shown the key before.
    pub is_new: bool,
}

/// A recovery key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryKeyReport {
    /// The name of the publisher's key.
    pub key: String,
    /// The file that holds it; that held it, once it is confirmed.
    pub file: PathBuf,
    /// The key as a PKCS #8 PEM file; none once it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
    /// Its owner has it elsewhere: the file is removed.
    pub confirmed: bool,
}

/// A fetched tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetched {
    /// CID of the content root.
    pub cid: String,
    /// `ns/name`; null for a bare CID.
    pub package: Option<String>,
    /// The version; null for a bare CID.
    pub version: Option<String>,
    /// The publisher id; null for a bare CID.
    pub publisher: Option<String>,
    /// The version is yanked: its publisher asks not to use it.
    #[serde(default)]
    pub yanked: bool,
    /// Why it was yanked, where the publisher gave a reason.
    #[serde(default)]
    pub yank_reason: Option<String>,
    /// Where it was written. What of it is not UTF-8 is replaced where it is serialised: it is for people then.
    #[serde(serialize_with = "readable")]
    pub path: PathBuf,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' bytes.
    pub size_bytes: u64,
    /// Of an update: files that were there already, matched and stayed.
    #[serde(default)]
    pub files_kept: u64,
    /// Of an update: files of the former version that were removed.
    #[serde(default)]
    pub files_removed: u64,
    /// Of an update: local edits that were overwritten or removed, the first thousand.
    #[serde(default)]
    pub overwritten: Vec<String>,
    /// Of an update: paths that are there and were never of the tree, the first thousand; of a directory only its own.
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
    /// Blocks that were already here.
    pub blocks_reused: u64,
    /// Who sent them.
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
    /// Newest version that is not yanked, or the newest where all are.
    pub version: String,
    /// Whether it is yanked, and with it every version.
    #[serde(default)]
    pub yanked: bool,
    /// One line.
    pub description: String,
    /// CID of that version's content root.
    pub cid: String,
    /// The publisher id.
    pub publisher: String,
    /// `pinned`, `known` or `conflict`.
    pub trust: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Category, if it has one.
    pub category: Option<String>,
    /// License, if it says.
    pub license: Option<String>,
    /// Providers known.
    pub providers: u64,
    /// Highest reputation among them.
    pub reputation: f64,
    /// Rank; higher is better.
    pub score: f64,
    /// Whether no package has the words of the query, and this one has words like them.
    #[serde(default)]
    pub fuzzy: bool,
}

/// What a bootstrap reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapReport {
    /// Peer ids that are connected.
    pub connected: Vec<String>,
    /// Addresses that are not, and why.
    pub failed: Vec<FailedAddress>,
    /// Peers in the ggen routing table.
    pub routing_table_peers: usize,
}

/// An address that could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAddress {
    /// The address as given.
    pub address: String,
    /// Why not.
    pub reason: String,
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
