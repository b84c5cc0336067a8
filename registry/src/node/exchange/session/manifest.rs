//! Wants with a place in a manifest: a peer that has the manifest gets a request for many of them at once.

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::node::exchange::session::{MAX_REFUSALS, MAX_REMEMBERED, MIN_ASKED, MIN_RESERVE_BYTES, Member, Session};

/// Maximum number of blocks in one bulk request.
const MAX_RUN: usize = 4096;

/// A wanted block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockWant {
    /// Its CID.
    pub cid: Cid,
    /// Its length in bytes, if known; entries of a manifest have one.
    pub size: Option<u64>,
    /// Its place in the session's manifest.
    pub place: Option<Place>,
}

impl From<(Cid, Option<u64>)> for BlockWant {
    fn from((cid, size): (Cid, Option<u64>)) -> Self {
        Self { cid, size, place: None }
    }
}

/// The place of a block in the session's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The root of the manifest. The other own blocks arrive before it, wanted or not.
    Own,
    /// The entry with this index, from 0.
    Listed(u32),
}

/// The manifest of a session's blocks. Peers that support bulk requests get its wants in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSource {
    /// The manifest.
    pub list: Cid,
    /// Maximum size of the manifest itself, and of all its entries if `whole`, in bytes.
    pub max_bytes: u64,
    /// All entries are wanted together with the manifest, if they fit into `max_bytes`.
    pub whole: bool,
    /// Manifests of which the local store has every block, the most similar first.
    pub references: Vec<Cid>,
}

/// A want to be requested from a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) struct Asking {
    pub(in crate::node::exchange) cid: Cid,
    /// Bytes of the peer's window that it takes.
    pub(in crate::node::exchange) charge: u64,
    pub(in crate::node::exchange) size: Option<u64>,
    pub(in crate::node::exchange) place: Option<Place>,
}

impl Session {
    /// Sets the manifest that wants have places in.
    pub(in crate::node::exchange) fn describe(&mut self, list: ListSource) {
        self.unlisted.clear();
        self.list = Some(list);
    }

    pub(in crate::node::exchange) fn list(&self) -> Option<&ListSource> {
        self.list.as_ref()
    }

    /// Forgets the references, because a block of them is no longer in the store. Returns whether there were any.
    pub(in crate::node::exchange) fn forget_references(&mut self) -> bool {
        self.list.as_mut().is_some_and(|list| !std::mem::take(&mut list.references).is_empty())
    }

    /// The member gets no bulk requests any more, only Bitswap wants.
    pub(in crate::node::exchange) fn unlist(&mut self, peer: PeerId) {
        if self.unlisted.len() < MAX_REMEMBERED {
            self.unlisted.insert(peer);
        }
    }

    /// Whether the member may get bulk requests.
    pub(in crate::node::exchange) fn is_listed(&self, peer: &PeerId) -> bool {
        self.list.is_some() && !self.unlisted.contains(peer)
    }

    /// Whether the next want for the member has a place in the manifest.
    pub(in crate::node::exchange) fn next_is_placed(&self, peer: &PeerId) -> bool {
        let Some(member) = self.members.get(peer) else { return false };
        let mut next = self.queue.range(member.cursor..).map(|sequence| &self.wants[sequence]);
        next.find(|want| !want.refused.contains(peer)).is_some_and(|want| want.place.is_some())
    }

    /// The number of members that are not held back and whose last answer was no refusal.
    pub(in crate::node::exchange) fn helpers(&self) -> usize {
        let helps = |(peer, member): &(&PeerId, &Member)| member.refusals == 0 && !self.is_held_back(peer);
        self.members.iter().filter(helps).count()
    }

    /// Total size of the queued wants in bytes, as far as known.
    pub(in crate::node::exchange) fn queued_bytes(&self) -> u64 {
        self.queue.iter().filter_map(|sequence| self.wants[sequence].size).sum()
    }

    /// Chooses the next wants to request from `peer` in one bulk request, and records them as requested: at most `room`
    /// bytes of the peer's window, except for the first [`MIN_ASKED`] blocks, and at most `credit` bytes of the
    /// consumer's credit.
    pub(in crate::node::exchange) fn next_run_for(&mut self, peer: PeerId, room: u64, credit: u64) -> Vec<Asking> {
        let average = self.average_bytes as u64;
        let Some(member) = self.members.get_mut(&peer).filter(|member| member.refusals < MAX_REFUSALS) else {
            return Vec::new();
        };
        let (mut run, mut sequences, mut bytes) = (Vec::new(), Vec::new(), 0);
        for sequence in self.queue.range(member.cursor..) {
            let want = &self.wants[sequence];
            if want.refused.contains(&peer) {
                continue;
            }
            let Some(place) = want.place else { break };
            let charge = want.size.unwrap_or_else(|| average.max(MIN_RESERVE_BYTES));
            let fits = bytes + charge <= room || member.asked + run.len() < MIN_ASKED;
            if !fits || bytes + charge > credit || run.len() >= MAX_RUN || (place == Place::Own && !run.is_empty()) {
                break;
            }
            bytes += charge;
            sequences.push(*sequence);
            run.push(Asking { cid: want.cid, charge, size: want.size, place: want.place });
            if place == Place::Own {
                break;
            }
        }
        for (sequence, asking) in sequences.into_iter().zip(&run) {
            self.queue.remove(&sequence);
            if let Some(want) = self.wants.get_mut(&sequence) {
                (want.charge, want.reserve) = (asking.charge, asking.charge);
                want.asked.push(peer);
                self.asked_bytes += asking.charge;
            }
            member.asked += 1;
            member.cursor = sequence + 1;
        }
        run
    }

    /// Takes back requests that the member will not answer, without a refusal.
    pub(in crate::node::exchange) fn give_back(&mut self, cids: &[Cid], peer: PeerId) {
        cids.iter().for_each(|cid| self.unask(cid, peer, false));
    }
}
