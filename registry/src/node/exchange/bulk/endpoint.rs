//! This node's end of the bulk protocol with all connected peers: sends requests, reports blocks, and serves the
//! requests of peers.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use ggen_blockstore::Blockstore;
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    swarm::{ConnectionId, Stream},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use crate::node::{
    exchange::bulk::{
        event::{Event, TaskEvent},
        handler::{Report, ReportKind, ToHandler},
        paths::PathCache,
        receive::{Over, Receiver, SILENT_FOR},
        request::{BulkRequest, BulkRequestId, End},
        response::ResponseContext,
        serve::{Patience, Server, turn_away},
        stream_pool::{PoolEvent, PooledStream, StreamPool},
    },
    transport::direct::Directs,
};

/// Maximum number of inbound streams, of all peers together.
const MAX_STREAMS: usize = 512;
/// Maximum number of streams that are being rejected as busy; further ones are dropped.
const MAX_TURNED_AWAY: usize = 64;
/// Capacity of the queue of events from transfer tasks.
const EVENT_QUEUE: usize = 16;

#[derive(Debug)]
enum Under {
    /// A stream is being opened on this connection.
    Opening(ConnectionId, Box<BulkRequest>),
    Receiving(AbortHandle),
}

/// This node's end of the bulk protocol.
#[derive(Debug)]
pub(in crate::node::exchange) struct Endpoint {
    server: Server,
    receiver: Receiver,
    task_events: mpsc::Receiver<TaskEvent>,
    pool: StreamPool,
    requests: HashMap<BulkRequestId, Under>,
    receiving: JoinSet<()>,
    answering: JoinSet<()>,
    turned_away: JoinSet<()>,
    commands: VecDeque<(PeerId, ConnectionId, ToHandler)>,
    events: VecDeque<Event>,
}

impl Endpoint {
    /// Creates an endpoint that serves the blocks of the store. Without `directs` all streams share the connections of
    /// the swarm.
    pub(in crate::node::exchange) fn new(store: Arc<dyn Blockstore>, directs: Option<Directs>) -> Self {
        let (sender, task_events) = mpsc::channel(EVENT_QUEUE);
        let context = ResponseContext { store: Arc::clone(&store), paths: PathCache::default() };
        Self {
            server: Server::new(context, Patience::default()),
            receiver: Receiver::new(store, sender, SILENT_FOR),
            task_events,
            pool: StreamPool::new(directs),
            requests: HashMap::new(),
            receiving: JoinSet::new(),
            answering: JoinSet::new(),
            turned_away: JoinSet::new(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sends a request to a peer. Events report its progress, the last of them is [`Event::Ended`].
    pub(in crate::node::exchange) fn request(&mut self, request: Box<BulkRequest>) {
        match self.pool.connections.take_idle(&request.peer) {
            Some((connection, pooled)) => self.carry(request, connection, pooled, true),
            None => self.open(request),
        }
    }

    /// Opens streams to some of the connected peers in advance, because requests will follow soon: this saves them the
    /// round trip.
    pub(in crate::node::exchange) fn prepare(&mut self) {
        for (peer, connection) in self.pool.prepare() {
            self.commands.push_back((peer, connection, ToHandler::Open(None)));
        }
    }

    fn open(&mut self, request: Box<BulkRequest>) {
        match self.pool.connections.best(&request.peer) {
            Some(connection) => {
                self.commands.push_back((request.peer, connection, ToHandler::Open(Some(request.id))));
                self.requests.insert(request.id, Under::Opening(connection, request));
            }
            None => self.ended(request.peer, request.id, End::Broken),
        }
    }

    fn carry(&mut self, request: Box<BulkRequest>, connection: ConnectionId, mut pooled: PooledStream, was_idle: bool) {
        let (receiver, events, id) = (self.receiver.clone(), self.receiver.events.clone(), request.id);
        let task = self.receiving.spawn(async move {
            let over = |end, idle| TaskEvent::Over { peer: request.peer, id, end, idle };
            let outcome = match receiver.receive(&request, &mut pooled.stream).await {
                Over::Unanswered if was_idle => TaskEvent::Stale(request),
                Over::Unanswered => over(End::Broken, None),
                Over::Ended { end, again } => over(end, again.then_some((connection, pooled))),
            };
            if events.send(outcome).await.is_err() {
                tracing::trace!("the node has stopped");
            }
        });
        self.requests.insert(id, Under::Receiving(task));
    }

    /// Cancels a request. [`Event::Ended`] does not follow; events that are queued already do.
    pub(in crate::node::exchange) fn cancel(&mut self, id: BulkRequestId) {
        if let Some(Under::Receiving(task)) = self.requests.remove(&id) {
            task.abort();
        }
    }

    fn ended(&mut self, peer: PeerId, id: BulkRequestId, end: End) {
        self.events.push_back(Event::Ended { peer, id, end });
    }

    pub(in crate::node::exchange) fn on_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let uses = self.pool.on_connected(peer, connection, endpoint);
        self.commands.push_back((peer, connection, ToHandler::Uses(uses)));
    }

    /// A connection is closed. Requests that wait for a stream on it end.
    pub(in crate::node::exchange) fn on_closed(&mut self, peer_id: PeerId, connection: ConnectionId) {
        let opening = |(id, under): (&BulkRequestId, &Under)| match under {
            Under::Opening(on, _) if *on == connection => Some(*id),
            _ => None,
        };
        let lost: Vec<_> = self.requests.iter().filter_map(opening).collect();
        for id in lost {
            self.requests.remove(&id);
            self.ended(peer_id, id, End::Broken);
        }
        self.pool.connections.on_closed(&peer_id, connection);
        self.tell_news_of(peer_id);
    }

    fn on_supports(&mut self, peer_id: PeerId, connection: ConnectionId, supports: bool) {
        self.pool.connections.on_supports(&peer_id, connection, supports);
        self.tell_news_of(peer_id);
    }

    fn tell_news_of(&mut self, peer: PeerId) {
        if let Some(supports) = self.pool.connections.news_of(&peer) {
            self.events.push_back(Event::Supports { peer, supports });
        }
    }

    fn on_opened(&mut self, id: BulkRequestId, stream: Stream) {
        match self.requests.remove(&id) {
            Some(Under::Opening(connection, request)) => match self.pool.wrap(stream, &request.peer, connection) {
                Some(pooled) => self.carry(request, connection, pooled, false),
                None => self.ended(request.peer, id, End::Broken),
            },
            // The request was cancelled, or has a stream: this one is dropped.
            Some(under @ Under::Receiving(_)) => drop(self.requests.insert(id, under)),
            None => {}
        }
    }

    /// Serves a stream that a peer opened, unless the peer has no ordinary connection.
    fn on_asked<S>(&mut self, peer_id: PeerId, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let is_full = self.answering.len() >= MAX_STREAMS;
        let Some(peer) = self.pool.connections.peer(&peer_id) else { return };
        let uses = peer.uses();
        let permit = Arc::clone(&peer.limits.streams).try_acquire_owned();
        let Some(permit) = permit.ok().filter(|_| !is_full) else {
            if self.turned_away.len() < MAX_TURNED_AWAY {
                self.turned_away.spawn(turn_away(stream));
            }
            return;
        };
        let serving = self.server.clone().serve(peer_id, stream, peer.limits.clone(), self.receiver.events.clone());
        peer.add_answer(self.answering.spawn(async move {
            serving.await;
            drop((permit, uses));
        }));
    }

    fn on_task_event(&mut self, event: TaskEvent) -> Option<Event> {
        match event {
            TaskEvent::Event(event) => Some(event),
            TaskEvent::Over { peer, id, end, idle } => {
                if let Some((connection, pooled)) = idle {
                    self.pool.keep(peer, connection, pooled);
                }
                // A cancelled request reports no end.
                self.requests.remove(&id).map(|_| Event::Ended { peer, id, end })
            }
            TaskEvent::Stale(request) => {
                if self.requests.remove(&request.id).is_some() {
                    self.open(request);
                }
                None
            }
        }
    }

    /// Handles a report of a connection.
    pub(in crate::node::exchange) fn on_report(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        Report(report): Report,
    ) {
        match report {
            ReportKind::Supports(supports) => self.on_supports(peer, connection, supports),
            ReportKind::Opened(Some(id), stream) => self.on_opened(id, stream),
            ReportKind::Opened(None, stream) => self.pool.on_prepared(peer, connection, Some(stream)),
            ReportKind::Failed { request: None, .. } => self.pool.on_prepared(peer, connection, None),
            ReportKind::Failed { request: Some(request), unsupported } => {
                if self.requests.remove(&request).is_some() {
                    self.ended(peer, request, if unsupported { End::Unsupported } else { End::Broken });
                }
            }
            ReportKind::Asked(stream) => self.on_asked(peer, stream),
        }
    }

    /// Returns the next command to a connection.
    pub(in crate::node::exchange) fn next_command(&mut self) -> Option<(PeerId, ConnectionId, ToHandler)> {
        self.commands.pop_front()
    }

    /// Returns the next event. After each call there may be commands.
    pub(in crate::node::exchange) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.reap(cx);
        while let Poll::Ready(event) = self.pool.poll(cx) {
            match event {
                PoolEvent::Open(peer, connection) => {
                    self.commands.push_back((peer, connection, ToHandler::Open(None)));
                }
                PoolEvent::Inbound(peer, stream) => self.on_asked(peer, stream),
            }
        }
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        while let Poll::Ready(Some(event)) = self.task_events.poll_recv(cx) {
            if let Some(event) = self.on_task_event(event) {
                return Poll::Ready(event);
            }
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
        }
        self.pool.tidy(cx);
        Poll::Pending
    }

    /// Removes the tasks that have ended.
    fn reap(&mut self, cx: &mut Context<'_>) {
        for (tasks, what) in [
            (&mut self.answering, "answering a peer"),
            (&mut self.receiving, "a request"),
            (&mut self.turned_away, "rejecting a request"),
        ] {
            while let Poll::Ready(Some(ended)) = tasks.poll_join_next(cx) {
                if let Err(error) = ended
                    && !error.is_cancelled()
                {
                    tracing::error!(%error, "{what} failed");
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn connections(&self) -> &crate::node::exchange::bulk::stream_pool::Connections {
        &self.pool.connections
    }
}
