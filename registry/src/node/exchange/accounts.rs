//! Traffic and misbehaviour of peers over both protocols, reported to the owner of the swarm.

use std::collections::{HashMap, VecDeque};

use libp2p::PeerId;

/// Number of malformed messages after which the connections to a peer are closed.
const MAX_MALFORMED: u32 = 3;

/// Events for the owner of the swarm.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
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

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    served: (u64, u64),
    received: (u64, u64),
    unwanted: u64,
}

/// What peers sent, received and did wrong.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    traffic: HashMap<PeerId, Traffic>,
    /// Number of malformed messages of each connected peer.
    malformed: HashMap<PeerId, u32>,
    events: VecDeque<Event>,
}

impl Accounts {
    /// Blocks of this total size in bytes were sent to a peer.
    pub(super) fn add_served(&mut self, peer: PeerId, blocks: u64, bytes: u64) {
        let served = &mut self.traffic.entry(peer).or_default().served;
        *served = (served.0 + blocks, served.1 + bytes);
    }

    /// Wanted blocks of this total size in bytes arrived from a peer, and further blocks that are `unwanted`.
    pub(super) fn add_received(&mut self, peer: PeerId, blocks: u64, bytes: u64, unwanted: u64) {
        let traffic = self.traffic.entry(peer).or_default();
        traffic.received = (traffic.received.0 + blocks, traffic.received.1 + bytes);
        traffic.unwanted += unwanted;
    }

    /// A peer misbehaved. `blamed`: a session was notified of it. Returns whether its connections must be closed.
    pub(super) fn report(&mut self, peer: PeerId, reason: Misbehaviour, blamed: bool) -> bool {
        tracing::debug!(%peer, ?reason, "a peer misbehaved");
        let is_malformed = matches!(reason, Misbehaviour::Malformed { .. });
        self.events.push_back(Event::PeerMisbehaved { peer, reason, blamed });
        if !is_malformed {
            return false;
        }
        let malformed = self.malformed.entry(peer).or_default();
        *malformed += 1;
        *malformed >= MAX_MALFORMED
    }

    pub(super) fn on_disconnected(&mut self, peer: &PeerId) {
        self.malformed.remove(peer);
    }

    /// Whether traffic was counted since the last [`close_period`](Self::close_period).
    pub(super) fn has_traffic(&self) -> bool {
        !self.traffic.is_empty()
    }

    /// Turns the traffic counted so far into events. `rate_of`: the rate of a peer in bytes per second, if measured.
    pub(super) fn close_period(&mut self, rate_of: impl Fn(&PeerId) -> Option<f64>) {
        for (peer, Traffic { served, received, unwanted }) in self.traffic.drain() {
            if served.0 > 0 {
                self.events.push_back(Event::Served { peer, blocks: served.0, bytes: served.1 });
            }
            if received.0 + unwanted > 0 {
                let ((blocks, bytes), rate) = (received, rate_of(&peer));
                self.events.push_back(Event::Received { peer, blocks, bytes, unwanted, rate });
            }
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
