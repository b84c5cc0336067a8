//! Peers whose idle connections stay open.
//!
//! An idle connection closes after a time, unless its peer is protected: it is a bootstrap node, the user named or
//! allowed it, or it subscribes to the same topic. Of the subscribers a few suffice: gossip chooses its mesh among
//! them, and mesh members keep their connections anyway.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse, upgrade::DeniedUpgrade},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, DialFailure,
        FromSwarm, ListenFailure, NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, handler::ConnectionEvent,
    },
};

/// Maximum number of protected subscribers: twice the upper bound of the gossip mesh (12), and some that may leave.
const MAX_FOLLOWERS: usize = 32;
/// Maximum number of protected peers that the user named or that are bootstrap nodes; the oldest are dropped.
const MAX_NAMED: usize = 64;

/// Keeps the connections of protected peers open.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    named: VecDeque<PeerId>,
    exempt: HashSet<PeerId>,
    followers: HashSet<PeerId>,
    /// The connected peers, and whether each is protected.
    connected: HashMap<PeerId, Arc<AtomicBool>>,
}

impl Behaviour {
    /// Protects a peer that the user named, or a bootstrap node.
    pub(crate) fn name(&mut self, peer: PeerId) {
        if self.named.contains(&peer) {
            return;
        }
        if self.named.len() >= MAX_NAMED
            && let Some(former) = self.named.pop_front()
        {
            self.decide(&former);
        }
        self.named.push_back(peer);
        self.decide(&peer);
    }

    /// Protects a peer that the user allowed, or ends that protection.
    pub(crate) fn exempt(&mut self, peer: PeerId, is_exempt: bool) {
        match is_exempt {
            true => self.exempt.insert(peer),
            false => self.exempt.remove(&peer),
        };
        self.decide(&peer);
    }

    /// Protects a connected peer that subscribes to the topic, up to [`MAX_FOLLOWERS`]; ends the protection if it
    /// unsubscribes.
    pub(crate) fn follows(&mut self, peer: PeerId, does: bool) {
        if !does {
            self.followers.remove(&peer);
        } else if self.followers.len() < MAX_FOLLOWERS && self.connected.contains_key(&peer) {
            self.followers.insert(peer);
        }
        self.decide(&peer);
    }

    fn is_kept(&self, peer: &PeerId) -> bool {
        self.named.contains(peer) || self.exempt.contains(peer) || self.followers.contains(peer)
    }

    /// Updates the flag of a peer. The swarm reads it at the next event of the connection, such as a ping.
    fn decide(&self, peer: &PeerId) {
        if let Some(kept) = self.connected.get(peer) {
            kept.store(self.is_kept(peer), Ordering::Relaxed);
        }
    }

    fn handler(&mut self, peer: PeerId) -> Handler {
        let is_kept = self.is_kept(&peer);
        let kept = self.connected.entry(peer).or_default();
        kept.store(is_kept, Ordering::Relaxed);
        Handler { kept: Arc::clone(kept) }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, remaining_established: 0, .. }) => {
                self.connected.remove(&peer_id);
                self.followers.remove(&peer_id);
            }
            // Another behaviour may have denied a connection that had its handler already.
            FromSwarm::ListenFailure(ListenFailure { peer_id: Some(peer), .. })
            | FromSwarm::DialFailure(DialFailure { peer_id: Some(peer), .. }) => self.forget_unless_used(&peer),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

impl Behaviour {
    /// Forgets a peer without a handler.
    fn forget_unless_used(&mut self, peer: &PeerId) {
        if self.connected.get(peer).is_some_and(|kept| Arc::strong_count(kept) == 1) {
            self.connected.remove(peer);
        }
    }
}

/// Keeps one connection open while the flag is set.
#[derive(Debug)]
pub(crate) struct Handler {
    kept: Arc<AtomicBool>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_connection_event(&mut self, _: ConnectionEvent<'_, DeniedUpgrade, DeniedUpgrade>) {}
}
