//! The libp2p behaviour of the bulk protocol: sends requests, reports blocks, and serves the requests of peers.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::future::Either;
use ggen_blockstore::Blockstore;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, ToSwarm,
        behaviour::ConnectionEstablished,
    },
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, Sleep, sleep_until},
};

use crate::node::{
    exchange::bulk::{
        event::{Event, TaskEvent},
        handler::{Handler, Report, ReportKind, ToHandler},
        paths::PathCache,
        receive::{Over, Receiver, SILENT_FOR},
        request::{BulkRequest, BulkRequestId, End},
        response::ResponseContext,
        serve::{Patience, Server, turn_away},
        stream_pool::{IDLE_FOR, Opening, PooledStream, StreamPool},
    },
    transport::direct::{Dialer, Direct, Directs, Undialled, dialled_at},
};

/// Maximum number of inbound streams, of all peers together.
const MAX_STREAMS: usize = 512;
/// Maximum number of streams that are being rejected as busy; further ones are dropped.
const MAX_TURNED_AWAY: usize = 64;
/// Capacity of the queue of events from transfer tasks.
const EVENT_QUEUE: usize = 16;

/// The parts of a [`Behaviour`].
#[derive(Debug)]
pub struct Setup {
    /// The store that blocks and dictionaries are read from.
    pub store: Arc<dyn Blockstore>,
    /// Connections without a multiplexer.
    pub(crate) directs: Directs,
}

#[derive(Debug)]
enum Under {
    /// A stream is being opened on this connection.
    Opening(ConnectionId, Box<BulkRequest>),
    Receiving(AbortHandle),
}

/// Sends and serves bulk requests.
#[derive(Debug)]
pub struct Behaviour {
    server: Server,
    receiver: Receiver,
    task_events: mpsc::Receiver<TaskEvent>,
    pool: StreamPool,
    requests: HashMap<BulkRequestId, Under>,
    receiving: JoinSet<()>,
    answering: JoinSet<()>,
    turned_away: JoinSet<()>,
    dialer: Dialer,
    dialling: JoinSet<(PeerId, ConnectionId, Result<Direct, Undialled>)>,
    /// Inbound direct connections of peers.
    taken: mpsc::Receiver<(PeerId, Direct)>,
    /// When idle streams are checked next.
    tidying: Option<Pin<Box<Sleep>>>,
    actions: VecDeque<ToSwarm<Event, ToHandler>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Creates a behaviour that serves the blocks of the store.
    pub fn new(setup: Setup) -> Self {
        let Setup { store, directs: Directs { dialer, taken } } = setup;
        let (sender, task_events) = mpsc::channel(EVENT_QUEUE);
        let context = ResponseContext { store: Arc::clone(&store), paths: PathCache::default() };
        Self {
            server: Server::new(context, Patience::default()),
            receiver: Receiver::new(store, sender, SILENT_FOR),
            task_events,
            pool: StreamPool::default(),
            requests: HashMap::new(),
            receiving: JoinSet::new(),
            answering: JoinSet::new(),
            turned_away: JoinSet::new(),
            dialer,
            dialling: JoinSet::new(),
            taken,
            tidying: None,
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Sends a request to a peer. Events report its progress, the last of them is [`Event::Ended`].
    pub fn request(&mut self, request: BulkRequest) {
        let request = Box::new(request);
        match self.pool.take_idle(&request.peer) {
            Some((connection, pooled)) => self.carry(request, connection, pooled, true),
            None => self.open(request),
        }
    }

    /// Opens streams to some of the connected peers in advance, because requests will follow soon: this saves them the
    /// round trip.
    pub fn prepare(&mut self) {
        for Opening { peer, connection, address } in self.pool.prepare() {
            match address {
                Some(address) => {
                    let dialing = self.dialer.clone().dial(peer, address);
                    self.dialling.spawn(async move { (peer, connection, dialing.await) });
                }
                None => self.tell(peer, connection, ToHandler::Open(None)),
            }
        }
        self.wake();
    }

    fn tell(&mut self, peer_id: PeerId, connection: ConnectionId, event: ToHandler) {
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
    }

    fn on_prepared(&mut self, peer: PeerId, connection: ConnectionId, stream: Option<Either<Stream, Direct>>) {
        self.pool.on_prepared(&peer, connection);
        if let Some(pooled) = stream.and_then(|stream| self.pool.over(stream, &peer, connection)) {
            self.keep(peer, connection, pooled);
        }
    }

    fn on_dialled(&mut self, peer: PeerId, connection: ConnectionId, dialled: Result<Direct, Undialled>) {
        match dialled {
            Ok(stream) => self.on_prepared(peer, connection, Some(Either::Right(stream))),
            Err(error) => {
                tracing::debug!(%peer, %error, "blocks share the connection with the rest");
                if self.pool.on_undialled(&peer, connection) {
                    self.tell(peer, connection, ToHandler::Open(None));
                }
            }
        }
    }

    fn open(&mut self, request: Box<BulkRequest>) {
        match self.pool.best(&request.peer) {
            Some(connection) => {
                self.tell(request.peer, connection, ToHandler::Open(Some(request.id)));
                self.requests.insert(request.id, Under::Opening(connection, request));
            }
            None => self.ended(request.peer, request.id, End::Broken),
        }
        self.wake();
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
    pub fn cancel(&mut self, id: BulkRequestId) {
        if let Some(Under::Receiving(task)) = self.requests.remove(&id) {
            task.abort();
        }
    }

    fn ended(&mut self, peer: PeerId, id: BulkRequestId, end: End) {
        self.actions.push_back(ToSwarm::GenerateEvent(Event::Ended { peer, id, end }));
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_closed(&mut self, peer_id: PeerId, connection: ConnectionId) {
        let opening = |(id, under): (&BulkRequestId, &Under)| match under {
            Under::Opening(on, _) if *on == connection => Some(*id),
            _ => None,
        };
        let lost: Vec<_> = self.requests.iter().filter_map(opening).collect();
        for id in lost {
            self.requests.remove(&id);
            self.ended(peer_id, id, End::Broken);
        }
        self.pool.on_closed(&peer_id, connection);
        self.tell_news_of(peer_id);
    }

    fn on_supports(&mut self, peer_id: PeerId, connection: ConnectionId, supports: bool) {
        self.pool.on_supports(&peer_id, connection, supports);
        self.tell_news_of(peer_id);
    }

    fn tell_news_of(&mut self, peer: PeerId) {
        if let Some(supports) = self.pool.news_of(&peer) {
            self.actions.push_back(ToSwarm::GenerateEvent(Event::Supports { peer, supports }));
        }
    }

    fn on_opened(&mut self, id: BulkRequestId, stream: Stream) {
        match self.requests.remove(&id) {
            Some(Under::Opening(connection, request)) => {
                match self.pool.over(Either::Left(stream), &request.peer, connection) {
                    Some(pooled) => self.carry(request, connection, pooled, false),
                    None => self.ended(request.peer, id, End::Broken),
                }
            }
            // The request was cancelled, or has a stream: this one is dropped.
            Some(under @ Under::Receiving(_)) => drop(self.requests.insert(id, under)),
            None => {}
        }
    }

    /// Serves a stream that a peer opened, unless the peer has no ordinary connection.
    fn on_asked(&mut self, peer_id: PeerId, stream: Either<Stream, Direct>) {
        let is_full = self.answering.len() >= MAX_STREAMS;
        let is_direct = matches!(stream, Either::Right(_));
        let Some(peer) = self.pool.peer(&peer_id) else { return };
        let uses = peer.uses();
        let permit = Arc::clone(&peer.share.streams).try_acquire_owned();
        let Some(permit) = permit.ok().filter(|_| !is_full) else {
            if self.turned_away.len() < MAX_TURNED_AWAY {
                self.turned_away.spawn(turn_away(stream));
            }
            return;
        };
        let serving = self.server.clone().serve(peer_id, stream, peer.share.clone(), self.receiver.events.clone());
        let answer = self.answering.spawn(async move {
            serving.await;
            drop((permit, uses));
        });
        if is_direct {
            peer.answers.retain(|answer| !answer.is_finished());
            peer.answers.push(answer);
        }
    }

    fn on_task_event(&mut self, event: TaskEvent) -> Option<Event> {
        match event {
            TaskEvent::Event(event) => Some(event),
            TaskEvent::Over { peer, id, end, idle } => {
                if let Some((connection, pooled)) = idle {
                    self.keep(peer, connection, pooled);
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

    fn keep(&mut self, peer: PeerId, connection: ConnectionId, pooled: PooledStream) {
        let now = Instant::now();
        if self.pool.keep(&peer, connection, pooled, now) {
            self.tidying.get_or_insert_with(|| Box::pin(sleep_until(now + IDLE_FOR)));
        }
    }

    /// Closes streams that were idle for long, because an open stream keeps its connection alive.
    fn tidy(&mut self, cx: &mut Context<'_>) {
        while self.tidying.as_mut().is_some_and(|tidying| tidying.as_mut().poll(cx).is_ready()) {
            self.tidying = self.pool.tidy(Instant::now()).map(|at| Box::pin(sleep_until(at)));
        }
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &StreamPool {
        &self.pool
    }

    fn poll_tasks(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.answering.poll_join_next(cx) {
            if let Err(error) = ended
                && !error.is_cancelled()
            {
                tracing::error!(%error, "answering a peer failed");
            }
        }
        while let Poll::Ready(Some(ended)) = self.receiving.poll_join_next(cx) {
            if let Err(error) = ended
                && !error.is_cancelled()
            {
                tracing::error!(%error, "a request failed");
            }
        }
        while let Poll::Ready(Some(_)) = self.turned_away.poll_join_next(cx) {}
        while let Poll::Ready(Some(dialled)) = self.dialling.poll_join_next(cx) {
            match dialled {
                Ok((peer_id, connection, dialled)) => self.on_dialled(peer_id, connection, dialled),
                Err(error) => tracing::error!(%error, "dialling a peer failed"),
            }
        }
        while let Poll::Ready(Some((peer_id, stream))) = self.taken.poll_recv(cx) {
            self.on_asked(peer_id, Either::Right(stream));
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                let address = match endpoint {
                    ConnectedPoint::Dialer { address, .. } => dialled_at(address),
                    ConnectedPoint::Listener { .. } => None,
                };
                let uses = self.pool.on_connected(peer_id, connection_id, address);
                self.tell(peer_id, connection_id, ToHandler::Uses(uses));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer_id: PeerId, connection: ConnectionId, Report(report): Report) {
        match report {
            ReportKind::Supports(supports) => self.on_supports(peer_id, connection, supports),
            ReportKind::Opened(Some(id), stream) => self.on_opened(id, stream),
            ReportKind::Opened(None, stream) => self.on_prepared(peer_id, connection, Some(Either::Left(stream))),
            ReportKind::Failed { request: None, .. } => self.on_prepared(peer_id, connection, None),
            ReportKind::Failed { request: Some(request), unsupported } => {
                if self.requests.remove(&request).is_some() {
                    self.ended(peer_id, request, if unsupported { End::Unsupported } else { End::Broken });
                }
            }
            ReportKind::Asked(stream) => self.on_asked(peer_id, Either::Left(stream)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, ToHandler>> {
        self.poll_tasks(cx);
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        while let Poll::Ready(Some(event)) = self.task_events.poll_recv(cx) {
            if let Some(event) = self.on_task_event(event) {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
        }
        self.tidy(cx);
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
