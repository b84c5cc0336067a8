//! The network behind a small handle: ready, find, provide, announce, fetch blocks. Never sees packages: keys, topics
//! and records are bytes here.
//!
//! *Invariants*: one task owns the swarm; everybody else holds a handle and talks to it through bounded
//! queues. What a peer sends is bounded, checked and can cost it its connection.

mod addresses;
mod admission;
mod behaviour;
pub mod bitswap;
mod command;
mod handle;
mod pending;
mod records;
mod republish;
mod session;
mod swarm;

use std::sync::Arc;

use ggen_blockstore::Blockstore;
use libp2p::{Multiaddr, gossipsub, identity::Keypair};
use tokio::{sync::mpsc, task::JoinHandle};

pub(crate) use admission::RecordPolicy;
pub(crate) use behaviour::AGENT;
pub(crate) use bitswap::SessionEvent;
pub(crate) use command::{Gossip, Verdict};
pub(crate) use handle::{Handle, Stopped};
pub(crate) use session::Session;

use crate::Config;

/// Gossip messages that wait to be judged.
const GOSSIP_QUEUE: usize = 256;

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
        /// The system's answer.
        reason: String,
    },
}

/// What a node needs to start.
pub(crate) struct Setup {
    pub(crate) key: Keypair,
    pub(crate) config: Config,
    /// Addresses to listen on; empty for a node that only dials out.
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) policy: Arc<dyn RecordPolicy>,
}

/// A node that was started.
pub(crate) struct Started {
    pub(crate) handle: Handle,
    /// Gossip that waits for a verdict.
    pub(crate) gossip: mpsc::Receiver<Gossip>,
    /// Ends when the node has stopped.
    pub(crate) task: JoinHandle<()>,
    /// Where it listens.
    pub(crate) listening: Vec<Multiaddr>,
}

/// Starts a node; returns once it listens on every address it was given.
pub(crate) async fn start(setup: Setup) -> Result<Started, StartError> {
    let peer_id = setup.key.public().to_peer_id();
    let mut swarm = behaviour::swarm(setup.key, &setup.config, setup.store)?;
    let topic = gossipsub::IdentTopic::new(&setup.config.packages_topic);
    swarm.behaviour_mut().gossip.subscribe(&topic).map_err(|error| StartError::Gossip(error.to_string()))?;
    let listening = swarm::listen(&mut swarm, &setup.listen).await?;
    let (commands, command_queue) = mpsc::channel(handle::COMMAND_QUEUE);
    let (gossip_sender, gossip) = mpsc::channel(GOSSIP_QUEUE);
    let driver = swarm::Driver::new(swarm::Parts {
        swarm,
        commands: command_queue,
        gossip: gossip_sender,
        topic,
        bootstrap: setup.config.bootstrap_nodes,
        policy: setup.policy,
    });
    let task = tokio::spawn(driver.run());
    Ok(Started { handle: Handle::new(commands, peer_id), gossip, task, listening })
}
