//! The protocol as a libp2p behaviour: orders in, blocks out; requests of peers are answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use ggen_blockstore::{Block, Blockstore, Cid};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, ToSwarm,
        behaviour::ConnectionEstablished,
    },
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{
    handler::{Handler, Open, Report, ReportKind},
    job::Library,
    list::Lists,
    pace::Pace,
    paths::Atlas,
    receive::{End, Order, OrderId, Receiver, SILENT_FOR},
    serve::{Patience, Server, turn_away},
};

/// Requests that are answered at the same time, in all, and of one peer.
const MAX_ANSWERING: usize = 64;
const MAX_ANSWERING_PER_PEER: usize = 4;
/// Requests that are being turned away; more are dropped.
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
}

#[derive(Debug, Default)]
struct Peer {
    /// Whether it speaks the protocol, by connection.
    connections: Vec<(ConnectionId, bool)>,
    speaks: bool,
    answering: usize,
    pace: Arc<Mutex<Pace>>,
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
    events: mpsc::Receiver<Event>,
    peers: HashMap<PeerId, Peer>,
    orders: HashMap<OrderId, Under>,
    receiving: JoinSet<()>,
    answering: JoinSet<PeerId>,
    turned_away: JoinSet<()>,
    actions: VecDeque<ToSwarm<Event, Open>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Serves what the store has, and carries out orders.
    pub fn new(setup: Setup) -> Self {
        let Setup { store, lists } = setup;
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let library = Library { store: Arc::clone(&store), lists: Arc::clone(&lists), atlas: Atlas::default() };
        Self {
            server: Server::new(library, Patience::default()),
            receiver: Receiver { store, lists, events: sender, silent_for: SILENT_FOR },
            events,
            peers: HashMap::new(),
            orders: HashMap::new(),
            receiving: JoinSet::new(),
            answering: JoinSet::new(),
            turned_away: JoinSet::new(),
            actions: VecDeque::new(),
            waker: None,
        }
    }

    /// Asks a peer for blocks. What comes of it is told by events, the last of them [`Event::Ended`].
    pub fn order(&mut self, order: Order) {
        let connection = self.peers.get(&order.peer).and_then(|peer| peer.connections.first());
        match connection {
            Some((connection, _)) => {
                let (peer_id, handler, event) = (order.peer, NotifyHandler::One(*connection), Open(order.id));
                self.orders.insert(order.id, Under::Opening(*connection, Box::new(order)));
                self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
            }
            None => self.ended(order.peer, order.id, End::Broken),
        }
        self.wake();
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
        peer.connections.retain(|(other, _)| *other != connection);
        if peer.connections.is_empty() {
            self.peers.remove(&peer_id);
        } else {
            self.tell_speaks(peer_id);
        }
    }

    fn on_speaks(&mut self, peer_id: PeerId, connection: ConnectionId, speaks: bool) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.connections.iter_mut().filter(|(other, _)| *other == connection).for_each(|(_, known)| *known = speaks);
        self.tell_speaks(peer_id);
    }

    fn tell_speaks(&mut self, peer_id: PeerId) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let speaks = peer.connections.iter().any(|(_, speaks)| *speaks);
        if peer.speaks != speaks {
            peer.speaks = speaks;
            self.actions.push_back(ToSwarm::GenerateEvent(Event::Speaks { peer: peer_id, speaks }));
        }
    }

    fn on_opened(&mut self, id: OrderId, stream: Stream) {
        match self.orders.remove(&id) {
            Some(Under::Opening(_, order)) => {
                let task = self.receiving.spawn(self.receiver.clone().receive(*order, stream));
                self.orders.insert(id, Under::Receiving(task));
            }
            // It is not wanted any more: the stream is dropped.
            Some(under @ Under::Receiving(_)) => drop(self.orders.insert(id, under)),
            None => {}
        }
    }

    fn on_asked(&mut self, peer_id: PeerId, stream: Stream) {
        let is_full = self.answering.len() >= MAX_ANSWERING;
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        if is_full || peer.answering >= MAX_ANSWERING_PER_PEER {
            if self.turned_away.len() < MAX_TURNED_AWAY {
                self.turned_away.spawn(turn_away(stream));
            }
            return;
        }
        peer.answering += 1;
        let serving = self.server.clone().serve(peer_id, stream, Arc::clone(&peer.pace), self.receiver.events.clone());
        self.answering.spawn(async move {
            serving.await;
            peer_id
        });
    }

    fn poll_tasks(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.answering.poll_join_next(cx) {
            match ended {
                Ok(peer_id) => {
                    if let Some(peer) = self.peers.get_mut(&peer_id) {
                        peer.answering = peer.answering.saturating_sub(1);
                    }
                }
                Err(error) => tracing::error!(%error, "answering a peer failed"),
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
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.peers.entry(peer_id).or_default().connections.push((connection_id, false));
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
            ReportKind::Opened(id, stream) => self.on_opened(id, stream),
            ReportKind::Failed { order, unsupported } => {
                if self.orders.remove(&order).is_some() {
                    self.ended(peer_id, order, if unsupported { End::Unsupported } else { End::Broken });
                }
            }
            ReportKind::Asked(stream) => self.on_asked(peer_id, stream),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, Open>> {
        self.poll_tasks(cx);
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        while let Poll::Ready(Some(event)) = self.events.poll_recv(cx) {
            match &event {
                // Of an order that was cancelled nothing more is of interest but its blocks.
                Event::Ended { id, .. } if self.orders.remove(id).is_none() => {}
                _ => return Poll::Ready(ToSwarm::GenerateEvent(event)),
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
