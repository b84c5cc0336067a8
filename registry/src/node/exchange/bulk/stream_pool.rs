//! The pool of streams to connected peers. A stream is an ordinary one of a connection, or on a short path a
//! [direct connection](crate::node::transport::direct); only this pool distinguishes the two.

mod connections;

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use futures::future::Either;
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    swarm::{ConnectionId, Stream},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Sleep, sleep_until},
};

pub(super) use self::connections::Connections;
use self::connections::Opening;
use crate::node::transport::direct::{Dialer, Direct, Directs, Undialled, dialled_at};

/// A stream that carries out requests.
#[derive(Debug)]
pub(super) struct PooledStream {
    pub(super) stream: Either<Stream, Direct>,
    /// Marks the connection as used while this stream exists.
    _uses: Arc<()>,
}

impl PooledStream {
    fn is_direct(&self) -> bool {
        matches!(self.stream, Either::Right(_))
    }
}

/// Events for the owner of the pool.
#[derive(Debug)]
pub(super) enum PoolEvent {
    /// Open an ordinary stream in advance on this connection.
    Open(PeerId, ConnectionId),
    /// A peer has opened a direct connection to send requests on.
    Inbound(PeerId, Direct),
}

/// The streams to connected peers.
#[derive(Debug)]
pub(super) struct StreamPool {
    pub(super) connections: Connections,
    /// `None` if this node opens no direct connections.
    dialer: Option<Dialer>,
    dialling: JoinSet<(PeerId, ConnectionId, Result<Direct, Undialled>)>,
    /// Direct connections that peers have opened.
    inbound: Option<mpsc::Receiver<(PeerId, Direct)>>,
    /// When idle streams are checked next.
    tidying: Option<Pin<Box<Sleep>>>,
}

impl StreamPool {
    pub(super) fn new(directs: Option<Directs>) -> Self {
        let (dialer, inbound) = directs.map(|Directs { dialer, taken }| (dialer, taken)).unzip();
        Self { connections: Connections::default(), dialer, dialling: JoinSet::new(), inbound, tidying: None }
    }

    /// Adds a connection. Returns its use count for the handler.
    pub(super) fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) -> Weak<()> {
        let address = match endpoint {
            ConnectedPoint::Dialer { address, .. } if self.dialer.is_some() => dialled_at(address),
            ConnectedPoint::Dialer { .. } | ConnectedPoint::Listener { .. } => None,
        };
        self.connections.on_connected(peer, id, address)
    }

    /// Opens streams in advance to some of the peers that support the protocol. Returns the connections on which the
    /// caller must open ordinary ones.
    pub(super) fn prepare(&mut self) -> Vec<(PeerId, ConnectionId)> {
        let mut ordinary = Vec::new();
        for Opening { peer, connection, address } in self.connections.prepare() {
            match self.dialer.clone().zip(address) {
                Some((dialer, address)) => {
                    let dialing = dialer.dial(peer, address);
                    self.dialling.spawn(async move { (peer, connection, dialing.await) });
                }
                None => ordinary.push((peer, connection)),
            }
        }
        ordinary
    }

    /// A stream that was opened in advance is ready, or has failed.
    pub(super) fn on_prepared(&mut self, peer: PeerId, connection: ConnectionId, stream: Option<Stream>) {
        self.add_prepared(peer, connection, stream.map(Either::Left));
    }

    fn add_prepared(&mut self, peer: PeerId, connection: ConnectionId, stream: Option<Either<Stream, Direct>>) {
        self.connections.on_prepared(&peer, connection);
        if let Some((stream, _uses)) = stream.zip(self.connections.uses(&peer, connection)) {
            self.keep(peer, connection, PooledStream { stream, _uses });
        }
    }

    /// Wraps an ordinary stream of a connection. `None` if the connection is closed.
    pub(super) fn wrap(&mut self, stream: Stream, peer: &PeerId, connection: ConnectionId) -> Option<PooledStream> {
        let _uses = self.connections.uses(peer, connection)?;
        Some(PooledStream { stream: Either::Left(stream), _uses })
    }

    /// Returns a stream to the pool, which closes it if there are enough.
    pub(super) fn keep(&mut self, peer: PeerId, connection: ConnectionId, pooled: PooledStream) {
        if let Some(due) = self.connections.keep(&peer, connection, pooled, Instant::now()) {
            self.tidying.get_or_insert_with(|| Box::pin(sleep_until(due)));
        }
    }

    /// Returns the next event.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<PoolEvent> {
        while let Poll::Ready(Some(dialled)) = self.dialling.poll_join_next(cx) {
            match dialled {
                Ok((peer, connection, Ok(stream))) => self.add_prepared(peer, connection, Some(Either::Right(stream))),
                Ok((peer, connection, Err(error))) => {
                    tracing::debug!(%peer, %error, "blocks share the connection with the rest");
                    if self.connections.on_undialled(&peer, connection) {
                        return Poll::Ready(PoolEvent::Open(peer, connection));
                    }
                }
                Err(error) => tracing::error!(%error, "dialling a peer failed"),
            }
        }
        if let Some(inbound) = &mut self.inbound
            && let Poll::Ready(Some((peer, stream))) = inbound.poll_recv(cx)
        {
            return Poll::Ready(PoolEvent::Inbound(peer, stream));
        }
        Poll::Pending
    }

    /// Closes streams that were idle for long, because an open stream keeps its connection alive.
    pub(super) fn tidy(&mut self, cx: &mut Context<'_>) {
        while self.tidying.as_mut().is_some_and(|tidying| tidying.as_mut().poll(cx).is_ready()) {
            self.tidying = self.connections.tidy(Instant::now()).map(|at| Box::pin(sleep_until(at)));
        }
    }
}
