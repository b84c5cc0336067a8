//! The identify protocol: peers exchange their addresses, their protocols and the name of their program.
//!
//! The implementation of libp2p reads one part of a message alone, and of that no more than 4 KiB, so that of a peer with
//! many addresses neither the protocols nor the program are known. Its peer records are signed in a format that only
//! rust-libp2p accepts. Otherwise this one behaves in the same way.
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

/// Peers whose addresses are remembered, so that they can be dialled again; the last ones stay.
const REMEMBERED_PEERS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");
/// Addresses remembered of one of them: as many as [`PeerAddresses`] keeps.
const REMEMBERED_ADDRESSES: usize = 10;

/// A peer has been identified, or could not be.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) peer: PeerId,
    pub(crate) outcome: Result<Info, Error>,
}

/// Identifies every peer that is connected, and answers their requests.
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
    /// For the node with this key, whose program is `agent`.
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

    /// Signs the new addresses of this node and gives them to all connections; with `push` they are sent to every peer.
    fn on_own_addresses_changed(&mut self, push: bool) {
        let addresses = self.external.iter().chain(self.listening.iter()).cloned().collect();
        self.own = Arc::new(Own::new(&self.key, &self.agent, addresses));
        let mut pushed = HashSet::new();
        for (connection, peer) in &self.connections {
            // Of several connections with a peer one is enough.
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
