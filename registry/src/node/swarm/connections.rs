//! What the driver does for the connection manager: reports which peers the protocols need, and finds new ones.

use libp2p::{PeerId, kad::KBucketKey};

use crate::node::{
    behaviour::Dht,
    command::{DialCause, DialFailed},
    connections::{behaviour::Event, standing::Needed},
    swarm::Driver,
};

/// Maximum number of nearest peers of the ggen DHT whose connections are worth more than idle ones.
const MAX_NEIGHBOURS: usize = 20;
/// Number of known peers that a node with few connections dials at a time.
const SOUGHT_PEERS: usize = 4;

impl Driver {
    pub(super) fn on_connections(&mut self, event: Event) {
        match event {
            Event::TurnedAway(peer) => self.on_turned_away(peer),
            Event::Seek => {
                self.dial_bootstrap_nodes();
                self.dial_known_peers();
            }
            Event::Review => self.review_connections(),
        }
    }

    /// A peer is full and closes the connection: callers that wait for identify with it learn the reason.
    fn on_turned_away(&mut self, peer: PeerId) {
        tracing::debug!(target: crate::LOG_TARGET, %peer, "a peer is full");
        for reply in self.greeting.remove(&peer).into_iter().flatten() {
            let reason = "the node is full: it has no room for another connection".to_owned();
            // A caller that no longer waits needs no reply.
            let _unasked = reply.send(Err(DialFailed { reason, cause: DialCause::Full }));
        }
    }

    fn review_connections(&mut self) {
        let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        let mesh = self.swarm.behaviour().gossip.mesh_peers(&self.topic.hash()).copied().collect();
        let sessions = connected.iter().filter(|peer| self.exchange().has_use_for(peer)).copied().collect();
        let me = KBucketKey::from(*self.swarm.local_peer_id());
        let nearest = self.kad(Dht::Ggen).get_closest_local_peers(&me);
        let nearest: Vec<PeerId> = nearest.map(|key| *key.preimage()).take(MAX_NEIGHBOURS).collect();
        let neighbours = nearest.into_iter().filter(|peer| self.swarm.is_connected(peer)).collect();
        self.swarm.behaviour_mut().connections.need(Needed { mesh, sessions, neighbours });
    }

    /// Dials some peers of the routing tables, chosen at random.
    fn dial_known_peers(&mut self) {
        let mut known: Vec<PeerId> = Vec::new();
        for dht in Dht::ALL {
            let buckets = self.kad(dht).kbuckets();
            known.extend(
                buckets.flat_map(|bucket| bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>()),
            );
        }
        known.retain(|peer| !self.swarm.is_connected(peer));
        for _ in 0..SOUGHT_PEERS.min(known.len()) {
            let chosen = getrandom::u32().unwrap_or_default() as usize % known.len();
            let peer = known.swap_remove(chosen);
            self.dial_found(peer);
        }
    }
}
