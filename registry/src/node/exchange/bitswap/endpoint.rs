//! This node's end of Bitswap with all connected peers: passes messages to and from the connections, and serves the
//! wants of peers. Its owner decides what this node wants.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};

use ggen_blockstore::{Blockstore, Cid};
use libp2p::{PeerId, swarm::ConnectionId};
use tokio::task::JoinSet;

use crate::node::exchange::bitswap::{
    answer::{self, Reading},
    handler::{Arrived, Command, CommandKind, Malformed, OutboundStreamName, Report, ReportKind},
    message::{Message, Version},
    outbound_stream::Prospect,
    server::{Job, Server},
};

/// What happened on the connections to a peer.
#[derive(Debug)]
pub(in crate::node::exchange) enum Event {
    /// Blocks or presences arrived. The peer's own wants are taken out already.
    Arrived(Arrived),
    /// Bytes of an incomplete message arrived.
    Progress,
    /// A message of wants was written. `says_no`: the negotiated version of the protocol has a DONT_HAVE.
    WantsSent { says_no: bool },
    /// A message of wants was lost: all wants must be sent again. `unsupported`: the peer does not support Bitswap.
    WantsLost { unsupported: bool },
    /// Blocks of this total size in bytes were written.
    Served { blocks: u64, bytes: u64 },
    /// The peer violated the protocol; the stream is reset.
    Malformed(Malformed),
}

#[derive(Debug, Default)]
struct Peer {
    /// Messages are sent on the first one.
    connections: Vec<ConnectionId>,
    /// The owner needs the connection.
    is_used: bool,
    keeps_alive: bool,
}

/// This node's end of Bitswap.
#[derive(Debug)]
pub(in crate::node::exchange) struct Endpoint {
    store: Arc<dyn Blockstore>,
    /// Maximum number of concurrent jobs.
    read_jobs: usize,
    server: Server,
    jobs: JoinSet<(PeerId, u64, Reading)>,
    peers: HashMap<PeerId, Peer>,
    commands: VecDeque<(PeerId, ConnectionId, Command)>,
}

impl Endpoint {
    /// Creates an endpoint that serves the blocks of `store`, with at most `read_jobs` concurrent reads.
    pub(in crate::node::exchange) fn new(store: Arc<dyn Blockstore>, read_jobs: usize) -> Self {
        Self {
            store,
            read_jobs: read_jobs.max(1),
            server: Server::default(),
            jobs: JoinSet::new(),
            peers: HashMap::new(),
            commands: VecDeque::new(),
        }
    }

    pub(in crate::node::exchange) fn on_connected(&mut self, peer: PeerId, connection: ConnectionId) {
        self.peers.entry(peer).or_default().connections.push(connection);
    }

    /// A connection is closed. Messages that were not written to it are lost.
    pub(in crate::node::exchange) fn on_closed(&mut self, peer_id: PeerId, connection: ConnectionId) -> Option<Event> {
        let peer = self.peers.get_mut(&peer_id)?;
        let was_written_to = peer.connections.first() == Some(&connection);
        peer.connections.retain(|other| *other != connection);
        if peer.connections.is_empty() {
            self.peers.remove(&peer_id);
            self.server.on_disconnected(peer_id);
            return None;
        }
        if !was_written_to {
            return None;
        }
        peer.keeps_alive = false;
        self.server.on_answers_lost(peer_id);
        self.update_keep_alive(peer_id);
        Some(Event::WantsLost { unsupported: false })
    }

    /// Sends a message of wants. The previous one must be written or lost.
    pub(in crate::node::exchange) fn send_wants(&mut self, peer: PeerId, message: Message) {
        self.send(peer, CommandKind::Send(OutboundStreamName::Wants, message));
    }

    /// Sets whether the owner needs the connection to the peer. It also stays open while the peer waits for blocks.
    pub(in crate::node::exchange) fn use_connection(&mut self, peer_id: PeerId, is_used: bool) {
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            peer.is_used = is_used;
            self.update_keep_alive(peer_id);
        }
    }

    fn update_keep_alive(&mut self, peer_id: PeerId) {
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let keeps_alive = peer.is_used || self.server.has_wants(&peer_id);
        if std::mem::replace(&mut peer.keeps_alive, keeps_alive) != keeps_alive {
            self.send(peer_id, CommandKind::KeepAlive(keeps_alive));
        }
    }

    /// These blocks are now in the store: answers the peers that wait for them.
    pub(in crate::node::exchange) fn notify_new_blocks(&mut self, cids: &[Cid]) {
        self.server.on_new_blocks(cids);
    }

    fn send(&mut self, peer: PeerId, command: CommandKind) {
        if let Some(connection) = self.peers.get(&peer).and_then(|peer| peer.connections.first()) {
            self.commands.push_back((peer, *connection, Command(command)));
        }
    }

    /// Returns the next command to a connection.
    pub(in crate::node::exchange) fn next_command(&mut self) -> Option<(PeerId, ConnectionId, Command)> {
        self.commands.pop_front()
    }

    /// Handles a report of a connection.
    pub(in crate::node::exchange) fn on_report(&mut self, peer: PeerId, Report(report): Report) -> Option<Event> {
        Some(match report {
            ReportKind::Message(mut arrived) => {
                let wants = std::mem::take(&mut arrived.wants);
                if arrived.full || !wants.is_empty() {
                    self.server.on_wants(peer, arrived.full, wants);
                    self.update_keep_alive(peer);
                }
                Event::Arrived(arrived)
            }
            ReportKind::Progress => Event::Progress,
            ReportKind::Sent(OutboundStreamName::Wants, _, version) => {
                Event::WantsSent { says_no: version.is_some_and(|version| version >= Version::V1_2) }
            }
            ReportKind::Sent(OutboundStreamName::Answers, message, _) => {
                self.server.on_sent(peer, message.queued_bytes());
                self.update_keep_alive(peer);
                Event::Served { blocks: message.blocks.len() as u64, bytes: message.block_bytes() }
            }
            // What is wanted stays wanted: a peer that was stopped gets it as soon as it takes a stream again.
            ReportKind::Failed { stream_out: OutboundStreamName::Wants, prospect, .. } => {
                Event::WantsLost { unsupported: prospect == Prospect::None }
            }
            ReportKind::Failed { stream_out: OutboundStreamName::Answers, lost, prospect } => {
                self.on_answers_failed(peer, lost, prospect);
                return None;
            }
            ReportKind::Malformed(error) => Event::Malformed(error),
        })
    }

    fn on_answers_failed(&mut self, peer: PeerId, lost: Vec<Message>, prospect: Prospect) {
        for message in lost {
            match prospect {
                Prospect::Hopeful => self.send(peer, CommandKind::Send(OutboundStreamName::Answers, message)),
                Prospect::Poor | Prospect::None => self.server.on_sent(peer, message.queued_bytes()),
            }
        }
    }

    /// Runs jobs for peers as long as there are wants to look up and threads are free.
    pub(in crate::node::exchange) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            while self.jobs.len() < self.read_jobs
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
                    self.update_keep_alive(peer);
                }
                Poll::Ready(Some(Err(error))) => tracing::error!(%error, "reading the store for a peer failed"),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }
}
