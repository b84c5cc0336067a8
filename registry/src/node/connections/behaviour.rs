//! The connection manager as a libp2p behaviour: feeds the pure state machines and carries out their actions.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm, ListenFailure,
        NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    handler::{Handler, Report, SayFull},
    marks::Marks,
    reentry::Reentry,
    room::{Action, Connection, Event as RoomEvent, Room},
    source::Source,
    standing::{Needed, Standing},
};
use crate::node::peer_observation::AccessPolicy;

/// How often connections are trimmed, and more peers looked for.
const TICK: Duration = Duration::from_secs(2);

/// Why a connection was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The user denies the peer.
    #[error("the peer is on this home's list of denied peers")]
    Denied,
    /// Too many dials are under way.
    #[error("this node is dialling {limit} peers already, which is its `limits.connections`")]
    Dialling { limit: usize },
    /// The limits have no room for it.
    #[error("this node is full: `limits.connections` is {limit}, and no connection makes room")]
    Full { limit: usize },
}

/// What the driver must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A peer has turned this node away, and will close the connection.
    TurnedAway(PeerId),
    /// This node has few peers: dial others.
    Seek,
    /// Some time has passed: report which peers the protocols [need](Behaviour::need).
    Review,
}

/// Decides which connections a node has.
#[derive(Debug)]
pub(crate) struct Behaviour {
    marks: Marks,
    denied: HashSet<PeerId>,
    /// Dials under way, those of exempt peers not counted.
    dialling: HashSet<ConnectionId>,
    standing: Standing,
    room: Room,
    reentry: Reentry,
    /// For each peer with a handler, whether its connections stay open without use.
    stays: HashMap<PeerId, Arc<AtomicBool>>,
    queue: VecDeque<ToSwarm<Event, SayFull>>,
    tick: Option<Pin<Box<tokio::time::Interval>>>,
}

impl Behaviour {
    pub(crate) fn new(marks: Marks) -> Self {
        Self {
            marks,
            denied: HashSet::new(),
            dialling: HashSet::new(),
            standing: Standing::new(marks),
            room: Room::new(marks),
            reentry: Reentry::new(marks.wanted),
            stays: HashMap::new(),
            queue: VecDeque::new(),
            tick: None,
        }
    }

    /// Applies an access policy to a peer from now on.
    pub(crate) fn treat(&mut self, peer: PeerId, access_policy: AccessPolicy) {
        if access_policy == AccessPolicy::Refused {
            if self.denied.insert(peer) {
                self.queue.push_back(ToSwarm::CloseConnection { peer_id: peer, connection: CloseConnection::All });
            }
        } else {
            self.denied.remove(&peer);
        }
        self.standing.exempt(peer, access_policy == AccessPolicy::Exempt);
        self.decide(&peer);
    }

    /// Whether the user denies a peer.
    pub(crate) fn is_denied(&self, peer: &PeerId) -> bool {
        self.denied.contains(peer)
    }

    /// Protects a peer that the user named, or a bootstrap node.
    pub(crate) fn name(&mut self, peer: PeerId) {
        if let Some(former) = self.standing.name(peer) {
            self.decide(&former);
        }
        self.decide(&peer);
    }

    /// Notes whether a connected peer subscribes to the packages topic.
    pub(crate) fn follows(&mut self, peer: PeerId, does: bool) {
        if self.stays.contains_key(&peer) {
            self.standing.follows(peer, does);
            self.decide(&peer);
        }
    }

    /// Notes that a connected peer was of use, or made use of this node.
    pub(crate) fn used(&mut self, peer: PeerId, now: Instant) {
        if self.stays.contains_key(&peer) {
            self.standing.used(peer, now);
        }
    }

    /// Replaces the peers that the protocols need.
    pub(crate) fn need(&mut self, needed: Needed) {
        self.standing.need(needed);
    }

    /// Whether a bootstrap node need not be dialled: it is full, and this node has enough other peers.
    pub(crate) fn passes_over(&self, peer: &PeerId, now: Instant) -> bool {
        self.reentry.passes_over(peer, self.room.peers(), now)
    }

    /// Updates the flag of a peer. The swarm reads it at the next event of the connection, such as a ping.
    fn decide(&self, peer: &PeerId) {
        if let Some(stays) = self.stays.get(peer) {
            stays.store(self.standing.stays_idle(peer), Ordering::Relaxed);
        }
    }

    fn establish(&mut self, connection: Connection) -> Result<Handler, ConnectionDenied> {
        let Connection { id, peer, .. } = connection;
        if self.denied.contains(&peer) {
            return Err(ConnectionDenied::new(Refusal::Denied));
        }
        let mut must_say = false;
        for action in self.room.on(RoomEvent::Established(connection), &self.standing, Instant::now()) {
            match action {
                Action::Close(_, closed) if closed == id => return Err(self.full()),
                // The node's own dials learn it here, and their peers need no message.
                Action::TurnAway(_, turned) if turned == id && !connection.is_inbound => return Err(self.full()),
                Action::TurnAway(_, turned) if turned == id => must_say = true,
                action => self.carry_out(action),
            }
        }
        let stays = self.stays.entry(peer).or_default();
        stays.store(self.standing.stays_idle(&peer), Ordering::Relaxed);
        Ok(Handler::new(Arc::clone(stays), must_say))
    }

    fn full(&self) -> ConnectionDenied {
        ConnectionDenied::new(Refusal::Full { limit: self.marks.most })
    }

    fn carry_out(&mut self, action: Action) {
        self.queue.push_back(match action {
            Action::TurnAway(peer_id, id) => {
                tracing::debug!(target: crate::LOG_TARGET, peer = %peer_id, "a connection is trimmed");
                ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(id), event: SayFull }
            }
            Action::Close(peer_id, id) => ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) },
        });
    }

    fn on_closed(&mut self, id: ConnectionId) {
        for action in self.room.on(RoomEvent::Closed(id), &self.standing, Instant::now()) {
            self.carry_out(action);
        }
    }

    /// Forgets a peer without a handler: another behaviour may have denied its connection.
    fn forget_unless_used(&mut self, peer: &PeerId) {
        if self.stays.get(peer).is_some_and(|stays| Arc::strong_count(stays) == 1) {
            self.stays.remove(peer);
            self.standing.on_gone(peer);
        }
    }

    fn on_tick(&mut self, now: Instant) {
        for action in self.room.on(RoomEvent::Tick, &self.standing, now) {
            self.carry_out(action);
        }
        let jitter = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        if self.reentry.is_due(self.room.peers(), now, jitter) {
            self.queue.push_back(ToSwarm::GenerateEvent(Event::Seek));
        }
        self.queue.push_back(ToSwarm::GenerateEvent(Event::Review));
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if peer.is_some_and(|peer| self.denied.contains(&peer)) {
            return Err(ConnectionDenied::new(Refusal::Denied));
        }
        if !peer.is_some_and(|peer| self.standing.is_exempt(&peer)) {
            if self.dialling.len() >= self.marks.most {
                return Err(ConnectionDenied::new(Refusal::Dialling { limit: self.marks.most }));
            }
            self.dialling.insert(id);
        }
        Ok(Vec::new())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.establish(Connection { id, peer, source: Source::of(remote), is_inbound: true })
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dialling.remove(&id);
        self.establish(Connection { id, peer, source: Source::of(address), is_inbound: false })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, remaining_established, .. }) => {
                self.on_closed(connection_id);
                if remaining_established == 0 {
                    self.stays.remove(&peer_id);
                    self.standing.on_gone(&peer_id);
                }
            }
            FromSwarm::ListenFailure(ListenFailure { peer_id, connection_id, .. }) => {
                self.on_closed(connection_id);
                peer_id.iter().for_each(|peer| self.forget_unless_used(peer));
            }
            FromSwarm::DialFailure(DialFailure { peer_id, connection_id, .. }) => {
                self.dialling.remove(&connection_id);
                self.on_closed(connection_id);
                peer_id.iter().for_each(|peer| self.forget_unless_used(peer));
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Report::Delivered => self.carry_out(Action::Close(peer, connection)),
            Report::IsFull => {
                self.reentry.on_turned_away(peer, Instant::now());
                self.queue.push_back(ToSwarm::GenerateEvent(Event::TurnedAway(peer)));
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.queue.pop_front() {
                return Poll::Ready(action);
            }
            let tick = self.tick.get_or_insert_with(|| {
                let mut tick = interval(TICK);
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Box::pin(tick)
            });
            if tick.poll_tick(context).is_pending() {
                return Poll::Pending;
            }
            self.on_tick(Instant::now());
        }
    }
}
