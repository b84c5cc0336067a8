//! Which open streams keep a connection alive: none on which both sides wait.
//!
//! The swarm closes an idle connection after a time, and every open stream counts as use. Two protocols keep idle
//! streams open: gossip has one per direction for as long as the connection lives, and go-libp2p's Kademlia reuses the
//! stream of a request for the next one. With them no connection is ever idle. [`IdleStreams`] excludes such streams
//! from the count. Connections of the gossip mesh stay open, because gossip itself keeps them alive.

use std::{
    cell::Cell,
    convert::Infallible,
    ops::{Deref, DerefMut},
    task::{Context, Poll},
};

use asynchronous_codec::Framed;
use futures::future::Either;
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound, InboundUpgradeSend, OutboundUpgradeSend,
        },
    },
};

/// Which streams of a protocol may be idle without keeping the connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// All of them, and data on them does not keep the connection alive either.
    Always,
    /// Inbound ones. A request on one of them counts as use, and so does every outbound stream.
    ForRequests,
}

/// A behaviour whose idle streams do not keep a connection alive.
pub(crate) struct IdleStreams<B> {
    inner: B,
    waits: Waits,
}

impl<B> IdleStreams<B> {
    /// For a protocol whose streams live as long as the connection, and which itself keeps the connections it needs.
    pub(crate) fn always(inner: B) -> Self {
        Self { inner, waits: Waits::Always }
    }

    /// For a request protocol in which a peer sends several requests on one stream.
    pub(crate) fn between_requests(inner: B) -> Self {
        Self { inner, waits: Waits::ForRequests }
    }
}

impl<B> Deref for IdleStreams<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for IdleStreams<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

/// The handler of [`IdleStreams`].
pub(crate) struct Handler<H> {
    inner: H,
    waits: Waits,
    /// A request arrived since the swarm last called `connection_keep_alive`.
    was_used: Cell<bool>,
}

/// The negotiated form of a stream.
pub(crate) trait Negotiated {
    /// Excludes the stream from the swarm's count.
    fn ignore(&mut self);
}

impl<C> Negotiated for Framed<Stream, C> {
    fn ignore(&mut self) {
        self.ignore_for_keep_alive();
    }
}

impl<S: Negotiated, T> Negotiated for (S, T) {
    fn ignore(&mut self) {
        self.0.ignore();
    }
}

impl<L: Negotiated, R: Negotiated> Negotiated for Either<L, R> {
    fn ignore(&mut self) {
        match self {
            Self::Left(stream) => stream.ignore(),
            Self::Right(stream) => stream.ignore(),
        }
    }
}

impl Negotiated for Infallible {
    fn ignore(&mut self) {
        match *self {}
    }
}

impl<H> ConnectionHandler for Handler<H>
where
    H: ConnectionHandler,
    <H::InboundProtocol as InboundUpgradeSend>::Output: Negotiated,
    <H::OutboundProtocol as OutboundUpgradeSend>::Output: Negotiated,
{
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    /// Returns true once after each use, which restarts the swarm's idle timeout.
    fn connection_keep_alive(&self) -> bool {
        self.was_used.take() || self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        let event = self.inner.poll(cx);
        if let Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(_)) = event {
            self.was_used.set(self.waits == Waits::ForRequests);
        }
        event
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_connection_event(
        &mut self,
        mut event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match &mut event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => protocol.ignore(),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. })
                if self.waits == Waits::Always =>
            {
                protocol.ignore();
            }
            _ => {}
        }
        self.inner.on_connection_event(event);
    }
}

impl<B> NetworkBehaviour for IdleStreams<B>
where
    B: NetworkBehaviour,
    <<THandler<B> as ConnectionHandler>::InboundProtocol as InboundUpgradeSend>::Output: Negotiated,
    <<THandler<B> as ConnectionHandler>::OutboundProtocol as OutboundUpgradeSend>::Output: Negotiated,
{
    type ConnectionHandler = Handler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(Handler { inner, waits: self.waits, was_used: Cell::default() })
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(Handler { inner, waits: self.waits, was_used: Cell::default() })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}
