//! What is known of one peer, and what follows from it. No I/O and no clock.

use std::{fmt, time::Duration};

use libp2p::{Multiaddr, PeerId};

use super::LOW_REPUTATION;
use crate::identity::Timestamp;

/// How long a peer of low reputation is left alone after it failed.
const PROBE_AFTER: Duration = Duration::from_secs(600);
/// In how many of 256 cases one that was left alone for so long is asked like any other.
const PROBE_CHANCE: u8 = 64;

/// What a peer did to make a retrieval fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It sent bytes that are not what it was asked for.
    WrongBytes,
    /// It was asked and did not answer in time.
    Stalled,
    /// It said that it has a block, and when asked for it, that it has not.
    FalseHave,
    /// It passed on a record that does not verify.
    InvalidRecord,
    /// It sent something that is not a message of the protocol.
    Malformed,
}

impl Fault {
    /// The event's name in histories.
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

/// How a retrieval ended for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It sent what it was asked for.
    Retrieved {
        /// What was retrieved, where that has a name.
        package: Option<&'a str>,
        /// Bytes of verified blocks that it sent.
        bytes: u64,
    },
    /// It made the retrieval fail, as far as it was up to this peer.
    Failed {
        /// How.
        fault: Fault,
        /// What was to be retrieved, where that has a name.
        package: Option<&'a str>,
        /// Bytes of verified blocks that it sent all the same.
        bytes: u64,
    },
}

/// The name in histories of a retrieval that succeeded.
pub(super) const RETRIEVED: &str = "retrieved";

/// One of the user's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listing {
    /// Asked whatever its reputation.
    Allowed,
    /// Not connected to at all.
    Denied,
}

impl Listing {
    /// As shown and stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }

    /// The list of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Allowed, Self::Denied].into_iter().find(|list| list.name() == name)
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What is known of one peer.
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
    /// Where it can be reached, as far as known.
    pub addresses: Vec<Multiaddr>,
    /// Name and version of its program, as it says.
    pub agent: Option<String>,
    /// Its last round trip time.
    pub latency: Option<Duration>,
    /// How fast it sends, in bytes per second, smoothed.
    pub rate: Option<f64>,
    /// On which list the user put it.
    pub listing: Option<Listing>,
}

/// What is to be thought of a peer before it is asked for something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// From 0 to 1.
    pub reputation: f64,
    /// How fast it was, in bytes per second.
    pub rate: Option<f64>,
    /// Its round trip time.
    pub latency: Option<Duration>,
    /// Ask it only if the others cannot deliver.
    pub held_back: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self { reputation: 1.0, rate: None, latency: None, held_back: false }
    }
}

impl PeerRecord {
    /// Nothing but that it was there.
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

    /// successful / (successful + failed), 1 if there was neither.
    pub fn reputation(&self) -> f64 {
        let all = self.successful.saturating_add(self.failed);
        if all == 0 { 1.0 } else { self.successful as f64 / all as f64 }
    }

    /// See [`PeerBook::standing`](super::PeerBook::standing).
    pub(super) fn standing(&self, now: Timestamp, random: u8) -> Standing {
        let reputation = self.reputation();
        // A failure of the future was noted by a clock that was fast.
        let rested = self.failed_at.is_none_or(|at| at > now || at.plus(PROBE_AFTER) <= now);
        let probed = rested && random < PROBE_CHANCE;
        let held_back = reputation < LOW_REPUTATION && self.listing != Some(Listing::Allowed) && !probed;
        Standing { reputation, rate: self.rate, latency: self.latency, held_back }
    }

    /// Who goes first when there is no room for all: those of which no retrieval is known, the least recently seen
    /// first. `None`: this one stays.
    pub(super) fn expendable(&self) -> Option<(bool, Timestamp)> {
        self.listing.is_none().then_some((self.successful + self.failed > 0, self.last_seen))
    }
}

/// Something that a peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHistory {
    /// When.
    pub time: Timestamp,
    /// `retrieved`, the name of a [`Fault`], or that of a [`Listing`].
    pub event: String,
    /// About which package.
    pub package: Option<String>,
    /// Bytes of verified blocks that came with it.
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
