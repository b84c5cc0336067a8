//! The one libp2p behaviour of the exchange: passes the events of both protocols to the scheduler, and carries out its
//! actions, without decisions of its own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
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
        accounts::{Accounts, Event},
        bitswap::{self, now},
        bulk,
        callers::Callers,
        channel::SessionSender,
        prior::{NoPriors, Priors},
        scheduler::{self, Action, Scheduler, TICK_EVERY},
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
    scheduler: Scheduler,
    callers: Callers,
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
            scheduler: Scheduler::new(priors),
            callers: Callers::default(),
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
        let SessionSpec { output, peers, least_reputation } = spec;
        let credit = output.credit();
        let id = self.callers.add_session(output);
        self.command(scheduler::Event::Open { id, credit, least_reputation });
        for peer in peers {
            self.add_peer(id, peer, false);
        }
        self.bulk.prepare();
        id
    }

    /// Adds wants to a session, in the sequence in which the blocks are needed; a size is `None` if unknown. Blocks
    /// that the session wants already keep their place. The local store is not searched.
    pub fn want<W: Into<BlockWant>>(&mut self, id: SessionId, wants: impl IntoIterator<Item = W>) {
        self.command(scheduler::Event::Want(id, wants.into_iter().map(Into::into).collect()));
    }

    /// Sets the block manifest in which wants of a session have places from now on. Peers that support the bulk
    /// protocol get bulk requests for such wants.
    pub fn describe(&mut self, id: SessionId, list: ListSource) {
        self.command(scheduler::Event::Describe(id, list));
    }

    /// Removes wants. Their blocks may still arrive.
    pub fn cancel(&mut self, id: SessionId, cids: Vec<Cid>) {
        self.command(scheduler::Event::Cancel(id, cids));
    }

    /// Adds a peer that may have the session's blocks. It gets requests as soon as it is connected; the caller must
    /// dial it. A peer that misbehaved on its present connection is not added. `named`: the caller of the session named
    /// it, so when its connection is lost, [`misses`](Self::misses) reports it even if it has not sent a block.
    pub fn add_peer(&mut self, id: SessionId, peer: PeerId, named: bool) {
        self.command(scheduler::Event::AddPeer { id, peer, named });
    }

    /// Whether an open session has use for a connection to the peer.
    pub fn has_use_for(&self, peer: &PeerId) -> bool {
        self.scheduler.has_use_for(peer)
    }

    /// If an open session uses the peer and has lost the connection to it, returns whether the peer had sent a block
    /// over that connection. The caller must dial it again.
    pub fn misses(&self, peer: &PeerId) -> Option<bool> {
        self.scheduler.misses(peer)
    }

    /// Notifies the sessions that miss the peer that a redial failed.
    pub fn on_unreachable(&mut self, peer: PeerId, reason: &str) {
        self.command(scheduler::Event::Unreachable { peer, reason: reason.to_owned() });
    }

    /// Closes a session, and cancels all its wants.
    pub fn close_session(&mut self, id: SessionId) {
        self.close(id);
        self.wake();
    }

    /// Queries whether a connected peer has all of these blocks, at most
    /// [`MAX_PRESENCE_QUERY_CIDS`](crate::node::exchange::MAX_PRESENCE_QUERY_CIDS). The reply may never come: the
    /// caller must set a time limit.
    pub fn question(&mut self, peer: PeerId, cids: Vec<Cid>, reply: oneshot::Sender<bool>) {
        let id = self.callers.add_query(reply);
        self.command(scheduler::Event::Query { id, peer, cids });
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

    /// Handles an event from outside of the swarm.
    fn command(&mut self, event: scheduler::Event) {
        self.decide(event);
        self.wake();
    }

    fn close(&mut self, id: SessionId) {
        self.callers.close(id);
        self.decide(scheduler::Event::Close(id));
    }

    /// Passes an event to the scheduler, and carries out its actions.
    fn decide(&mut self, event: scheduler::Event) {
        for action in self.scheduler.on(event, now()) {
            match action {
                Action::SendWants(peer, message) => self.bitswap.send_wants(peer, message),
                Action::Request(request) => self.bulk.request(request),
                Action::CancelRequest(id) => self.bulk.cancel(id),
                Action::Use(peer, is_used) => self.bitswap.use_connection(peer, is_used),
                Action::Notify(id, event) => self.callers.notify(id, event),
                Action::Reply(id, has) => self.callers.reply(id, has),
                Action::Count { peer, blocks, bytes, unwanted } => {
                    self.accounts.add_received(peer, blocks, bytes, unwanted);
                }
                Action::Report { peer, reason, blamed } => {
                    if self.accounts.report(peer, reason, blamed) {
                        self.closing.push(peer);
                    }
                }
            }
        }
    }

    fn on_bitswap(&mut self, peer: PeerId, event: bitswap::Event) {
        match event {
            bitswap::Event::Served { blocks, bytes } => self.accounts.add_served(peer, blocks, bytes),
            event => self.decide(scheduler::Event::Bitswap(peer, event)),
        }
    }

    fn on_bulk(&mut self, event: bulk::Event) {
        match event {
            bulk::Event::Served { peer, blocks, bytes } => return self.accounts.add_served(peer, blocks, bytes),
            bulk::Event::Supports { peer, supports: true } if self.has_use_for(&peer) => self.bulk.prepare(),
            _ => {}
        }
        self.decide(scheduler::Event::Bulk(event));
    }

    fn poll_callers(&mut self, cx: &Context<'_>) {
        for id in self.callers.poll_changed(cx.waker()) {
            match self.callers.is_gone(id) {
                true => self.close(id),
                false => self.decide(scheduler::Event::HasRoom(id)),
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        if !self.scheduler.is_busy() && !self.accounts.has_traffic() {
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
            self.callers.gone().into_iter().for_each(|id| self.close(id));
            self.decide(scheduler::Event::Tick);
            self.accounts.close_period(|peer| self.scheduler.rate_of(peer));
        }
    }

    /// Returns the events of the traffic since the last period ended, for a node that stops.
    pub(crate) fn close_accounts(&mut self) -> Vec<Event> {
        self.accounts.close_period(|peer| self.scheduler.rate_of(peer));
        std::iter::from_fn(|| self.accounts.next_event()).collect()
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
                    self.decide(scheduler::Event::Connected(peer_id));
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, remaining_established, .. }) => {
                let lost = self.bitswap.on_closed(peer_id, connection_id);
                self.bulk.on_closed(peer_id, connection_id);
                if remaining_established == 0 {
                    self.decide(scheduler::Event::Disconnected(peer_id));
                    self.accounts.on_disconnected(&peer_id);
                } else if let Some(event) = lost {
                    self.on_bitswap(peer_id, event);
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
                    self.on_bitswap(peer_id, event);
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
            self.poll_callers(cx);
            self.bitswap.poll(cx);
            self.poll_timer(cx);
            match self.bulk.poll(cx) {
                Poll::Ready(event) => self.on_bulk(event),
                Poll::Pending => break,
            }
        }
        self.waker = Some(cx.waker().clone());
        self.next_action().map_or(Poll::Pending, Poll::Ready)
    }
}
