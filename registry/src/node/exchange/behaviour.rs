//! Connects libp2p with the state machines: passes events in and actions out, without decisions of its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use ggen_blockstore::{Block, Blockstore, Cid};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
        ToSwarm, behaviour::ConnectionEstablished,
    },
};
use tokio::{sync::oneshot, task::JoinSet, time::Sleep};

use crate::node::exchange::{
    SessionId,
    bitswap::{
        answer::{self, Reading},
        frame::FrameError,
        handler::{Arrived, Command, CommandKind, Handler, Malformed, OutboundStreamName, Report, ReportKind, now},
        message::{Message, Version},
        outbound_stream::Prospect,
        server::{Job, Server},
    },
    bulk::{self, BulkRequest, BulkRequestId, End},
    channel::{Offence, SessionSender},
    client::{BulkAction, Client, TICK_EVERY},
    prior::{NoPriors, Priors},
    session::{BlockWant, ListSource},
};

/// Number of malformed messages after which the connections to a peer are closed.
const MAX_MALFORMED: u32 = 3;

/// Settings of a [`Behaviour`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Maximum number of concurrent jobs that read the store for peers, each on a blocking thread. 0 counts as 1.
    pub read_jobs: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { read_jobs: 4 }
    }
}

/// The parameters of a session.
#[derive(Debug)]
pub struct SessionSpec {
    /// Receives its blocks and events: one end of a [`session_channel`](crate::node::exchange::session_channel).
    pub output: SessionSender,
    /// Peers that may have the blocks, connected or not.
    pub peers: Vec<PeerId>,
    /// Peers with a lower reputation, according to the priors, get no requests; 0 excludes none.
    pub least_reputation: f64,
}

/// Events for the owner of the swarm.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Carry out this bulk request.
    BulkRequest(Box<BulkRequest>),
    /// Cancel this bulk request.
    CancelBulkRequest(BulkRequestId),
    /// A peer violated the protocol. Sessions send it no more requests.
    PeerMisbehaved {
        /// The peer.
        peer: PeerId,
        /// What it did.
        reason: Misbehaviour,
        /// Whether a session was notified of it.
        blamed: bool,
    },
    /// Blocks were sent to a peer since the last such event of that peer.
    Served {
        /// The peer.
        peer: PeerId,
        /// Number of blocks.
        blocks: u64,
        /// Total size of the blocks, in bytes.
        bytes: u64,
    },
    /// Wanted blocks arrived from a peer since the last such event of that peer.
    Received {
        /// The peer.
        peer: PeerId,
        /// Number of blocks.
        blocks: u64,
        /// Total size of the blocks, in bytes.
        bytes: u64,
        /// Number of further blocks that arrived too late or twice.
        unwanted: u64,
        /// The peer's rate in bytes per second, if it was measured.
        rate: Option<f64>,
    },
}

/// How a peer violated the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// It sent bytes that do not hash to a block requested from it.
    UnaskedData,
    /// Its response to a bulk request is malformed.
    MalformedAnswer,
    /// It sent something that is not a Bitswap message.
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

#[derive(Debug, Default)]
struct Peer {
    /// Messages are sent on the first one.
    connections: Vec<ConnectionId>,
    keeps_alive: bool,
    malformed: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    served: (u64, u64),
    received: (u64, u64),
    unwanted: u64,
}

/// The libp2p behaviour of Bitswap, client and server.
#[derive(Debug)]
pub struct Behaviour {
    store: Arc<dyn Blockstore>,
    config: Config,
    client: Client,
    server: Server,
    peers: HashMap<PeerId, Peer>,
    traffic: HashMap<PeerId, Traffic>,
    jobs: JoinSet<(PeerId, u64, Reading)>,
    actions: VecDeque<ToSwarm<Event, Command>>,
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Creates a behaviour that serves the blocks of `store`, and knows nothing of peers in advance.
    pub fn new(store: Arc<dyn Blockstore>, config: Config) -> Self {
        Self::knowing(store, config, Arc::new(NoPriors))
    }

    /// As [`new`](Self::new), with knowledge of peers from earlier connections.
    pub fn knowing(store: Arc<dyn Blockstore>, config: Config, priors: Arc<dyn Priors>) -> Self {
        Self {
            store,
            config,
            client: Client::new(priors),
            server: Server::default(),
            peers: HashMap::new(),
            traffic: HashMap::new(),
            jobs: JoinSet::new(),
            actions: VecDeque::new(),
            timer: None,
            waker: None,
        }
    }

    /// Opens a session. It is closed by [`close_session`](Self::close_session), or by dropping the receiver.
    pub fn open_session(&mut self, spec: SessionSpec) -> SessionId {
        let id = self.client.open(spec.output, spec.least_reputation, now());
        for peer in spec.peers {
            self.add_peer(id, peer);
        }
        id
    }

    /// Adds wants to a session, in the sequence in which the blocks are needed; a size is `None` if unknown. Blocks
    /// that the session wants already keep their place. The local store is not searched.
    pub fn want<W: Into<BlockWant>>(&mut self, id: SessionId, wants: impl IntoIterator<Item = W>) {
        self.client.want(id, wants, now());
        self.wake();
    }

    /// Sets the block manifest in which wants of a session have places from now on. Peers that support
    /// [`bulk`](crate::node::exchange::bulk) get bulk requests for such wants: see [`Event::BulkRequest`].
    pub fn describe(&mut self, id: SessionId, list: ListSource) {
        self.client.describe(id, list);
    }

    /// Handles an event of the bulk protocol.
    pub fn on_blocks_event(&mut self, event: bulk::Event) {
        let now = now();
        match event {
            bulk::Event::Supports { peer, supports } => self.client.on_supports(peer, supports, now),
            bulk::Event::Arrived { peer, id, blocks } => {
                let received = self.client.on_bulk_requested(peer, id, blocks, now);
                let traffic = self.traffic.entry(peer).or_default();
                traffic.received.0 += received.blocks;
                traffic.received.1 += received.bytes;
                traffic.unwanted += received.unwanted;
            }
            bulk::Event::Absent { peer, id, cids } => self.client.on_bulk_absent(peer, id, &cids, now),
            bulk::Event::Progress { peer, id, bytes } => self.client.on_bulk_progress(peer, id, bytes, now),
            bulk::Event::Ended { peer, id, end } => self.on_bulk_ended(peer, id, end, now),
            bulk::Event::Served { peer, blocks, bytes } => {
                let traffic = self.traffic.entry(peer).or_default();
                traffic.served.0 += blocks;
                traffic.served.1 += bytes;
            }
        }
        self.wake();
    }

    fn on_bulk_ended(&mut self, peer: PeerId, id: BulkRequestId, end: End, now: Instant) {
        let blamed = self.client.on_bulk_ended(peer, id, end, now);
        // Without `blamed` the request was given up before: its session was notified then, or is closed.
        match end {
            End::WrongBytes if blamed => self.report(peer, Misbehaviour::UnaskedData, blamed),
            End::Malformed if blamed => self.report(peer, Misbehaviour::MalformedAnswer, blamed),
            _ => {}
        }
    }

    /// Removes wants. Their blocks may still arrive.
    pub fn cancel(&mut self, id: SessionId, cids: &[Cid]) {
        self.client.cancel(id, cids);
        self.wake();
    }

    /// Adds a peer that may have the session's blocks. It gets requests as soon as it is connected; the caller must
    /// dial it. A peer that misbehaved on its present connection is not added.
    pub fn add_peer(&mut self, id: SessionId, peer: PeerId) {
        self.client.add_peer(id, peer, now());
        self.wake();
    }

    /// The caller of a session named this peer: when its connection is lost, [`misses`](Self::misses) reports it, even
    /// if it has not sent a block.
    pub fn keep_to(&mut self, id: SessionId, peer: PeerId) {
        self.client.keep_to(id, peer);
    }

    /// Whether an open session has use for a connection to the peer.
    pub fn has_use_for(&self, peer: &PeerId) -> bool {
        self.client.has_use_for(peer)
    }

    /// If an open session uses the peer and has lost the connection to it, returns whether the peer had sent a block
    /// over that connection. The caller must dial it again.
    pub fn misses(&self, peer: &PeerId) -> Option<bool> {
        self.client.misses(peer)
    }

    /// Notifies the sessions that miss the peer that a redial failed.
    pub fn on_unreachable(&self, peer: PeerId, reason: &str) {
        self.client.on_unreachable(peer, reason);
    }

    /// Closes a session, and cancels all its wants.
    pub fn close_session(&mut self, id: SessionId) {
        self.client.close(id);
        self.wake();
    }

    /// Queries whether a connected peer has all of these blocks, at most
    /// [`MAX_PRESENCE_QUERY_CIDS`](crate::node::exchange::MAX_PRESENCE_QUERY_CIDS). The reply may never come: the
    /// caller must set a time limit.
    pub fn question(&mut self, peer: PeerId, cids: Vec<Cid>, reply: oneshot::Sender<bool>) {
        self.client.question(peer, cids, reply, now());
        self.wake();
    }

    /// These blocks are now in the local store: answers the peers that wait for them.
    pub fn notify_new_blocks(&mut self, cids: &[Cid]) {
        self.server.on_new_blocks(cids);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn send(&mut self, peer_id: PeerId, command: CommandKind) {
        if let Some(connection) = self.peers.get(&peer_id).and_then(|peer| peer.connections.first()) {
            let handler = NotifyHandler::One(*connection);
            self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: Command(command) });
        }
    }

    fn on_established(&mut self, peer_id: PeerId, connection: ConnectionId, now: Instant) {
        let peer = self.peers.entry(peer_id).or_default();
        peer.connections.push(connection);
        if peer.connections.len() == 1 {
            self.client.on_connected(peer_id, now);
        }
    }

    fn on_closed(&mut self, peer_id: PeerId, connection: ConnectionId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let was_written_to = peer.connections.first() == Some(&connection);
        peer.connections.retain(|other| *other != connection);
        if peer.connections.is_empty() {
            self.peers.remove(&peer_id);
            self.client.on_disconnected(peer_id, now);
            self.server.on_disconnected(peer_id);
        } else if was_written_to {
            peer.keeps_alive = false;
            self.client.on_update_failed(peer_id, false, now);
            self.server.on_answers_lost(peer_id);
        }
    }

    fn on_message(&mut self, peer_id: PeerId, arrived: Arrived, now: Instant) {
        let Arrived { full, wants, blocks, presences, frame_bytes, oversized, refused_blocks } = arrived;
        if full || !wants.is_empty() {
            self.server.on_wants(peer_id, full, wants);
            self.client.touch(peer_id);
        }
        if !blocks.is_empty() || refused_blocks > 0 {
            self.on_blocks(peer_id, blocks, refused_blocks, frame_bytes, now);
        }
        self.client.on_oversized(peer_id, oversized, now);
        self.client.on_presences(peer_id, &presences, now);
    }

    fn on_blocks(
        &mut self,
        peer_id: PeerId,
        blocks: Vec<Block>,
        refused_blocks: u32,
        frame_bytes: usize,
        now: Instant,
    ) {
        let received = self.client.on_blocks(peer_id, blocks, refused_blocks, frame_bytes, now);
        let traffic = self.traffic.entry(peer_id).or_default();
        traffic.received.0 += received.blocks;
        traffic.received.1 += received.bytes;
        traffic.unwanted += received.unwanted;
        if received.misbehaved {
            self.report(peer_id, Misbehaviour::UnaskedData, received.blamed);
        }
    }

    fn report(&mut self, peer: PeerId, reason: Misbehaviour, blamed: bool) {
        tracing::debug!(%peer, ?reason, "a peer misbehaved");
        self.actions.push_back(ToSwarm::GenerateEvent(Event::PeerMisbehaved { peer, reason, blamed }));
    }

    fn on_malformed(&mut self, peer_id: PeerId, detail: String, now: Instant) {
        let blamed = self.client.ban(peer_id, Offence::Malformed, now);
        self.report(peer_id, Misbehaviour::Malformed { detail }, blamed);
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        peer.malformed += 1;
        if peer.malformed >= MAX_MALFORMED {
            self.actions.push_back(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All });
        }
    }

    fn on_answer_sent(&mut self, peer_id: PeerId, message: &Message) {
        self.server.on_sent(peer_id, message.queued_bytes());
        let traffic = self.traffic.entry(peer_id).or_default();
        traffic.served.0 += message.blocks.len() as u64;
        traffic.served.1 += message.block_bytes();
        self.client.touch(peer_id);
    }

    fn on_answers_failed(&mut self, peer_id: PeerId, lost: Vec<Message>, prospect: Prospect) {
        for message in lost {
            match prospect {
                Prospect::Hopeful => self.send(peer_id, CommandKind::Send(OutboundStreamName::Answers, message)),
                Prospect::Poor | Prospect::None => self.server.on_sent(peer_id, message.queued_bytes()),
            }
        }
    }

    /// Runs jobs for peers as long as there are wants to look up and threads are free.
    fn poll_jobs(&mut self, cx: &mut Context<'_>) {
        loop {
            while self.jobs.len() < self.config.read_jobs.max(1)
                && let Some(Job { peer, ledger, wants }) = self.server.next_job()
            {
                let store = Arc::clone(&self.store);
                self.jobs.spawn_blocking(move || (peer, ledger, answer::read(&*store, wants)));
            }
            match self.jobs.poll_join_next(cx) {
                Poll::Ready(Some(Ok((peer, ledger, reading)))) => {
                    for message in self.server.on_read(peer, ledger, reading) {
                        self.send(peer, CommandKind::Send(OutboundStreamName::Answers, message));
                    }
                    self.client.touch(peer);
                }
                Poll::Ready(Some(Err(error))) => tracing::error!(%error, "reading the store for a peer failed"),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        if !self.client.is_busy() && self.traffic.is_empty() {
            self.timer = None;
            return;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(TICK_EVERY)));
        if timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(tokio::time::Instant::now() + TICK_EVERY);
            // Polled again to register the waker; it cannot be ready yet.
            if timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            self.client.tick(now());
            self.report_traffic();
        }
    }

    fn report_traffic(&mut self) {
        for (peer, Traffic { served, received, unwanted }) in self.traffic.drain() {
            if served.0 > 0 {
                let event = Event::Served { peer, blocks: served.0, bytes: served.1 };
                self.actions.push_back(ToSwarm::GenerateEvent(event));
            }
            if received.0 + unwanted > 0 {
                let rate = self.client.rate_of(&peer);
                let event = Event::Received { peer, blocks: received.0, bytes: received.1, unwanted, rate };
                self.actions.push_back(ToSwarm::GenerateEvent(event));
            }
        }
    }

    /// Sends the messages, requests and keep-alive changes of all peers whose state has changed.
    fn flush(&mut self) {
        let touched: HashSet<PeerId> = self.client.take_touched();
        for peer_id in touched {
            let keep_alive = self.client.uses(&peer_id) || self.server.has_wants(&peer_id);
            let Some(peer) = self.peers.get_mut(&peer_id) else { continue };
            if peer.keeps_alive != keep_alive {
                peer.keeps_alive = keep_alive;
                self.send(peer_id, CommandKind::KeepAlive(keep_alive));
            }
            for action in self.client.take_bulk_actions(&peer_id) {
                let event = match action {
                    BulkAction::Place(request) => Event::BulkRequest(request),
                    BulkAction::Cancel(id) => Event::CancelBulkRequest(id),
                };
                self.actions.push_back(ToSwarm::GenerateEvent(event));
            }
            if let Some(message) = self.client.next_update(&peer_id) {
                self.send(peer_id, CommandKind::Send(OutboundStreamName::Wants, message));
            }
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
        Ok(Handler::new(now()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::new(now()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.on_established(peer_id, connection_id, now());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id, now());
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer_id: PeerId, _: ConnectionId, Report(report): Report) {
        let now = now();
        match report {
            ReportKind::Message(arrived) => self.on_message(peer_id, arrived, now),
            ReportKind::Progress => self.client.on_progress(peer_id, now),
            ReportKind::Sent(OutboundStreamName::Wants, _, version) => {
                self.client.on_update_sent(peer_id, version.is_some_and(|version| version >= Version::V1_2));
            }
            ReportKind::Sent(OutboundStreamName::Answers, message, _) => self.on_answer_sent(peer_id, &message),
            ReportKind::Failed { stream_out: OutboundStreamName::Wants, prospect, .. } => {
                // What is wanted stays wanted: a peer that was stopped gets it as soon as it takes a stream again.
                self.client.on_update_failed(peer_id, prospect == Prospect::None, now);
            }
            ReportKind::Failed { stream_out: OutboundStreamName::Answers, lost, prospect } => {
                self.on_answers_failed(peer_id, lost, prospect);
            }
            // An honest peer sends that much only if the requested block exceeds the maximum block size.
            ReportKind::Malformed(Malformed::Frame(FrameError::TooLong)) if self.client.on_too_long(peer_id, now) => {}
            ReportKind::Malformed(error) => self.on_malformed(peer_id, error.to_string(), now),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, Command>> {
        if self.actions.is_empty() {
            self.client.poll_consumers(cx.waker(), now());
            self.poll_jobs(cx);
            self.poll_timer(cx);
            self.flush();
        }
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
