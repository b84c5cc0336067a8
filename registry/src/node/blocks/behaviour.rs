//! The protocol as a libp2p behaviour: orders in, blocks out; requests of peers are answered.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::Either;
use ggen_blockstore::{Block, Blockstore, Cid};
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

use super::{
    handler::{Handler, Report, ReportKind, ToHandler},
    job::Library,
    list::Lists,
    paths::Atlas,
    receive::{End, Order, OrderId, Over, Receiver, SILENT_FOR},
    serve::{Patience, Server, Share, turn_away},
};
use crate::node::direct::{Dialer, Direct, Directs, Undialled, dialled_at};

/// Streams of peers on which requests come, in all.
const MAX_STREAMS: usize = 512;
/// Peers to which streams are opened before anything is asked of them, and how many to each: as many as have orders at once.
const MAX_PREPARED: usize = 8;
const PREPARED_STREAMS: usize = 2;
/// Streams of ours that wait for the next order, of one connection, and for how long.
const MAX_IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(10);
/// Streams that are being turned away; more are dropped.
const MAX_TURNED_AWAY: usize = 64;
/// Events of transfers that wait for the swarm.
const EVENT_QUEUE: usize = 16;

/// What the swarm's owner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connected peer speaks this protocol, or no more.
    Speaks {
        /// The peer.
        peer: PeerId,
        /// Whether it does.
        speaks: bool,
    },
    /// Blocks came for an order, each verified, in its order.
    Arrived {
        /// Who sent them.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// The peer does not have these blocks of an order.
    Absent {
        /// The peer.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// The blocks.
        cids: Vec<Cid>,
    },
    /// Bytes came, and no whole block yet.
    Progress {
        /// Who sent them.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// How many bytes of blocks they are since the last blocks.
        bytes: u64,
    },
    /// Nothing more comes for an order.
    Ended {
        /// The peer.
        peer: PeerId,
        /// The order.
        id: OrderId,
        /// Why.
        end: End,
    },
    /// Blocks were sent to a peer.
    Served {
        /// The peer.
        peer: PeerId,
        /// How many.
        blocks: u64,
        /// Their bytes.
        bytes: u64,
    },
}

/// What a [`Behaviour`] is made of.
#[derive(Debug)]
pub struct Setup {
    /// Where blocks are read, for peers and for dictionaries.
    pub store: Arc<dyn Blockstore>,
    /// How lists are written.
    pub lists: Arc<dyn Lists>,
    /// Streams that need no multiplexer.
    pub(crate) directs: Directs,
}

/// A stream on which orders are carried out.
#[derive(Debug)]
pub(super) struct Way {
    stream: Either<Stream, Direct>,
    /// As long as one of a peer's ways has it, its connection counts as used.
    _uses: Arc<()>,
}

impl Way {
    fn is_direct(&self) -> bool {
        matches!(self.stream, Either::Right(_))
    }
}

/// What transfers tell the behaviour.
#[derive(Debug)]
pub(super) enum Told {
    /// For the swarm's owner.
    Event(Event),
    /// An order is over; with the stream, if it can be used again.
    Over { peer: PeerId, id: OrderId, end: End, idle: Option<(ConnectionId, Way)> },
    /// The stream that an order was given was closed while it was idle.
    Stale(Box<Order>),
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    speaks: bool,
    /// Where it can be dialled once more for a stream alone.
    address: Option<SocketAddr>,
    /// Streams that are being opened and of which nothing is asked yet.
    preparing: usize,
    /// Streams on which nothing is under way: what was learnt of how much they carry is worth keeping.
    idle: Vec<(Instant, Way)>,
    uses: Arc<()>,
}

impl Connection {
    fn take_idle(&mut self) -> Option<Way> {
        let direct = self.idle.iter().rposition(|(_, way)| way.is_direct());
        let at = direct.or(self.idle.len().checked_sub(1))?;
        Some(self.idle.swap_remove(at).1)
    }
}

#[derive(Debug, Default)]
struct Peer {
    connections: Vec<Connection>,
    speaks: bool,
    share: Share,
    /// What is answered on connections of their own, which do not end with the others by themselves.
    answers: Vec<AbortHandle>,
}

impl Peer {
    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }
}

#[derive(Debug)]
enum Under {
    /// A stream is being opened on this connection.
    Opening(ConnectionId, Box<Order>),
    Receiving(AbortHandle),
}

/// See the module's words.
#[derive(Debug)]
pub struct Behaviour {
    server: Server,
    receiver: Receiver,
    told: mpsc::Receiver<Told>,
    peers: HashMap<PeerId, Peer>,
    orders: HashMap<OrderId, Under>,
    receiving: JoinSet<()>,
    answering: JoinSet<()>,
    turned_away: JoinSet<()>,
    dialer: Dialer,
    dialling: JoinSet<(PeerId, ConnectionId, Result<Direct, Undialled>)>,
    /// Streams of peers who have dialled us for them.
    taken: mpsc::Receiver<(PeerId, Direct)>,
    /// When the streams that wait are looked at.
    tidying: Option<Pin<Box<Sleep>>>,
    actions: VecDeque<ToSwarm<Event, ToHandler>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Serves what the store has, and carries out orders.
    pub fn new(setup: Setup) -> Self {
        let Setup { store, lists, directs: Directs { dialer, taken } } = setup;
        let (sender, told) = mpsc::channel(EVENT_QUEUE);
        let library = Library { store: Arc::clone(&store), lists: Arc::clone(&lists), atlas: Atlas::default() };
        Self {
            server: Server::new(library, Patience::default()),
            receiver: Receiver::new(store, lists, sender, SILENT_FOR),
            told,
            peers: HashMap::new(),
            orders: HashMap::new(),
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

    /// Asks a peer for blocks. What comes of it is told by events, the last of them [`Event::Ended`].
    pub fn order(&mut self, order: Order) {
        let order = Box::new(order);
        let idle = self.peers.get_mut(&order.peer).and_then(|peer| {
            let waiting = |connection: &mut Connection| Some((connection.id, connection.take_idle()?));
            peer.connections.iter_mut().find_map(waiting)
        });
        match idle {
            Some((connection, way)) => self.carry(order, connection, way, true),
            None => self.open(order),
        }
    }

    /// Something will soon be asked of the peers that are connected: streams to some of them are opened, so that the
    /// round trip this takes is over by then.
    pub fn prepare(&mut self) {
        let speaking = self.peers.iter_mut().filter(|(_, peer)| peer.speaks).take(MAX_PREPARED);
        for (peer_id, peer) in speaking {
            let Some(connection) = peer.connections.iter_mut().find(|connection| connection.speaks) else { continue };
            while connection.idle.len() + connection.preparing < PREPARED_STREAMS {
                connection.preparing += 1;
                let (peer_id, id) = (*peer_id, connection.id);
                if let Some(address) = connection.address {
                    let dialing = self.dialer.clone().dial(peer_id, address);
                    self.dialling.spawn(async move { (peer_id, id, dialing.await) });
                    continue;
                }
                let (handler, event) = (NotifyHandler::One(id), ToHandler::Open(None));
                self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
            }
        }
        self.wake();
    }

    fn on_prepared(&mut self, peer_id: PeerId, connection: ConnectionId, stream: Option<Either<Stream, Direct>>) {
        let peer = self.peers.get_mut(&peer_id);
        let Some(known) = peer.and_then(|peer| peer.connection(connection)) else { return };
        known.preparing = known.preparing.saturating_sub(1);
        let uses = Arc::clone(&known.uses);
        if let Some(stream) = stream {
            self.keep(peer_id, connection, Way { stream, _uses: uses });
        }
    }

    fn on_dialled(&mut self, peer_id: PeerId, connection: ConnectionId, dialled: Result<Direct, Undialled>) {
        match dialled {
            Ok(stream) => self.on_prepared(peer_id, connection, Some(Either::Right(stream))),
            Err(error) => {
                tracing::debug!(peer = %peer_id, %error, "blocks share the connection with the rest");
                let peer = self.peers.get_mut(&peer_id);
                let Some(known) = peer.and_then(|peer| peer.connection(connection)) else { return };
                known.address = None;
                let (handler, event) = (NotifyHandler::One(connection), ToHandler::Open(None));
                self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
            }
        }
    }

    fn open(&mut self, order: Box<Order>) {
        let connections = self.peers.get(&order.peer).map_or(&[][..], |peer| &peer.connections);
        match connections.iter().find(|connection| connection.speaks).or_else(|| connections.first()) {
            Some(Connection { id, .. }) => {
                let (peer_id, handler, event) = (order.peer, NotifyHandler::One(*id), ToHandler::Open(Some(order.id)));
                self.orders.insert(order.id, Under::Opening(*id, order));
                self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
            }
            None => self.ended(order.peer, order.id, End::Broken),
        }
        self.wake();
    }

    fn carry(&mut self, order: Box<Order>, connection: ConnectionId, mut way: Way, was_idle: bool) {
        let (receiver, told, id) = (self.receiver.clone(), self.receiver.events.clone(), order.id);
        let task = self.receiving.spawn(async move {
            let over = |end, idle| Told::Over { peer: order.peer, id, end, idle };
            let outcome = match receiver.receive(&order, &mut way.stream).await {
                Over::Unanswered if was_idle => Told::Stale(order),
                Over::Unanswered => over(End::Broken, None),
                Over::Ended { end, again } => over(end, again.then_some((connection, way))),
            };
            if told.send(outcome).await.is_err() {
                tracing::trace!("the node has stopped");
            }
        });
        self.orders.insert(id, Under::Receiving(task));
    }

    /// Wants nothing more of an order. Nothing more is told of it, but for what is on its way to whoever listens.
    pub fn cancel(&mut self, id: OrderId) {
        if let Some(Under::Receiving(task)) = self.orders.remove(&id) {
            task.abort();
        }
    }

    fn ended(&mut self, peer: PeerId, id: OrderId, end: End) {
        self.actions.push_back(ToSwarm::GenerateEvent(Event::Ended { peer, id, end }));
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_closed(&mut self, peer_id: PeerId, connection: ConnectionId) {
        let opening = |(id, under): (&OrderId, &Under)| match under {
            Under::Opening(on, _) if *on == connection => Some(*id),
            _ => None,
        };
        let lost: Vec<_> = self.orders.iter().filter_map(opening).collect();
        for id in lost {
            self.orders.remove(&id);
            self.ended(peer_id, id, End::Broken);
        }
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.connections.retain(|other| other.id != connection);
        if peer.connections.is_empty() {
            // A peer that was refused since is not answered any more.
            peer.answers.iter().for_each(AbortHandle::abort);
            self.peers.remove(&peer_id);
        } else {
            self.tell_speaks(peer_id);
        }
    }

    fn on_speaks(&mut self, peer_id: PeerId, connection: ConnectionId, speaks: bool) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        if let Some(connection) = peer.connection(connection) {
            connection.speaks = speaks;
        }
        self.tell_speaks(peer_id);
    }

    fn tell_speaks(&mut self, peer_id: PeerId) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let speaks = peer.connections.iter().any(|connection| connection.speaks);
        if peer.speaks != speaks {
            peer.speaks = speaks;
            self.actions.push_back(ToSwarm::GenerateEvent(Event::Speaks { peer: peer_id, speaks }));
        }
    }

    fn on_opened(&mut self, id: OrderId, stream: Stream) {
        match self.orders.remove(&id) {
            Some(Under::Opening(connection, order)) => {
                let peer = self.peers.get_mut(&order.peer);
                let Some(known) = peer.and_then(|peer| peer.connection(connection)) else { return };
                let way = Way { stream: Either::Left(stream), _uses: Arc::clone(&known.uses) };
                self.carry(order, connection, way, false);
            }
            // It is not wanted any more: the stream is dropped.
            Some(under @ Under::Receiving(_)) => drop(self.orders.insert(id, under)),
            None => {}
        }
    }

    /// A peer opened a stream. One that is not connected otherwise is nobody's.
    fn on_asked(&mut self, peer_id: PeerId, stream: Either<Stream, Direct>) {
        let is_full = self.answering.len() >= MAX_STREAMS;
        let is_direct = matches!(stream, Either::Right(_));
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let uses: Vec<_> = peer.connections.iter().map(|connection| Arc::clone(&connection.uses)).collect();
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

    fn on_told(&mut self, told: Told) -> Option<Event> {
        match told {
            Told::Event(event) => Some(event),
            Told::Over { peer, id, end, idle } => {
                if let Some((connection, way)) = idle {
                    self.keep(peer, connection, way);
                }
                // Of an order that was cancelled nothing more is of interest.
                self.orders.remove(&id).map(|_| Event::Ended { peer, id, end })
            }
            Told::Stale(order) => {
                if self.orders.remove(&order.id).is_some() {
                    self.open(order);
                }
                None
            }
        }
    }

    fn keep(&mut self, peer: PeerId, connection: ConnectionId, way: Way) {
        let Some(connection) = self.peers.get_mut(&peer).and_then(|peer| peer.connection(connection)) else { return };
        if connection.idle.len() < MAX_IDLE {
            connection.idle.push((Instant::now(), way));
            self.tidying.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + IDLE_FOR)));
        }
    }

    /// Closes the streams that have waited for long: what is open keeps a connection alive.
    fn tidy(&mut self, cx: &mut Context<'_>) {
        while self.tidying.as_mut().is_some_and(|tidying| tidying.as_mut().poll(cx).is_ready()) {
            let now = Instant::now();
            let mut oldest = None::<Instant>;
            for connection in self.peers.values_mut().flat_map(|peer| &mut peer.connections) {
                connection.idle.retain(|(since, _)| *since + IDLE_FOR > now);
                oldest = oldest.into_iter().chain(connection.idle.iter().map(|(since, _)| *since)).min();
            }
            self.tidying = oldest.map(|since| Box::pin(sleep_until(since + IDLE_FOR)));
        }
    }

    /// Of each stream that waits for an order, whether it has a connection of its own.
    #[cfg(test)]
    pub(super) fn idle(&self) -> Vec<bool> {
        let connections = self.peers.values().flat_map(|peer| &peer.connections);
        connections.flat_map(|connection| &connection.idle).map(|(_, way)| way.is_direct()).collect()
    }

    /// How many streams with a connection of their own are answered.
    #[cfg(test)]
    pub(super) fn answered(&self) -> usize {
        self.peers.values().map(|peer| peer.answers.len()).sum()
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
                tracing::error!(%error, "an order failed");
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
                let uses = Arc::new(());
                let (handler, event) = (NotifyHandler::One(connection_id), ToHandler::Uses(Arc::downgrade(&uses)));
                self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
                self.peers.entry(peer_id).or_default().connections.push(Connection {
                    id: connection_id,
                    speaks: false,
                    address,
                    preparing: 0,
                    idle: Vec::new(),
                    uses,
                });
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer_id: PeerId, connection: ConnectionId, Report(report): Report) {
        match report {
            ReportKind::Speaks(speaks) => self.on_speaks(peer_id, connection, speaks),
            ReportKind::Opened(Some(id), stream) => self.on_opened(id, stream),
            ReportKind::Opened(None, stream) => self.on_prepared(peer_id, connection, Some(Either::Left(stream))),
            ReportKind::Failed { order: None, .. } => self.on_prepared(peer_id, connection, None),
            ReportKind::Failed { order: Some(order), unsupported } => {
                if self.orders.remove(&order).is_some() {
                    self.ended(peer_id, order, if unsupported { End::Unsupported } else { End::Broken });
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
        while let Poll::Ready(Some(told)) = self.told.poll_recv(cx) {
            if let Some(event) = self.on_told(told) {
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
