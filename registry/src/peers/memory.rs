//! The book in memory, and its changes that are not written yet. No I/O and no clock.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};

use super::{Listing, MAX_LISTED, MAX_PEERS, Outcome, PeerBookError, PeerHistory, PeerRecord, record::RETRIEVED};
use crate::identity::Timestamp;

/// Most addresses of one peer: the newest, and of addresses recorded together the first ones.
const MAX_ADDRESSES: usize = 8;
/// Longest address stored, in bytes.
const MAX_ADDRESS_BYTES: usize = 256;
/// Longest program name stored, in characters.
const MAX_AGENT_CHARS: usize = 64;
/// Longest package name stored, in bytes: `<publisher>/ns/name`, or a CID.
const MAX_PACKAGE_BYTES: usize = 256;
/// Most events, and most packages, that wait to be written; further ones are dropped.
const MAX_WAITING: usize = 8192;
/// Weight of a new rate measurement against the former average.
const NEW_RATE: f64 = 0.3;

/// The listed peers, each with its list.
pub(super) type Lists = BTreeMap<PeerId, Listing>;

/// The book in memory; see the module documentation.
#[derive(Debug, Default)]
pub(super) struct Memory {
    peers: HashMap<PeerId, PeerRecord>,
    changed: HashSet<PeerId>,
    forgotten: HashSet<PeerId>,
    history: Vec<(PeerId, PeerHistory)>,
    packages: Vec<(PeerId, String, Timestamp)>,
    closing: bool,
}

/// Pending changes, written in this order: removals, then current records.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) forgotten: HashSet<PeerId>,
    pub(super) records: Vec<PeerRecord>,
    pub(super) history: Vec<(PeerId, PeerHistory)>,
    pub(super) packages: Vec<(PeerId, String, Timestamp)>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.records.is_empty() && self.history.is_empty() && self.packages.is_empty()
    }
}

impl Memory {
    /// Creates the book from the records of a file.
    pub(super) fn new(records: impl IntoIterator<Item = PeerRecord>) -> Self {
        let peers = records.into_iter().map(|record| (record.peer, record)).collect();
        let mut memory = Self { peers, ..Self::default() };
        while memory.peers.len() > MAX_PEERS && memory.make_room() {}
        memory
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&PeerRecord> {
        self.peers.get(peer)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &PeerRecord> {
        self.peers.values()
    }

    pub(super) fn record(&mut self, peer: &PeerId, outcome: Outcome<'_>, now: Timestamp) {
        let record = self.touch(peer, now);
        let (event, package, bytes) = match outcome {
            Outcome::Retrieved { package, bytes } => {
                record.successful = record.successful.saturating_add(1);
                (RETRIEVED, package, bytes)
            }
            Outcome::Failed { fault, package, bytes } => {
                record.failed = record.failed.saturating_add(1);
                record.failed_at = Some(now);
                (fault.event(), package, bytes)
            }
        };
        self.note(peer, event, package, bytes, now);
    }

    fn note(&mut self, peer: &PeerId, event: &str, package: Option<&str>, bytes: u64, time: Timestamp) {
        if self.history.len() < MAX_WAITING {
            let package = package.filter(|package| package.len() <= MAX_PACKAGE_BYTES).map(str::to_owned);
            self.history.push((*peer, PeerHistory { time, event: event.to_owned(), package, bytes }));
        }
    }

    pub(super) fn provides(&mut self, peer: &PeerId, package: &str, now: Timestamp) {
        self.touch(peer, now);
        if self.packages.len() < MAX_WAITING && package.len() <= MAX_PACKAGE_BYTES {
            self.packages.push((*peer, package.to_owned(), now));
        }
    }

    pub(super) fn seen(&mut self, peer: &PeerId, addresses: &[Multiaddr], now: Timestamp) {
        let record = self.touch(peer, now);
        for address in addresses.iter().filter(|address| address.len() <= MAX_ADDRESS_BYTES).take(MAX_ADDRESSES) {
            record.addresses.retain(|known| known != address);
            record.addresses.push(address.clone());
        }
        let surplus = record.addresses.len().saturating_sub(MAX_ADDRESSES);
        record.addresses.drain(..surplus);
    }

    pub(super) fn introduced(&mut self, peer: &PeerId, agent: &str, now: Timestamp) {
        let agent: String = agent.chars().filter(|letter| !letter.is_control()).take(MAX_AGENT_CHARS).collect();
        self.touch(peer, now).agent = Some(agent);
    }

    pub(super) fn latency(&mut self, peer: &PeerId, latency: Duration, now: Timestamp) {
        self.touch(peer, now).latency = Some(latency);
    }

    pub(super) fn traffic(&mut self, peer: &PeerId, sent: u64, received: u64, rate: Option<f64>, now: Timestamp) {
        let record = self.touch(peer, now);
        record.bytes_sent = record.bytes_sent.saturating_add(sent);
        record.bytes_received = record.bytes_received.saturating_add(received);
        if let Some(rate) = rate.filter(|rate| rate.is_finite() && *rate > 0.0) {
            record.rate = Some(record.rate.map_or(rate, |old| old * (1.0 - NEW_RATE) + rate * NEW_RATE));
        }
    }

    pub(super) fn put_on(&mut self, peer: &PeerId, listing: Listing, now: Timestamp) -> Result<(), PeerBookError> {
        let listed = self.peers.values().filter(|other| other.listing == Some(listing) && other.peer != *peer).count();
        if listed >= MAX_LISTED {
            return Err(PeerBookError::TooManyListed { listing });
        }
        // A decision about a peer does not count as having seen it.
        let last_seen = self.get(peer).map(|record| record.last_seen);
        let record = self.touch(peer, now);
        record.listing = Some(listing);
        record.last_seen = last_seen.unwrap_or_default();
        self.note(peer, listing.name(), None, 0, now);
        Ok(())
    }

    /// The listed peers, each with its list.
    pub(super) fn lists(&self) -> Lists {
        self.peers.values().filter_map(|record| Some((record.peer, record.listing?))).collect()
    }

    /// Replaces the lists by these.
    pub(super) fn set_lists(&mut self, lists: &Lists) {
        let of_book: Vec<PeerId> =
            self.peers.values().filter(|peer| peer.listing.is_some()).map(|peer| peer.peer).collect();
        for peer in of_book.iter().chain(lists.keys()) {
            // A list entry alone does not tell when the peer was last seen.
            let record = self.peers.entry(*peer).or_insert_with(|| PeerRecord::new(*peer, Timestamp::default()));
            record.listing = lists.get(peer).copied();
            self.changed.insert(*peer);
        }
    }

    pub(super) fn forget(&mut self, peer: &PeerId) -> bool {
        let known = self.peers.remove(peer).is_some();
        if known {
            self.changed.remove(peer);
            self.forgotten.insert(*peer);
            self.history.retain(|(other, _)| other != peer);
            self.packages.retain(|(other, ..)| other != peer);
        }
        known
    }

    fn touch(&mut self, peer: &PeerId, now: Timestamp) -> &mut PeerRecord {
        if !self.peers.contains_key(peer) && self.peers.len() >= MAX_PEERS {
            self.make_room();
        }
        self.changed.insert(*peer);
        let record = self.peers.entry(*peer).or_insert_with(|| PeerRecord::new(*peer, now));
        record.last_seen = now;
        record
    }

    /// Removes the most expendable peer; returns whether there was one.
    fn make_room(&mut self) -> bool {
        let expendable = self.peers.values().filter_map(|record| Some((record.expendable()?, record.peer)));
        let Some((_, peer)) = expendable.min_by_key(|(rank, _)| *rank) else { return false };
        self.forget(&peer)
    }

    pub(super) fn has_changes(&self) -> bool {
        !(self.changed.is_empty() && self.forgotten.is_empty() && self.history.is_empty() && self.packages.is_empty())
    }

    /// Takes the pending changes.
    pub(super) fn take_changes(&mut self) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        Changes {
            forgotten: std::mem::take(&mut self.forgotten),
            records: changed.iter().filter_map(|peer| self.peers.get(peer).cloned()).collect(),
            history: std::mem::take(&mut self.history),
            packages: std::mem::take(&mut self.packages),
        }
    }

    /// Restores changes that could not be written. Records are tried again; events and packages are dropped, so that a
    /// full disk does not fill the memory too.
    pub(super) fn take_back(&mut self, changes: Changes) {
        self.changed
            .extend(changes.records.iter().map(|record| record.peer).filter(|peer| self.peers.contains_key(peer)));
        self.forgotten.extend(changes.forgotten);
    }

    /// Updates the package counts.
    pub(super) fn count_packages(&mut self, counts: Vec<(PeerId, u64)>) {
        for (peer, packages) in counts {
            if let Some(record) = self.peers.get_mut(&peer) {
                record.packages = packages;
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }
}
