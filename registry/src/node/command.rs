//! What the owner of the swarm can be asked, and what it answers.

use ggen_blockstore::Cid;
use libp2p::{Multiaddr, PeerId, gossipsub::MessageId};
use tokio::sync::{mpsc, oneshot};

use super::bitswap::{SessionId, SessionSender};

/// One request to the swarm's owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// Dial an address and wait until the peer has said what it speaks.
    Connect { address: Multiaddr, reply: oneshot::Sender<Result<PeerId, DialFailed>> },
    /// Look for providers on both DHTs, dialling those found; it ends when both lookups have, or when the receiver
    /// is gone.
    FindProviders { key: Vec<u8>, found: mpsc::Sender<PeerId> },
    /// Look a value up on the ggen DHT; it ends when the lookup has, or when the receiver is gone.
    FindRecord { key: Vec<u8>, found: mpsc::Sender<Vec<u8>> },
    /// Provide the DAG under this multihash on both DHTs, from now on.
    Provide { key: Vec<u8> },
    /// Keep this value under this key in the ggen DHT, from now on.
    Publish { key: Vec<u8>, value: Vec<u8> },
    /// Send to all who follow the packages topic; answers how many peers it went to.
    Announce { data: Vec<u8>, reply: oneshot::Sender<usize> },
    /// Say what a gossip message was worth.
    Judge { gossip: GossipId, verdict: Verdict },
    /// Open a block session.
    OpenSession { events: SessionSender, reply: oneshot::Sender<SessionId> },
    /// Want blocks in a session.
    Want { session: SessionId, wants: Vec<(Cid, Option<u64>)> },
    /// A peer may have what a session wants.
    AddPeer { session: SessionId, peer: PeerId },
    /// End a session.
    CloseSession { session: SessionId },
    /// Blocks have come into the store by other ways than a session.
    NewBlocks { cids: Vec<Cid> },
    /// Answer once everything published so far was announced, with success or without.
    Settle { reply: oneshot::Sender<()> },
    /// Describe the node.
    Snapshot { reply: oneshot::Sender<Snapshot> },
    /// Close all connections and end.
    Shutdown,
}

/// A connection that did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DialFailed(pub(crate) String);

/// A gossip message that waits for its verdict.
#[derive(Clone, Debug)]
pub(crate) struct GossipId {
    pub(crate) message: MessageId,
    pub(crate) from: PeerId,
}

/// A gossip message: forwarded only once it is judged.
#[derive(Clone, Debug)]
pub(crate) struct Gossip {
    pub(crate) id: GossipId,
    pub(crate) data: Vec<u8>,
}

/// What a gossip message is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pass it on.
    Accept,
    /// Drop it without blame.
    Ignore,
    /// Drop it; whoever passed it on loses standing.
    Reject,
}

/// A node at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) listen_addresses: Vec<Multiaddr>,
    pub(crate) external_addresses: Vec<Multiaddr>,
    pub(crate) connected: Vec<PeerId>,
    pub(crate) ggen_routing_peers: usize,
    pub(crate) serves_ggen_dht: bool,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}
