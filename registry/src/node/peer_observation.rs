//! What a node observes of its peers, for their reputation and the address book.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

/// One observation of one peer.
#[derive(Clone, Debug)]
pub(crate) enum PeerObservation {
    /// A connection was established; with the peer's address, if this node dialled.
    Connected { peer: PeerId, address: Option<Multiaddr> },
    /// It subscribed to or unsubscribed from a gossip topic.
    Follows { peer: PeerId },
    /// Identify finished: its agent name, and the addresses at which it can be dialled.
    Introduced { peer: PeerId, agent: String, addresses: Vec<Multiaddr> },
    /// The round-trip time of a ping.
    Latency { peer: PeerId, latency: Duration },
    /// Blocks were sent to it or received from it, in bytes. `rate`: bytes received per second, if measured.
    Traffic { peer: PeerId, sent: u64, received: u64, rate: Option<f64> },
    /// It violated the block protocol, and no session was notified.
    Misbehaved { peer: PeerId, malformed: bool },
    /// It offered a record that no honest peer offers.
    InvalidRecord { peer: PeerId },
    /// The last connection to it has closed.
    Gone { peer: PeerId },
}

/// How a node treats connections with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessPolicy {
    /// Connections are allowed, and count against the limits.
    Usual,
    /// Connections are allowed, and do not count against the limits.
    Exempt,
    /// Connections are denied in both directions.
    Refused,
}
