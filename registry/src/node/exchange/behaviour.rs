//! The one libp2p behaviour of the exchange: connects both protocols with the client. It passes events on and actions
//! out, without decisions of its own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use ggen_blockstore::{Blockstore, Cid};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionHandler as _, ConnectionHandlerSelect,
        ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::ConnectionEstablished, derive_prelude::Either,
    },
};
use tokio::{sync::oneshot, time::Sleep};

use crate::node::{
    exchange::{
        SessionId,
        accounts::{Accounts, Event, Misbehaviour},
        bitswap::{self, Arrived, FrameError, Malformed, now},
        bulk::{self, End},
        channel::{Offence, SessionSender},
        client::{BulkAction, Client, Received, TICK_EVERY},
        prior::{NoPriors, Priors},
        session::{BlockWant, ListSource},
    },
    transport::direct::Directs,
};

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

/// The parts of a [`Behaviour`].
#[derive(Debug)]
pub(crate) struct Setup {
    /// The store that is served, and read for dictionaries.
    pub(crate) store: Arc<dyn Blockstore>,
    pub(crate) config: Config,
    /// Knowledge of peers from earlier connections.
    pub(crate) priors: Arc<dyn Priors>,
    /// Opens and accepts connections without a multiplexer; without it all streams share those of the swarm.
    pub(crate) directs: Option<Directs>,
}

/// The libp2p behaviour of the exchange: fetches and serves blocks over Bitswap and in bulk requests.
#[derive(Debug)]
pub struct Behaviour {
    client: Client,
    bitswap: bitswap::Endpoint,
    pub(super) bulk: bulk::Endpoint,
    accounts: Accounts,
    /// Peers whose connections must be closed.
    closing: Vec<PeerId>,
    timer: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Creates a behaviour that serves the blocks of `store`, and knows nothing of peers in advance.
    pub fn new(store: Arc<dyn Blockstore>, config: Config) -> Self {
        Self::set_up(Setup { store, config, priors: Arc::new(NoPriors), directs: None })
    }

    pub(crate) fn set_up(setup: Setup) -> Self {
        let Setup { store, config, priors, directs } = setup;
        Self {
            client: Client::new(priors),
            bitswap: bitswap::Endpoint::new(Arc::clone(&store), config.read_jobs),
            bulk: bulk::Endpoint::new(store, directs),
            accounts: Accounts::default(),
            closing: Vec::new(),
            timer: None,
            waker: None,
        }
    }

    /// Opens a session, and streams to some of the connected peers, because requests will follow soon. The session is
    /// closed by [`close_session`](Self::close_session), or by dropping the receiver.
    pub fn open_session(&mut self, spec: SessionSpec) -> SessionId {
        let id = self.client.open(spec.output, spec.least_reputation, now());
        for peer in spec.peers {
            self.add_peer(id, peer);
        }
        self.bulk.prepare();
        self.wake();
        id
    }

    /// Adds wants to a session, in the sequence in which the blocks are needed; a size is `None` if unknown. Blocks
    /// that the session wants already keep their place. The local store is not searched.
    pub fn want<W: Into<BlockWant>>(&mut self, id: SessionId, wants: impl IntoIterator<Item = W>) {
        self.client.want(id, wants, now());
        self.wake();
    }

    /// Sets the block manifest in which wants of a session have places from now on. Peers that support the bulk
    /// protocol get bulk requests for such wants.
    pub fn describe(&mut self, id: SessionId, list: ListSource) {
        self.client.describe(id, list);
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
        self.bitswap.notify_new_blocks(cids);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn on_bitswap(&mut self, peer: PeerId, event: bitswap::Event, now: Instant) {
        match event {
            bitswap::Event::Arrived(arrived) => self.on_message(peer, arrived, now),
            bitswap::Event::Progress => self.client.on_progress(peer, now),
            bitswap::Event::WantsSent { says_no } => self.client.on_update_sent(peer, says_no),
            bitswap::Event::WantsLost { unsupported } => self.client.on_update_failed(peer, unsupported, now),
            bitswap::Event::Served { blocks, bytes } => self.accounts.add_served(peer, blocks, bytes),
            // An honest peer sends that much only if the requested block exceeds the maximum block size.
            bitswap::Event::Malformed(Malformed::Frame(FrameError::TooLong)) if self.client.on_too_long(peer, now) => {}
            bitswap::Event::Malformed(error) => {
                let blamed = self.client.ban(peer, Offence::Malformed, now);
                self.report(peer, Misbehaviour::Malformed { detail: error.to_string() }, blamed);
            }
        }
    }

    fn on_message(&mut self, peer: PeerId, arrived: Arrived, now: Instant) {
        let Arrived { blocks, presences, frame_bytes, oversized, refused_blocks, .. } = arrived;
        if !blocks.is_empty() || refused_blocks > 0 {
            let received = self.client.on_blocks(peer, blocks, refused_blocks, frame_bytes, now);
            self.count(peer, &received);
            if received.misbehaved {
                self.report(peer, Misbehaviour::UnaskedData, received.blamed);
            }
        }
        self.client.on_oversized(peer, oversized, now);
        self.client.on_presences(peer, &presences, now);
    }

    fn on_bulk(&mut self, event: bulk::Event, now: Instant) {
        match event {
            bulk::Event::Supports { peer, supports } => {
                if supports && self.client.has_use_for(&peer) {
                    self.bulk.prepare();
                }
                self.client.on_supports(peer, supports, now);
            }
            bulk::Event::Arrived { peer, id, blocks } => {
                let received = self.client.on_bulk_requested(peer, id, blocks, now);
                self.count(peer, &received);
            }
            bulk::Event::Absent { peer, id, cids } => self.client.on_bulk_absent(peer, id, &cids, now),
            bulk::Event::Progress { peer, id, bytes } => self.client.on_bulk_progress(peer, id, bytes, now),
            bulk::Event::Ended { peer, id, end } => {
                let blamed = self.client.on_bulk_ended(peer, id, end, now);
                // Without `blamed` the request was given up before: its session was notified then, or is closed.
                match end {
                    End::WrongBytes if blamed => self.report(peer, Misbehaviour::UnaskedData, blamed),
                    End::Malformed if blamed => self.report(peer, Misbehaviour::MalformedAnswer, blamed),
                    _ => {}
                }
            }
            bulk::Event::Served { peer, blocks, bytes } => self.accounts.add_served(peer, blocks, bytes),
        }
    }

    fn count(&mut self, peer: PeerId, received: &Received) {
        self.accounts.add_received(peer, received.blocks, received.bytes, received.unwanted);
    }

    fn report(&mut self, peer: PeerId, reason: Misbehaviour, blamed: bool) {
        if self.accounts.report(peer, reason, blamed) {
            self.closing.push(peer);
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        if !self.client.is_busy() && !self.accounts.has_traffic() {
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
            self.accounts.close_period(|peer| self.client.rate_of(peer));
        }
    }

    /// Sends the messages and requests of all peers whose state has changed.
    fn flush(&mut self) {
        for peer_id in self.client.take_touched() {
            self.bitswap.use_connection(peer_id, self.client.uses(&peer_id));
            for action in self.client.take_bulk_actions(&peer_id) {
                match action {
                    BulkAction::Place(request) => self.bulk.request(request),
                    BulkAction::Cancel(id) => self.bulk.cancel(id),
                }
            }
            if let Some(message) = self.client.next_update(&peer_id) {
                self.bitswap.send_wants(peer_id, message);
            }
        }
    }

    fn next_action(&mut self) -> Option<ToSwarm<Event, THandlerInEvent<Self>>> {
        if let Some(event) = self.accounts.next_event() {
            return Some(ToSwarm::GenerateEvent(event));
        }
        if let Some(peer_id) = self.closing.pop() {
            return Some(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All });
        }
        let (peer_id, connection, event) = match self.bitswap.next_command() {
            Some((peer, connection, command)) => (peer, connection, Either::Left(command)),
            None => self
                .bulk
                .next_command()
                .map(|(peer, connection, command)| (peer, connection, Either::Right(command)))?,
        };
        Some(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event })
    }
}

type Handler = ConnectionHandlerSelect<bitswap::Handler, bulk::Handler>;

fn handler() -> Handler {
    bitswap::Handler::new(now()).select(bulk::Handler::default())
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
        Ok(handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                other_established,
                ..
            }) => {
                self.bitswap.on_connected(peer_id, connection_id);
                self.bulk.on_connected(peer_id, connection_id, endpoint);
                if other_established == 0 {
                    self.client.on_connected(peer_id, now());
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, remaining_established, .. }) => {
                let lost = self.bitswap.on_closed(peer_id, connection_id);
                self.bulk.on_closed(peer_id, connection_id);
                if remaining_established == 0 {
                    self.client.on_disconnected(peer_id, now());
                    self.accounts.on_disconnected(&peer_id);
                } else if let Some(event) = lost {
                    self.on_bitswap(peer_id, event, now());
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        report: THandlerOutEvent<Self>,
    ) {
        match report {
            Either::Left(report) => {
                if let Some(event) = self.bitswap.on_report(peer_id, report) {
                    self.on_bitswap(peer_id, event, now());
                }
            }
            Either::Right(report) => self.bulk.on_report(peer_id, connection, report),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.next_action() {
                return Poll::Ready(action);
            }
            self.client.poll_consumers(cx.waker(), now());
            self.bitswap.poll(cx);
            self.poll_timer(cx);
            self.flush();
            match self.bulk.poll(cx) {
                Poll::Ready(event) => self.on_bulk(event, now()),
                Poll::Pending => break,
            }
        }
        self.waker = Some(cx.waker().clone());
        self.next_action().map_or(Poll::Pending, Poll::Ready)
    }
}
