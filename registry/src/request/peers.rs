//! What can be asked about other peers.

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
    /// With what it did.
    pub full: bool,
}

/// Decide about one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRuleRequest {
    /// Its peer id, or an address that ends with it.
    pub peer: String,
    /// What is decided.
    pub rule: PeerRule,
}

/// What a user decides about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerRule {
    /// It is asked whatever its reputation, and never forgotten.
    Allow,
    /// It is not connected to, in neither direction.
    Deny,
    /// It is on no list, and all that is known of it is forgotten.
    Reset,
}
