//! Reports about peers.

use serde::{Deserialize, Serialize};

/// One peer, as this node knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The peer.
    pub peer_id: String,
    /// Its known addresses.
    pub addresses: Vec<String>,
    /// Name and version of its program, as it identifies itself.
    pub agent: Option<String>,
    /// The node has a connection to it.
    pub connected: bool,
    /// successful / (successful + failed), 1 if there was neither.
    pub reputation: f64,
    /// Retrievals to which it contributed.
    pub successful_retrievals: u64,
    /// Retrievals in which it failed.
    pub failed_retrievals: u64,
    /// Number of unique packages that it provides.
    pub packages_provided: u64,
    /// When it was last active, RFC 3339; null if it never was.
    pub last_seen: Option<String>,
    /// Its last round trip time in milliseconds.
    pub latency_ms: Option<f64>,
    /// Bytes of blocks sent to it, ever.
    pub bytes_sent: u64,
    /// Bytes of verified blocks received from it, ever.
    pub bytes_received: u64,
    /// `allowed` or `denied`, if the user has set a rule.
    pub listed: Option<String>,
    /// With `full`: its events, newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<PeerEvent>>,
}

/// One event in a peer's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEvent {
    /// When, RFC 3339.
    pub time: String,
    /// `retrieved`, `wrong_bytes`, `stalled`, `false_have`, `invalid_record`, `malformed`; or `allowed`, `denied`.
    pub event: String,
    /// The package concerned.
    pub package: Option<String>,
    /// Bytes of verified blocks received.
    pub bytes: u64,
}

/// The user's two lists of peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLists {
    /// Peers that are used regardless of their reputation.
    pub allowed: Vec<String>,
    /// Peers to and from which connections are refused.
    pub denied: Vec<String>,
}
