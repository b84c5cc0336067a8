//! The connected peers, their connections, and the idle streams of each. No I/O.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use libp2p::{PeerId, swarm::ConnectionId};
use tokio::{task::AbortHandle, time::Instant};

use crate::node::exchange::bulk::{limits::PeerLimits, stream_pool::PooledStream};

/// Maximum number of peers to which streams are opened in advance, and streams to each: as many as it gets requests at
/// once.
const MAX_PREPARED: usize = 8;
const PREPARED_STREAMS: usize = 2;
/// Maximum number of idle outbound streams per connection, and how long they stay open.
const MAX_IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    supports: bool,
    /// The address for direct connections; `None` if they are not possible.
    address: Option<SocketAddr>,
    /// Streams that are being opened in advance.
    preparing: usize,
    /// Idle streams. Reuse saves a new stream's growth of its flow control window.
    idle: Vec<(Instant, PooledStream)>,
    uses: Arc<()>,
}

impl Connection {
    fn take_idle(&mut self) -> Option<PooledStream> {
        let direct = self.idle.iter().rposition(|(_, pooled)| pooled.is_direct());
        let at = direct.or(self.idle.len().checked_sub(1))?;
        Some(self.idle.swap_remove(at).1)
    }
}

/// A connected peer.
#[derive(Debug, Default)]
pub(in crate::node::exchange::bulk) struct Peer {
    connections: Vec<Connection>,
    supports: bool,
    pub(in crate::node::exchange::bulk) limits: PeerLimits,
    /// Tasks that serve streams of the peer. Those of direct connections do not end with the ordinary connections by
    /// themselves.
    answers: Vec<AbortHandle>,
}

impl Peer {
    /// Marks all connections of the peer as used, as long as the result exists.
    pub(in crate::node::exchange::bulk) fn uses(&self) -> Vec<Arc<()>> {
        self.connections.iter().map(|connection| Arc::clone(&connection.uses)).collect()
    }

    /// Adds a task that serves a stream of the peer. It is aborted when the last connection is closed.
    pub(in crate::node::exchange::bulk) fn add_answer(&mut self, answer: AbortHandle) {
        self.answers.retain(|answer| !answer.is_finished());
        self.answers.push(answer);
    }
}

/// A stream to open in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    /// The address for a direct connection, if one is possible.
    pub(super) address: Option<SocketAddr>,
}

/// The connected peers, and the idle streams to them.
#[derive(Debug, Default)]
pub(in crate::node::exchange::bulk) struct Connections {
    peers: HashMap<PeerId, Peer>,
}

impl Connections {
    pub(in crate::node::exchange::bulk) fn peer(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer)
    }

    fn connection(&mut self, peer: &PeerId, id: ConnectionId) -> Option<&mut Connection> {
        self.peers.get_mut(peer)?.connections.iter_mut().find(|connection| connection.id == id)
    }

    /// Adds a connection. Returns its use count for the handler.
    pub(super) fn on_connected(&mut self, peer: PeerId, id: ConnectionId, address: Option<SocketAddr>) -> Weak<()> {
        let connection =
            Connection { id, supports: false, address, preparing: 0, idle: Vec::new(), uses: Arc::new(()) };
        let uses = Arc::downgrade(&connection.uses);
        self.peers.entry(peer).or_default().connections.push(connection);
        uses
    }

    /// Removes a connection. After the last one, the tasks that serve the peer are aborted.
    pub(in crate::node::exchange::bulk) fn on_closed(&mut self, peer_id: &PeerId, id: ConnectionId) {
        let Some(peer) = self.peers.get_mut(peer_id) else { return };
        peer.connections.retain(|connection| connection.id != id);
        if peer.connections.is_empty() {
            // A peer that was refused in the meantime is not served any more.
            peer.answers.iter().for_each(AbortHandle::abort);
            self.peers.remove(peer_id);
        }
    }

    pub(in crate::node::exchange::bulk) fn on_supports(&mut self, peer: &PeerId, id: ConnectionId, supports: bool) {
        if let Some(connection) = self.connection(peer, id) {
            connection.supports = supports;
        }
    }

    /// Whether the peer supports the protocol, if that has changed since the last call.
    pub(in crate::node::exchange::bulk) fn news_of(&mut self, peer: &PeerId) -> Option<bool> {
        let peer = self.peers.get_mut(peer)?;
        let supports = peer.connections.iter().any(|connection| connection.supports);
        (std::mem::replace(&mut peer.supports, supports) != supports).then_some(supports)
    }

    /// The connection on which to open a stream to the peer.
    pub(in crate::node::exchange::bulk) fn best(&self, peer: &PeerId) -> Option<ConnectionId> {
        let connections = &self.peers.get(peer)?.connections;
        let speaking = connections.iter().find(|connection| connection.supports);
        speaking.or(connections.first()).map(|connection| connection.id)
    }

    /// Returns the streams to open in advance, to some of the peers that support the protocol.
    pub(super) fn prepare(&mut self) -> Vec<Opening> {
        let mut openings = Vec::new();
        for (peer, known) in self.peers.iter_mut().filter(|(_, peer)| peer.supports).take(MAX_PREPARED) {
            let Some(connection) = known.connections.iter_mut().find(|connection| connection.supports) else {
                continue;
            };
            while connection.idle.len() + connection.preparing < PREPARED_STREAMS {
                connection.preparing += 1;
                let Connection { id, address, .. } = *connection;
                openings.push(Opening { peer: *peer, connection: id, address });
            }
        }
        openings
    }

    /// Records that a stream opened in advance is ready, or has failed.
    pub(super) fn on_prepared(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(connection) = self.connection(peer, id) {
            connection.preparing = connection.preparing.saturating_sub(1);
        }
    }

    /// Records that direct connections are not possible. Returns whether the connection still exists.
    pub(super) fn on_undialled(&mut self, peer: &PeerId, id: ConnectionId) -> bool {
        let connection = self.connection(peer, id);
        connection.map(|connection| connection.address = None).is_some()
    }

    /// Returns the use count of a connection; `None` if the connection is closed.
    pub(super) fn uses(&mut self, peer: &PeerId, connection: ConnectionId) -> Option<Arc<()>> {
        self.connection(peer, connection).map(|connection| Arc::clone(&connection.uses))
    }

    /// Takes an idle stream; within a connection, a direct one first.
    pub(in crate::node::exchange::bulk) fn take_idle(&mut self, peer: &PeerId) -> Option<(ConnectionId, PooledStream)> {
        let connections = &mut self.peers.get_mut(peer)?.connections;
        connections.iter_mut().find_map(|connection| Some((connection.id, connection.take_idle()?)))
    }

    /// Returns a stream to the idle ones. Returns when it is due to be closed, `None` if it was not kept.
    pub(super) fn keep(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        pooled: PooledStream,
        now: Instant,
    ) -> Option<Instant> {
        let connection = self.connection(peer, connection).filter(|connection| connection.idle.len() < MAX_IDLE)?;
        connection.idle.push((now, pooled));
        Some(now + IDLE_FOR)
    }

    /// Closes streams that were idle for [`IDLE_FOR`]. Returns when the next one is due.
    pub(super) fn tidy(&mut self, now: Instant) -> Option<Instant> {
        let connections = self.peers.values_mut().flat_map(|peer| &mut peer.connections);
        let oldest = connections.filter_map(|connection| {
            connection.idle.retain(|(since, _)| *since + IDLE_FOR > now);
            connection.idle.iter().map(|(since, _)| *since).min()
        });
        oldest.min().map(|since| since + IDLE_FOR)
    }

    /// The number of peers that support the protocol.
    #[cfg(test)]
    pub(in crate::node::exchange::bulk) fn supports(&self) -> usize {
        self.peers.values().filter(|peer| peer.supports).count()
    }

    /// For each idle stream, whether it is a direct one.
    #[cfg(test)]
    pub(in crate::node::exchange::bulk) fn idle(&self) -> Vec<bool> {
        let connections = self.peers.values().flat_map(|peer| &peer.connections);
        connections.flat_map(|connection| &connection.idle).map(|(_, pooled)| pooled.is_direct()).collect()
    }

    /// The number of streams that were being served when the last one was added.
    #[cfg(test)]
    pub(in crate::node::exchange::bulk) fn answered(&self) -> usize {
        self.peers.values().map(|peer| peer.answers.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], 4001).into())
    }

    #[test]
    fn a_peer_speaks_as_long_as_one_of_its_connections_does() {
        let (mut pool, peer) = (Connections::default(), PeerId::random());
        let ids = [1, 2].map(ConnectionId::new_unchecked);
        ids.iter().for_each(|id| drop(pool.on_connected(peer, *id, None)));
        assert_eq!((pool.news_of(&peer), pool.best(&peer)), (None, Some(ids[0])));
        pool.on_supports(&peer, ids[1], true);
        assert_eq!((pool.news_of(&peer), pool.best(&peer)), (Some(true), Some(ids[1])));
        assert_eq!(pool.news_of(&peer), None, "it was told");
        pool.on_closed(&peer, ids[1]);
        assert_eq!((pool.news_of(&peer), pool.best(&peer)), (Some(false), Some(ids[0])));
        pool.on_closed(&peer, ids[0]);
        assert_eq!((pool.news_of(&peer), pool.best(&peer)), (None, None));
    }

    #[test]
    fn streams_are_prepared_once_and_where_they_can_be_dialled_until_that_failed() {
        let (mut pool, peer, connection) = (Connections::default(), PeerId::random(), ConnectionId::new_unchecked(1));
        drop(pool.on_connected(peer, connection, address()));
        assert_eq!(pool.prepare(), [], "it does not speak");
        pool.on_supports(&peer, connection, true);
        pool.news_of(&peer);
        assert_eq!(pool.prepare(), [Opening { peer, connection, address: address() }; PREPARED_STREAMS]);
        assert_eq!(pool.prepare(), [], "they are being opened");
        pool.on_prepared(&peer, connection);
        assert!(pool.on_undialled(&peer, connection));
        assert_eq!(pool.prepare(), [Opening { peer, connection, address: None }]);
        pool.on_closed(&peer, connection);
        assert!(!pool.on_undialled(&peer, connection));
    }

    #[tokio::test]
    async fn what_is_answered_ends_and_a_connection_is_unused_when_the_last_one_closes() {
        let (mut pool, peer) = (Connections::default(), PeerId::random());
        let ids = [1, 2].map(ConnectionId::new_unchecked);
        let uses = ids.map(|id| pool.on_connected(peer, id, None));
        let answer = tokio::spawn(std::future::pending::<()>());
        pool.peer(&peer).unwrap().add_answer(answer.abort_handle());
        pool.on_closed(&peer, ids[0]);
        assert_eq!(uses.each_ref().map(|uses| uses.upgrade().is_some()), [false, true]);
        assert!(!answer.is_finished());
        pool.on_closed(&peer, ids[1]);
        assert!(answer.await.unwrap_err().is_cancelled());
        assert!(pool.peer(&peer).is_none());
    }
}
