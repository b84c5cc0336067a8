//! The network behind a small handle: wait for peers, look up, provide, announce, fetch blocks. It knows nothing of
//! packages: keys, topics and records are bytes at this level.
//!
//! *Invariants*: one task owns the swarm; every other task holds a handle and talks to it through bounded queues.
//! Everything a peer sends is bounded and checked, and an offence can cost the peer its connection.

mod behaviour;
mod command;
mod connections;
mod dht;
mod discovery;
pub mod exchange;
mod gossip;
mod handle;
mod peer_observation;
mod rpc;
mod swarm;
mod transport;

use std::sync::Arc;

use ggen_blockstore::{Blockstore, Cid, Multihash, RAW};
use libp2p::{Multiaddr, PeerId, gossipsub, identity::Keypair};
use tokio::{sync::mpsc, task::JoinHandle};

pub(crate) use behaviour::AGENT;
pub(crate) use command::{
    DialCause, DialFailed, FindingRecord, FoundRecord, Gossip, GossipId, ITSELF, Snapshot, Verdict, Walked,
};
pub(crate) use dht::validator::{RecordValidator, Refused};
pub(crate) use discovery::addresses::Nat;
pub(crate) use exchange::handle::Session;
pub(crate) use exchange::{
    BlockWant, DropReason, ListSource, MAX_PRESENCE_QUERY_CIDS, Offence, Place, Prior, Priors, SessionEvent,
};
pub(crate) use handle::{Handle, Stopped};
pub(crate) use peer_observation::{AccessPolicy, PeerObservation};
pub(crate) use rpc::{AskError, Asked, Met, Protocol};

use crate::Config;

/// Capacity of the queue of gossip messages that wait for validation.
const GOSSIP_QUEUE: usize = 256;
/// Capacity of the queue of observations; observations that do not fit are dropped.
const OBSERVATION_QUEUE: usize = 4096;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A transport could not be set up.
    #[error("cannot set up the network transports: {0}")]
    Transport(String),
    /// Gossip could not be set up.
    #[error("cannot set up gossip: {0}")]
    Gossip(String),
    /// Local discovery could not be set up.
    #[error("cannot set up discovery on the local network")]
    Mdns(#[source] std::io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`: {reason}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// The reason, as the operating system or libp2p reports it.
        reason: String,
    },
    /// The node had stopped when it was asked to listen or subscribe.
    #[error("the node has stopped")]
    Stopped,
}

/// What a node needs to start.
pub(crate) struct Setup {
    pub(crate) key: Keypair,
    pub(crate) config: Config,
    /// Addresses to listen on; empty for a node that only dials out.
    pub(crate) listen: Vec<Multiaddr>,
    /// Subscribe to the packages topic from the start.
    pub(crate) follow: bool,
    /// Whether the node serves requests of peers; a node that lives for one command does not.
    pub(crate) stays: bool,
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) policy: Arc<dyn RecordValidator>,
    pub(crate) priors: Arc<dyn Priors>,
    /// Peers with another access policy than [`AccessPolicy::Usual`].
    pub(crate) access_policies: Vec<(PeerId, AccessPolicy)>,
}

/// The CID under which the nodes of the network `topic` provide themselves on the IPFS DHT, and find each other. Any IPFS
/// node can look its providers up.
pub fn rendezvous_cid(topic: &str) -> Cid {
    let hash = Multihash::from_bytes(&discovery::rendezvous::key(topic)).expect("it is a sha2-256 multihash");
    Cid::new_v1(RAW, hash)
}

/// A running node, with the queues that it fills.
pub(crate) struct Started {
    pub(crate) handle: Handle,
    /// Gossip messages that wait for a verdict.
    pub(crate) gossip: mpsc::Receiver<Gossip>,
    /// Observations of peers.
    pub(crate) observations: mpsc::Receiver<PeerObservation>,
    /// Requests of peers that wait for a response.
    pub(crate) asked: mpsc::Receiver<Asked>,
    /// Peers that support a request protocol, sent when a peer is identified.
    pub(crate) met: mpsc::Receiver<Met>,
    /// Ends when the node has stopped.
    pub(crate) task: JoinHandle<()>,
    /// The addresses of all listeners.
    pub(crate) listening: Vec<Multiaddr>,
}

/// Starts a node. Returns once each listener has reported an address, or after a time limit.
pub(crate) async fn start(setup: Setup) -> Result<Started, StartError> {
    let peer_id = setup.key.public().to_peer_id();
    let (names, reach) =
        (discovery::dnsaddr::Names::new(&setup.config.dns_servers), discovery::dial_policy::DialPolicy::new());
    let knowledge = behaviour::Knowledge { store: setup.store, priors: setup.priors };
    let mut swarm = behaviour::swarm(setup.key, &setup.config, knowledge, setup.stays, &reach)?;
    for (peer, access_policy) in setup.access_policies {
        swarm.behaviour_mut().connections.treat(peer, access_policy);
    }
    let topic = gossipsub::IdentTopic::new(&setup.config.packages_topic);
    if setup.follow {
        swarm.behaviour_mut().gossip.subscribe(&topic).map_err(|error| StartError::Gossip(error.to_string()))?;
    }
    let listening = swarm::listen(&mut swarm, &setup.listen).await?;
    let (commands, command_queue) = mpsc::channel(handle::COMMAND_QUEUE);
    let (gossip_sender, gossip) = mpsc::channel(GOSSIP_QUEUE);
    let (sighting_sender, observations) = mpsc::channel(OBSERVATION_QUEUE);
    let (asked_sender, asked) = mpsc::channel(rpc::ASKED_QUEUE);
    let (met_sender, met) = mpsc::channel(rpc::MET_QUEUE);
    let driver = swarm::Driver::new(swarm::Parts {
        swarm,
        commands: command_queue,
        gossip: gossip_sender,
        observations: sighting_sender,
        asked: asked_sender,
        met: met_sender,
        topic,
        rendezvous: setup.config.rendezvous.then(|| discovery::rendezvous::key(&setup.config.packages_topic)),
        bootstrap: setup.config.bootstrap_nodes,
        names: names.clone(),
        reach,
        policy: setup.policy,
    });
    let task = tokio::spawn(driver.run());
    Ok(Started { handle: Handle::new(commands, peer_id, names), gossip, observations, asked, met, task, listening })
}
