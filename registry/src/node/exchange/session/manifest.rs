//! Wants that stand in a list: who has the list is asked for many of them at once, in its order.

use ggen_blockstore::Cid;
use libp2p::PeerId;

use crate::node::exchange::session::{MAX_REFUSALS, MAX_REMEMBERED, MIN_ASKED, MIN_RESERVE_BYTES, Member, Session};

/// Most blocks of one order.
const MAX_RUN: usize = 4096;

/// A block that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockWant {
    /// Its CID.
    pub cid: Cid,
    /// Its length in bytes, where it is known; what has a place in a list has one.
    pub size: Option<u64>,
    /// Where it stands in the session's list.
    pub place: Option<Place>,
}

impl From<(Cid, Option<u64>)> for BlockWant {
    fn from((cid, size): (Cid, Option<u64>)) -> Self {
        Self { cid, size, place: None }
    }
}

/// Where a block stands in the list of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the list: its other blocks come before it, wanted or not.
    Own,
    /// It is the block that the list names so many-th, from 0.
    Listed(u32),
}

/// What the blocks of a session are listed in. See [`blocks`](crate::node::exchange::bulk).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSource {
    /// The list.
    pub list: Cid,
    /// Most bytes of the list itself, and of all that it names if that is wanted with it.
    pub max_bytes: u64,
    /// All that the list names is wanted with it, if it is not too much.
    pub whole: bool,
    /// Lists of which every block is in our store, the most alike first.
    pub references: Vec<Cid>,
}

/// A want that is to be asked of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) struct Asking {
    pub(in crate::node::exchange) cid: Cid,
    /// What it takes of the peer's window.
    pub(in crate::node::exchange) charge: u64,
    pub(in crate::node::exchange) size: Option<u64>,
    pub(in crate::node::exchange) place: Option<Place>,
}

impl Session {
    /// Names the list that wants have places in.
    pub(in crate::node::exchange) fn describe(&mut self, list: ListSource) {
        self.unlisted.clear();
        self.list = Some(list);
    }

    pub(in crate::node::exchange) fn list(&self) -> Option<&ListSource> {
        self.list.as_ref()
    }

    /// What was held of the references is no more; says whether there were any.
    pub(in crate::node::exchange) fn forget_references(&mut self) -> bool {
        self.list.as_mut().is_some_and(|list| !std::mem::take(&mut list.references).is_empty())
    }

    /// The member is asked as if there were no list.
    pub(in crate::node::exchange) fn unlist(&mut self, peer: PeerId) {
        if self.unlisted.len() < MAX_REMEMBERED {
            self.unlisted.insert(peer);
        }
    }

    /// Whether the member is to be asked for what is listed.
    pub(in crate::node::exchange) fn is_listed(&self, peer: &PeerId) -> bool {
        self.list.is_some() && !self.unlisted.contains(peer)
    }

    /// Whether what is to be asked of the member next has a place in the list.
    pub(in crate::node::exchange) fn next_is_placed(&self, peer: &PeerId) -> bool {
        let Some(member) = self.members.get(peer) else { return false };
        let mut next = self.queue.range(member.cursor..).map(|sequence| &self.wants[sequence]);
        next.find(|want| !want.refused.contains(peer)).is_some_and(|want| want.place.is_some())
    }

    /// Members that may be asked and have refused nothing lately.
    pub(in crate::node::exchange) fn helpers(&self) -> usize {
        let helps = |(peer, member): &(&PeerId, &Member)| member.refusals == 0 && !self.is_held_back(peer);
        self.members.iter().filter(helps).count()
    }

    /// Bytes that nobody is asked for, as far as known.
    pub(in crate::node::exchange) fn queued_bytes(&self) -> u64 {
        self.queue.iter().filter_map(|sequence| self.wants[sequence].size).sum()
    }

    /// Chooses the next wants to order of `peer`, and notes them as asked: at most `room` bytes, and `credit` of the
    /// consumer, but [`MIN_ASKED`] blocks whatever their size.
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

    /// The member was asked for these and will not send them, which is no refusal.
    pub(in crate::node::exchange) fn give_back(&mut self, cids: &[Cid], peer: PeerId) {
        cids.iter().for_each(|cid| self.unask(cid, peer, false));
    }
}
