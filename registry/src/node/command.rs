//! The commands to the owner of the swarm, and the types of its replies.

use std::convert::Infallible;

use ggen_blockstore::Cid;
use libp2p::{Multiaddr, PeerId, gossipsub::MessageId};
use tokio::sync::{mpsc, oneshot};

use crate::node::{
    StartError,
    behaviour::Dht,
    discovery::{addresses::Nat, dnsaddr::Target},
    exchange::{BlockWant, ListSource, SessionId, SessionSender},
    peer_observation::AccessPolicy,
    rpc::{AskError, Protocol, Reply},
};

/// One command to the swarm's owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// Listen on addresses. Replies with the addresses of all listeners, once each listener has reported one or its
    /// time limit has passed.
    Listen { addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<Vec<Multiaddr>, StartError>> },
    /// Subscribe to the packages topic.
    Follow { reply: oneshot::Sender<Result<(), StartError>> },
    /// Look up this node's own ID on every DHT. The channel closes when all lookups have ended.
    Explore { done: mpsc::Sender<Infallible> },
    /// Dial a peer, or an address without a peer ID; a connected peer is dialled only `afresh`, to see whether it answers
    /// at that address. Replies once identify with the peer has finished.
    Connect { target: Target, afresh: bool, reply: oneshot::Sender<Result<PeerId, DialFailed>> },
    /// Look up providers on every DHT and dial those found. The lookups end by themselves, or when the receiver is
    /// dropped.
    FindProviders { key: Vec<u8>, found: mpsc::Sender<PeerId> },
    /// As `FindProviders`, and report the outcome of each dial.
    TryProviders { key: Vec<u8>, tried: mpsc::Sender<Tried> },
    /// Look up a value on the ggen DHT. The lookup ends by itself, or when the receiver is dropped.
    FindRecord { key: Vec<u8>, found: mpsc::Sender<FoundRecord>, ended: oneshot::Sender<Walked> },
    /// As `FindProviders`, on one DHT.
    FindProvidersOn { dht: Dht, key: Vec<u8>, found: mpsc::Sender<PeerId> },
    /// Provide the DAG under this multihash on every DHT from now on.
    Provide { key: Vec<u8> },
    /// Provide the multihash of a keyword on the ggen DHT from now on, with lower priority than other announcements.
    ProvideWord { key: Vec<u8> },
    /// Stop providing this multihash.
    Withdraw { key: Vec<u8> },
    /// Stop republishing the value under this key of the ggen DHT.
    Unpublish { key: Vec<u8> },
    /// Publish this value under this key of the ggen DHT from now on. Replies once this node serves it.
    Publish { key: Vec<u8>, value: Vec<u8>, kept: oneshot::Sender<()> },
    /// Send to the subscribers of the packages topic. Of many announcements in a row, only the latest of each subject
    /// is sent. Replies with the number of subscribed peers, or 0 if it could not be sent.
    Announce { subject: Vec<u8>, data: Vec<u8>, reply: oneshot::Sender<usize> },
    /// Report the verdict on a gossip message.
    Judge { gossip: GossipId, verdict: Verdict },
    /// Send a request to a peer, dialling it if necessary.
    Ask { peer: PeerId, protocol: Protocol, data: Vec<u8>, reply: oneshot::Sender<Result<Vec<u8>, AskError>> },
    /// Respond to a request of a peer.
    Answer { protocol: Protocol, reply: Reply, data: Vec<u8> },
    /// Return the connected peers that support a request protocol.
    Speakers { protocol: Protocol, reply: oneshot::Sender<Vec<PeerId>> },
    /// Open a block session.
    OpenSession { events: SessionSender, least_reputation: f64, reply: oneshot::Sender<(SessionId, Vec<PeerId>)> },
    /// Set the block manifest that the wants of a session refer to.
    Describe { session: SessionId, list: ListSource },
    /// Add wants to a session.
    Want { session: SessionId, wants: Vec<BlockWant> },
    /// Remove wants from a session.
    CancelWants { session: SessionId, cids: Vec<Cid> },
    /// Add a peer that may have blocks that the session wants. `named`: the caller named it.
    AddPeer { session: SessionId, peer: PeerId, named: bool },
    /// End a session.
    CloseSession { session: SessionId },
    /// Apply an access policy to a peer from now on.
    Treat { peer: PeerId, access_policy: AccessPolicy },
    /// Query whether a connected peer has all of these blocks.
    Question { peer: PeerId, cids: Vec<Cid>, reply: oneshot::Sender<bool> },
    /// Announce blocks that something else than a session has stored.
    NewBlocks { cids: Vec<Cid> },
    /// Reply once everything published so far was announced, with success or without.
    Settle { reply: oneshot::Sender<()> },
    /// Return the state of the node.
    Snapshot { reply: oneshot::Sender<Snapshot> },
    /// Reply once a peer is connected.
    Meet { reply: oneshot::Sender<()> },
    /// Reply once a peer of the ggen DHT is known.
    Acquaint { reply: oneshot::Sender<()> },
    /// Close all connections and end.
    Shutdown,
}

/// A provider that a lookup found, and the outcome of dialling it.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) peer: PeerId,
    pub(crate) outcome: Result<(), DialFailed>,
}

/// Why a dial failed that led to the node which dialled.
pub(crate) const ITSELF: &str = "that is this node itself";

/// A connection that did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct DialFailed {
    pub(crate) reason: String,
    pub(crate) cause: DialCause,
}

impl DialFailed {
    pub(crate) fn for_reason(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cause: DialCause::Other }
    }
}

/// Why a dial failed, as far as it matters to what the user can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialCause {
    /// The user has denied this peer.
    Denied(PeerId),
    /// The address is one of this node.
    Own,
    /// There was no answer in time.
    TimedOut,
    /// The peer has no room for another connection.
    Full,
    /// This node has no room for another connection.
    Limit,
    Other,
}

/// A value found on the ggen DHT.
#[derive(Clone, Debug)]
pub(crate) struct FoundRecord {
    pub(crate) value: Vec<u8>,
    /// The peer that returned it; `None` for the local store.
    pub(crate) from: Option<PeerId>,
}

/// How many peers a lookup on the DHT has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Peers asked.
    pub(crate) asked: usize,
    /// Peers that have answered.
    pub(crate) answered: usize,
}

/// The values under a key, as they are found.
#[derive(Debug)]
pub(crate) struct FindingRecord {
    values: mpsc::Receiver<FoundRecord>,
    ended: oneshot::Receiver<Walked>,
}

impl FindingRecord {
    pub(crate) fn new(values: mpsc::Receiver<FoundRecord>, ended: oneshot::Receiver<Walked>) -> Self {
        Self { values, ended }
    }

    /// The next value; none when the walk is over. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<FoundRecord> {
        self.values.recv().await
    }

    /// Who was asked, once the walk is over.
    pub(crate) fn walked(&mut self) -> Option<Walked> {
        self.ended.try_recv().ok()
    }
}

/// A gossip message that waits for its verdict.
#[derive(Clone, Debug)]
pub(crate) struct GossipId {
    pub(crate) message: MessageId,
    pub(crate) from: PeerId,
}

/// A gossip message. It is forwarded only after validation.
#[derive(Clone, Debug)]
pub(crate) struct Gossip {
    pub(crate) id: GossipId,
    /// The peer that claims to have sent it first, and signed it.
    pub(crate) source: Option<PeerId>,
    pub(crate) data: Vec<u8>,
}

/// The result of validating a gossip message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forward it.
    Accept,
    /// Drop it, without effect on the score of its sender.
    Ignore,
    /// Drop it, and lower the score of the peer that forwarded it.
    Reject,
}

/// The state of a node at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) listen_addresses: Vec<Multiaddr>,
    pub(crate) external_addresses: Vec<Multiaddr>,
    pub(crate) connected: Vec<PeerId>,
    /// Peers that are subscribed to the packages topic.
    pub(crate) followers: usize,
    pub(crate) ggen_routing_peers: usize,
    /// Peers in the routing table of the IPFS DHT.
    pub(crate) ipfs_routing_peers: usize,
    /// Peers in the routing table of the local network's IPFS DHT.
    pub(crate) lan_routing_peers: usize,
    /// Whether any peer has dialled this node since its start.
    pub(crate) was_visited: bool,
    /// Whether peers on the internet can reach this node, as far as known.
    pub(crate) nat: Nat,
    pub(crate) serves_ggen_dht: bool,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Lookups of records or providers since the start, counted per DHT.
    pub(crate) dht_walks: u64,
}
