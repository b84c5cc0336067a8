//! The record of one peer, and decisions based on it. No I/O and no clock.

use std::{fmt, time::Duration};

use libp2p::{Multiaddr, PeerId};

use super::LOW_REPUTATION;
use crate::identity::Timestamp;

/// How long a peer of low reputation is not probed after a failure.
const PROBE_AFTER: Duration = Duration::from_secs(600);
/// Probability, in 256ths, that such a peer is then used like any other.
const PROBE_CHANCE: u8 = 64;

/// The kind of failure of a peer in a retrieval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It sent bytes that are not the requested block.
    WrongBytes,
    /// It did not answer a request in time.
    Stalled,
    /// It announced that it has a block, and then reported that it does not.
    FalseHave,
    /// It relayed a record that does not verify.
    InvalidRecord,
    /// It sent something that is not a message of the protocol.
    Malformed,
}

impl Fault {
    /// The name of the event in histories.
    pub fn event(self) -> &'static str {
        match self {
            Self::WrongBytes => "wrong_bytes",
            Self::Stalled => "stalled",
            Self::FalseHave => "false_have",
            Self::InvalidRecord => "invalid_record",
            Self::Malformed => "malformed",
        }
    }
}

/// The outcome of a retrieval for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It sent what was requested.
    Retrieved {
        /// The retrieved package, if it has a name.
        package: Option<&'a str>,
        /// Bytes of verified blocks that it sent.
        bytes: u64,
    },
    /// The retrieval from this peer failed.
    Failed {
        /// The kind of failure.
        fault: Fault,
        /// The requested package, if it has a name.
        package: Option<&'a str>,
        /// Bytes of verified blocks that it sent nevertheless.
        bytes: u64,
    },
}

/// The name of a successful retrieval in histories.
pub(super) const RETRIEVED: &str = "retrieved";

/// One of the user's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listing {
    /// Used regardless of its reputation.
    Allowed,
    /// Never connected to.
    Denied,
}

impl Listing {
    /// The name as displayed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }

    /// The list with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Allowed, Self::Denied].into_iter().find(|list| list.name() == name)
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The record of one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRecord {
    /// The peer.
    pub peer: PeerId,
    /// Retrievals to which it contributed.
    pub successful: u64,
    /// Retrievals in which it failed.
    pub failed: u64,
    /// When it last failed.
    pub failed_at: Option<Timestamp>,
    /// When it was last active.
    pub last_seen: Timestamp,
    /// Number of unique packages that it provides, as of the last write.
    pub packages: u64,
    /// Bytes of blocks sent to it.
    pub bytes_sent: u64,
    /// Bytes of verified blocks received from it.
    pub bytes_received: u64,
    /// Its known addresses.
    pub addresses: Vec<Multiaddr>,
    /// Name and version of its program, as it states them.
    pub agent: Option<String>,
    /// Its last round trip time.
    pub latency: Option<Duration>,
    /// Its smoothed transfer rate in bytes per second.
    pub rate: Option<f64>,
    /// The list on which the user put it.
    pub listing: Option<Listing>,
}

/// Assessment of a peer before a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Reputation, from 0 to 1.
    pub reputation: f64,
    /// Its transfer rate in bytes per second.
    pub rate: Option<f64>,
    /// Its round trip time.
    pub latency: Option<Duration>,
    /// Use it only if other peers cannot deliver.
    pub held_back: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self { reputation: 1.0, rate: None, latency: None, held_back: false }
    }
}

impl PeerRecord {
    /// A record of a peer that was seen, without any other data.
    pub(crate) fn new(peer: PeerId, now: Timestamp) -> Self {
        Self {
            peer,
            successful: 0,
            failed: 0,
            failed_at: None,
            last_seen: now,
            packages: 0,
            bytes_sent: 0,
            bytes_received: 0,
            addresses: Vec::new(),
            agent: None,
            latency: None,
            rate: None,
            listing: None,
        }
    }

    /// successful / (successful + failed), 1 if both are zero.
    pub fn reputation(&self) -> f64 {
        let all = self.successful.saturating_add(self.failed);
        if all == 0 { 1.0 } else { self.successful as f64 / all as f64 }
    }

    /// See [`PeerBook::standing`](super::PeerBook::standing).
    pub(super) fn standing(&self, now: Timestamp, random: u8) -> Standing {
        let reputation = self.reputation();
        // A failure time in the future comes from a clock that was fast.
        let rested = self.failed_at.is_none_or(|at| at > now || at.plus(PROBE_AFTER) <= now);
        let probed = rested && random < PROBE_CHANCE;
        let held_back = reputation < LOW_REPUTATION && self.listing != Some(Listing::Allowed) && !probed;
        Standing { reputation, rate: self.rate, latency: self.latency, held_back }
    }

    /// Rank for removal when the book is full, lowest first: peers without a known retrieval, the least recently seen
    /// first. `None` for a listed peer, which is never removed.
    pub(super) fn expendable(&self) -> Option<(bool, Timestamp)> {
        self.listing.is_none().then_some((self.successful + self.failed > 0, self.last_seen))
    }
}

/// An event in a peer's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHistory {
    /// When it happened.
    pub time: Timestamp,
    /// `retrieved`, the name of a [`Fault`], or that of a [`Listing`].
    pub event: String,
    /// The package concerned.
    pub package: Option<String>,
    /// Bytes of verified blocks that were received.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(successful: u64, failed: u64) -> PeerRecord {
        let now = Timestamp::from_unix(1_000_000);
        let failed_at = (failed > 0).then_some(now);
        PeerRecord { successful, failed, failed_at, ..PeerRecord::new(PeerId::random(), now) }
    }

    #[test]
    fn reputation_is_the_share_of_successes_and_one_for_the_new() {
        for (successful, failed, expected) in [(0, 0, 1.0), (0, 3, 0.0), (1, 1, 0.5), (3, 1, 0.75), (7, 0, 1.0)] {
            assert_eq!(record(successful, failed).reputation(), expected);
        }
    }

    #[test]
    fn a_peer_of_low_reputation_is_held_back_and_probed_now_and_then() {
        let failed = Timestamp::from_unix(1_000_000);
        let rested = failed.plus(PROBE_AFTER);
        let mallory = record(1, 2);
        assert!((0..=u8::MAX).all(|random| mallory.standing(failed, random).held_back));
        let probes = (0..=u8::MAX).filter(|random| !mallory.standing(rested, *random).held_back).count();
        assert_eq!(probes, usize::from(PROBE_CHANCE));
        assert!(!record(1, 1).standing(failed, u8::MAX).held_back);
    }

    #[test]
    fn a_failure_that_a_fast_clock_has_noted_holds_nothing_back_for_longer_than_others_do() {
        let years_before = Timestamp::from_unix(1000);
        assert!(!record(1, 2).standing(years_before, 0).held_back);
    }

    #[test]
    fn an_allowed_peer_is_not_held_back() {
        let bob = PeerRecord { listing: Some(Listing::Allowed), ..record(0, 9) };
        let standing = bob.standing(Timestamp::from_unix(1_000_000), u8::MAX);
        assert_eq!((standing.reputation, standing.held_back), (0.0, false));
    }
}
