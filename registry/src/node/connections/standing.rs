//! What the connection with a peer is worth, by what is known of the peer.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::marks::Marks;

/// How long a use makes a connection worth more than an idle one.
const USE_COUNTS: Duration = Duration::from_secs(300);

/// The peers that gossip, the block sessions and the DHT need at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needed {
    /// The gossip mesh.
    pub(crate) mesh: Vec<PeerId>,
    /// Peers that block sessions use.
    pub(crate) sessions: Vec<PeerId>,
    /// The nearest peers of the ggen DHT.
    pub(crate) neighbours: Vec<PeerId>,
}

/// What is known of the peers.
#[derive(Debug)]
pub(crate) struct Standing {
    marks: Marks,
    /// Peers that the user named, and bootstrap nodes; the oldest are dropped.
    named: VecDeque<PeerId>,
    /// Peers that the user allows.
    exempt: HashSet<PeerId>,
    followers: HashSet<PeerId>,
    mesh: HashSet<PeerId>,
    sessions: HashSet<PeerId>,
    neighbours: HashSet<PeerId>,
    used: HashMap<PeerId, Instant>,
}

impl Standing {
    pub(crate) fn new(marks: Marks) -> Self {
        Self {
            marks,
            named: VecDeque::new(),
            exempt: HashSet::new(),
            followers: HashSet::new(),
            mesh: HashSet::new(),
            sessions: HashSet::new(),
            neighbours: HashSet::new(),
            used: HashMap::new(),
        }
    }

    /// Protects a peer that the user named, or a bootstrap node. Returns the peer whose protection this ends.
    pub(crate) fn name(&mut self, peer: PeerId) -> Option<PeerId> {
        if self.named.contains(&peer) {
            return None;
        }
        let former = if self.named.len() >= self.marks.protected { self.named.pop_front() } else { None };
        self.named.push_back(peer);
        former
    }

    /// Protects a peer that the user allows, or ends that protection.
    pub(crate) fn exempt(&mut self, peer: PeerId, is_exempt: bool) {
        match is_exempt {
            true => self.exempt.insert(peer),
            false => self.exempt.remove(&peer),
        };
    }

    /// Notes whether a connected peer subscribes to the packages topic.
    pub(crate) fn follows(&mut self, peer: PeerId, does: bool) {
        if !does {
            self.followers.remove(&peer);
        } else if self.followers.len() < self.marks.followers {
            self.followers.insert(peer);
        }
    }

    /// Replaces the peers that the protocols need.
    pub(crate) fn need(&mut self, needed: Needed) {
        let some = |peers: Vec<PeerId>| peers.into_iter().take(self.marks.protected).collect();
        self.mesh = some(needed.mesh);
        self.sessions = some(needed.sessions);
        self.neighbours = some(needed.neighbours);
    }

    /// Notes that a connected peer was of use, or made use of this node.
    pub(crate) fn used(&mut self, peer: PeerId, now: Instant) {
        self.used.insert(peer, now);
    }

    /// The last connection with a peer is closed.
    pub(crate) fn on_gone(&mut self, peer: &PeerId) {
        self.followers.remove(peer);
        self.used.remove(peer);
    }

    /// Whether connections with the peer do not count against the limits.
    pub(crate) fn is_exempt(&self, peer: &PeerId) -> bool {
        self.exempt.contains(peer)
    }

    /// Whether connections with the peer are never trimmed.
    pub(crate) fn is_protected(&self, peer: &PeerId) -> bool {
        self.is_exempt(peer) || self.named.contains(peer) || self.mesh.contains(peer) || self.sessions.contains(peer)
    }

    /// Whether the connection with the peer stays open without use.
    pub(crate) fn stays_idle(&self, peer: &PeerId) -> bool {
        self.is_exempt(peer) || self.named.contains(peer) || self.followers.contains(peer)
    }

    pub(crate) fn is_useful(&self, peer: &PeerId, now: Instant) -> bool {
        let is_recent = |used: &Instant| now.saturating_duration_since(*used) < USE_COUNTS;
        self.followers.contains(peer) || self.neighbours.contains(peer) || self.used.get(peer).is_some_and(is_recent)
    }

    pub(crate) fn last_used(&self, peer: &PeerId) -> Option<Instant> {
        self.used.get(peer).copied()
    }
}
