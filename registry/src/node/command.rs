//! What the owner of the swarm can be asked, and what it answers.

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

/// One request to the swarm's owner.
#[derive(Debug)]
pub(crate) enum Command {
    /// Listen on addresses; answers where, once each listener has named an address.
    Listen { addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<Vec<Multiaddr>, StartError>> },
    /// Follow the packages topic.
    Follow { reply: oneshot::Sender<Result<(), StartError>> },
    /// Look the peers nearest to this one up on both DHTs; the channel closes when both lookups have ended.
    Explore { done: mpsc::Sender<Infallible> },
    /// Dial a peer, or whoever answers at an address, and wait until it has said what it supports.
    Connect { target: Target, reply: oneshot::Sender<Result<PeerId, DialFailed>> },
    /// Look for providers on both DHTs, dialling those found; it ends when both lookups have, or when the receiver
    /// is gone.
    FindProviders { key: Vec<u8>, found: mpsc::Sender<PeerId> },
    /// As `FindProviders`, and tell what came of dialling each.
    TryProviders { key: Vec<u8>, tried: mpsc::Sender<Tried> },
    /// Look a value up on the ggen DHT; it ends when the lookup has, or when the receiver is gone.
    FindRecord { key: Vec<u8>, found: mpsc::Sender<FoundRecord>, ended: oneshot::Sender<Walked> },
    /// Look for providers on one DHT, as above.
    FindProvidersOn { dht: Dht, key: Vec<u8>, found: mpsc::Sender<PeerId> },
    /// Provide the DAG under this multihash on both DHTs, from now on.
    Provide { key: Vec<u8> },
    /// Stand under this multihash as one who knows of it, on the ggen DHT, from now on and when there is nothing more
    /// urgent.
    ProvideWord { key: Vec<u8> },
    /// Provide it no longer.
    Withdraw { key: Vec<u8> },
    /// Keep the value under this key in the ggen DHT no longer.
    Unpublish { key: Vec<u8> },
    /// Keep this value under this key in the ggen DHT, from now on. Answers when this node gives it to whoever asks.
    Publish { key: Vec<u8>, value: Vec<u8>, kept: oneshot::Sender<()> },
    /// Send to all who follow the packages topic, soon: where many come in a row, only the latest of a subject. Answers
    /// how many peers follow.
    Announce { subject: Vec<u8>, data: Vec<u8>, reply: oneshot::Sender<usize> },
    /// Say what a gossip message was worth.
    Judge { gossip: GossipId, verdict: Verdict },
    /// Ask a peer, dialling it if need be.
    Ask { peer: PeerId, protocol: Protocol, data: Vec<u8>, reply: oneshot::Sender<Result<Vec<u8>, AskError>> },
    /// Answer a peer that asked.
    Answer { protocol: Protocol, reply: Reply, data: Vec<u8> },
    /// Name the connected peers that can be asked.
    Speakers { protocol: Protocol, reply: oneshot::Sender<Vec<PeerId>> },
    /// Open a block session.
    OpenSession { events: SessionSender, least_reputation: f64, reply: oneshot::Sender<(SessionId, Vec<PeerId>)> },
    /// Name the list that wants of a session have places in.
    Describe { session: SessionId, list: ListSource },
    /// Want blocks in a session.
    Want { session: SessionId, wants: Vec<BlockWant> },
    /// Want blocks no longer.
    CancelWants { session: SessionId, cids: Vec<Cid> },
    /// A peer may have what a session wants; `named` by the caller as one that has it.
    AddPeer { session: SessionId, peer: PeerId, named: bool },
    /// End a session.
    CloseSession { session: SessionId },
    /// Treat a peer so from now on.
    Treat { peer: PeerId, access_policy: AccessPolicy },
    /// Ask a connected peer whether it has all of these blocks.
    Question { peer: PeerId, cids: Vec<Cid>, reply: oneshot::Sender<bool> },
    /// Blocks have come into the store by other ways than a session.
    NewBlocks { cids: Vec<Cid> },
    /// Answer once everything published so far was announced, with success or without.
    Settle { reply: oneshot::Sender<()> },
    /// Describe the node.
    Snapshot { reply: oneshot::Sender<Snapshot> },
    /// Answer once a peer is connected.
    Meet { reply: oneshot::Sender<()> },
    /// Answer once a peer of the ggen DHT is known.
    Acquaint { reply: oneshot::Sender<()> },
    /// Close all connections and end.
    Shutdown,
}

/// A provider that was found, and what came of dialling it.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) peer: PeerId,
    pub(crate) outcome: Result<(), DialFailed>,
}

/// A connection that did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DialFailed(pub(crate) String);

/// A value found on the ggen DHT.
#[derive(Clone, Debug)]
pub(crate) struct FoundRecord {
    pub(crate) value: Vec<u8>,
    /// Who gave it; `None` if it was kept here.
    pub(crate) from: Option<PeerId>,
}

/// Who was asked in a walk through the DHT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Peers asked.
    pub(crate) asked: usize,
    /// Those of them that have answered.
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

/// A gossip message: forwarded only once it is judged.
#[derive(Clone, Debug)]
pub(crate) struct Gossip {
    pub(crate) id: GossipId,
    /// The peer that says to have sent it first, and signed it.
    pub(crate) source: Option<PeerId>,
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
    /// Peers that follow the packages topic.
    pub(crate) followers: usize,
    pub(crate) ggen_routing_peers: usize,
    /// Peers in the routing table of the IPFS DHT.
    pub(crate) ipfs_routing_peers: usize,
    /// Peers in the routing table of the local network's IPFS DHT.
    pub(crate) lan_routing_peers: usize,
    /// Somebody has connected to us since the start.
    pub(crate) was_visited: bool,
    /// What is known of the way from the internet to us.
    pub(crate) nat: Nat,
    pub(crate) serves_ggen_dht: bool,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Walks through a DHT for a record or for providers, since the start.
    pub(crate) dht_walks: u64,
}
