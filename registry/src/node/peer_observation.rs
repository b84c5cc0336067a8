//! What a node notices of its peers, for whoever keeps books on them.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

/// One thing noticed of one peer.
#[derive(Clone, Debug)]
pub(crate) enum PeerObservation {
    /// It is connected; with its address, if it was us who dialled.
    Connected { peer: PeerId, address: Option<Multiaddr> },
    /// It began or ceased to follow announcements.
    Follows { peer: PeerId },
    /// It said what it is, and where it can be reached.
    Introduced { peer: PeerId, agent: String, addresses: Vec<Multiaddr> },
    /// A ping came back.
    Latency { peer: PeerId, latency: Duration },
    /// Blocks went to it and came from it, in bytes; these at this rate in bytes per second, if that was measured.
    Traffic { peer: PeerId, sent: u64, received: u64, rate: Option<f64> },
    /// It broke the block protocol, and no session was told.
    Misbehaved { peer: PeerId, malformed: bool },
    /// It offered a record that no honest peer offers.
    InvalidRecord { peer: PeerId },
    /// The last connection to it has closed.
    Gone { peer: PeerId },
}

/// How a node treats a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessPolicy {
    /// Like any other.
    Usual,
    /// Connections with it count for no limit.
    Exempt,
    /// No connection with it, in neither direction.
    Refused,
}
