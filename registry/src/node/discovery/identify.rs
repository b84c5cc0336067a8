//! The identify protocol: peers exchange their addresses, their protocols and their agent version.
//!
//! libp2p's own implementation reads only the first part of a message, and at most 4 KiB of that, so of a peer with
//! many addresses it learns neither protocols nor agent. It signs peer records in a format that only rust-libp2p
//! accepts. In all else this implementation behaves the same.
//!
//! Specification: <https://github.com/libp2p/specs/blob/master/identify/README.md>.

mod handler;
mod message;
mod own;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    identity::Keypair,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, DialError, DialFailure, ExternalAddresses, FromSwarm,
        ListenAddresses, NetworkBehaviour, NotifyHandler, PeerAddresses, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, behaviour::ConnectionEstablished,
    },
};

pub(crate) use self::message::{Error, Info};
use self::{
    handler::{Changed, Handler},
    own::Own,
};
use crate::node::discovery::addresses::split_peer;

/// Number of peers whose addresses are remembered for dials; the least recently used are dropped.
const REMEMBERED_PEERS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");
/// Addresses remembered per peer: as many as [`PeerAddresses`] keeps.
const REMEMBERED_ADDRESSES: usize = 10;

/// The result of identify with a peer.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) peer: PeerId,
    pub(crate) outcome: Result<Info, Error>,
}

/// Identifies every connected peer, and responds to identify requests.
pub(crate) struct Behaviour {
    key: Keypair,
    agent: String,
    own: Arc<Own>,
    listening: ListenAddresses,
    external: ExternalAddresses,
    connections: HashMap<ConnectionId, PeerId>,
    remembered: PeerAddresses,
    events: VecDeque<ToSwarm<Event, Changed>>,
}

impl Behaviour {
    /// Creates the behaviour of the node with this key and agent version.
    pub(crate) fn new(key: Keypair, agent: &str) -> Self {
        Self {
            own: Arc::new(Own::new(&key, agent, Vec::new())),
            key,
            agent: agent.to_owned(),
            listening: ListenAddresses::default(),
            external: ExternalAddresses::default(),
            connections: HashMap::new(),
            remembered: PeerAddresses::new(REMEMBERED_PEERS),
            events: VecDeque::new(),
        }
    }

    fn handler(&self, peer: PeerId, remote: &Multiaddr) -> Handler {
        Handler::new(peer, Arc::clone(&self.own), split_peer(remote.clone()).0)
    }

    /// Signs the new addresses of this node and passes them to all connections. With `push`, they are pushed to every
    /// peer.
    fn on_own_addresses_changed(&mut self, push: bool) {
        let addresses = self.external.iter().chain(self.listening.iter()).cloned().collect();
        self.own = Arc::new(Own::new(&self.key, &self.agent, addresses));
        let mut pushed = HashSet::new();
        for (connection, peer) in &self.connections {
            // One push per peer suffices, even with several connections.
            let event = Changed { own: Arc::clone(&self.own), push: push && pushed.insert(*peer) };
            self.events.push_back(ToSwarm::NotifyHandler {
                peer_id: *peer,
                handler: NotifyHandler::One(*connection),
                event,
            });
        }
    }

    fn forget<'a>(&mut self, peer: &PeerId, failed: impl IntoIterator<Item = &'a Multiaddr>) {
        for address in failed {
            self.remembered.remove(peer, address);
        }
    }

    fn on_dial_failure(&mut self, peer: &PeerId, error: &DialError) {
        match error {
            DialError::Transport(attempts) => self.forget(peer, attempts.iter().map(|(address, _)| address)),
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => self.forget(peer, [address]),
            _ => {}
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.map(|peer| self.remembered.get(&peer).collect()).unwrap_or_default())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, remote))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, address))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let listens_elsewhere = self.listening.on_swarm_event(&event);
        if self.external.on_swarm_event(&event) || listens_elsewhere {
            self.on_own_addresses_changed(listens_elsewhere);
        }
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                failed_addresses,
                ..
            }) => {
                self.connections.insert(connection_id, peer_id);
                self.forget(&peer_id, failed_addresses);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.connections.remove(&connection_id);
            }
            FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), error, .. }) => {
                self.on_dial_failure(&peer, error);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, outcome: THandlerOutEvent<Self>) {
        if let Ok(info) = &outcome {
            for address in info.addresses.iter().take(REMEMBERED_ADDRESSES) {
                self.remembered.add(peer, address.clone());
            }
        }
        self.events.push_back(ToSwarm::GenerateEvent(Event { peer, outcome }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests;
