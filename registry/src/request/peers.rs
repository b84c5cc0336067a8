//! Requests about peers.

use serde::{Deserialize, Serialize};

/// List the peers that are connected or known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerListRequest {
    /// Only peers of at least this reputation, from 0 to 1.
    pub min_reputation: Option<f64>,
}

/// Describe one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfoRequest {
    /// Its peer id, or an address that ends with it.
    pub peer: String,
    /// Include its history of events.
    pub full: bool,
}

/// Set the user's rule for one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRuleRequest {
    /// Its peer id, or an address that ends with it.
    pub peer: String,
    /// The rule.
    pub rule: PeerRule,
}

/// The user's rule for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerRule {
    /// The peer is used regardless of its reputation, and its record is never evicted.
    Allow,
    /// Connections to and from the peer are refused.
    Deny,
    /// The peer is removed from both lists, and its record is deleted.
    Reset,
}
