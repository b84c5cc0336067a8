//! Tells a scheduler events, and puts its actions where tests look for them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use super::*;
use crate::node::exchange::{
    bitswap::{self, Arrived},
    bulk::{self, BulkRequestId, End},
    callers::Callers,
    session::{BlockWant, ListSource},
};

/// What came of the blocks of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) unwanted: u64,
    /// The peer was reported.
    pub(super) misbehaved: bool,
    /// A session was notified of that.
    pub(super) blamed: bool,
}

pub(super) struct Desk {
    scheduler: Scheduler,
    callers: Callers,
    /// Messages of wants for each peer.
    messages: HashMap<PeerId, VecDeque<Message>>,
    /// Bulk requests, and cancels of them, for each peer.
    bulk: BTreeMap<PeerId, Vec<Action>>,
    placed: HashMap<BulkRequestId, PeerId>,
    used: BTreeSet<PeerId>,
}

impl Desk {
    pub(super) fn new(priors: Arc<dyn Priors>) -> Self {
        Self {
            scheduler: Scheduler::new(priors),
            callers: Callers::default(),
            messages: HashMap::new(),
            bulk: BTreeMap::new(),
            placed: HashMap::new(),
            used: BTreeSet::new(),
        }
    }

    fn on(&mut self, event: Event, now: Instant) -> Received {
        let mut received = Received::default();
        for action in self.scheduler.on(event, now) {
            match action {
                Action::SendWants(peer, message) => self.messages.entry(peer).or_default().push_back(message),
                Action::Request(request) => {
                    self.placed.insert(request.id, request.peer);
                    self.bulk.entry(request.peer).or_default().push(Action::Request(request));
                }
                Action::CancelRequest(id) => self.bulk.entry(self.placed[&id]).or_default().push(action),
                Action::Use(peer, true) => assert!(self.used.insert(peer)),
                Action::Use(peer, false) => assert!(self.used.remove(&peer)),
                Action::Notify(id, event) => self.callers.notify(id, event),
                Action::Reply(id, has) => self.callers.reply(id, has),
                Action::Count { blocks, bytes, unwanted, .. } => {
                    received = Received { blocks, bytes, unwanted, ..received };
                }
                Action::Report { blamed, .. } => received = Received { misbehaved: true, blamed, ..received },
            }
        }
        received
    }

    pub(super) fn open(&mut self, output: SessionSender, least_reputation: f64, now: Instant) -> SessionId {
        let credit = output.credit();
        let id = self.callers.add_session(output);
        self.on(Event::Open { id, credit, least_reputation }, now);
        id
    }

    pub(super) fn describe(&mut self, id: SessionId, list: ListSource, now: Instant) {
        self.on(Event::Describe(id, list), now);
    }

    pub(super) fn want<W: Into<BlockWant>>(&mut self, id: SessionId, wants: impl IntoIterator<Item = W>, now: Instant) {
        self.on(Event::Want(id, wants.into_iter().map(Into::into).collect()), now);
    }

    pub(super) fn cancel(&mut self, id: SessionId, cids: Vec<Cid>, now: Instant) {
        self.on(Event::Cancel(id, cids), now);
    }

    pub(super) fn add_peer(&mut self, id: SessionId, peer: PeerId, now: Instant) {
        self.on(Event::AddPeer { id, peer, named: false }, now);
    }

    pub(super) fn close(&mut self, id: SessionId, now: Instant) {
        self.callers.close(id);
        self.on(Event::Close(id), now);
    }

    pub(super) fn question(&mut self, peer: PeerId, cids: Vec<Cid>, reply: oneshot::Sender<bool>, now: Instant) {
        let id = self.callers.add_query(reply);
        self.on(Event::Query { id, peer, cids }, now);
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, now: Instant) {
        self.on(Event::Connected(peer), now);
    }

    /// What was to be sent to the peer is lost.
    pub(super) fn on_disconnected(&mut self, peer: PeerId, now: Instant) {
        self.on(Event::Disconnected(peer), now);
        self.messages.remove(&peer);
        self.used.remove(&peer);
    }

    pub(super) fn on_progress(&mut self, peer: PeerId, now: Instant) {
        self.on(Event::Bitswap(peer, bitswap::Event::Progress), now);
    }

    pub(super) fn on_blocks(
        &mut self,
        peer: PeerId,
        blocks: Vec<Block>,
        refused_blocks: u32,
        frame_bytes: usize,
        now: Instant,
    ) -> Received {
        let arrived = Arrived { blocks, refused_blocks, frame_bytes, ..Arrived::default() };
        self.on(Event::Bitswap(peer, bitswap::Event::Arrived(arrived)), now)
    }

    pub(super) fn on_presences(&mut self, peer: PeerId, presences: &[(Cid, Presence)], now: Instant) {
        let arrived = Arrived { presences: presences.to_vec(), ..Arrived::default() };
        self.on(Event::Bitswap(peer, bitswap::Event::Arrived(arrived)), now);
    }

    pub(super) fn on_oversized(&mut self, peer: PeerId, oversized: Vec<(Cid, u64)>, now: Instant) {
        let arrived = Arrived { oversized, ..Arrived::default() };
        self.on(Event::Bitswap(peer, bitswap::Event::Arrived(arrived)), now);
    }

    /// A message above the maximum length begins to arrive. Returns whether the peer was not reported for it.
    pub(super) fn on_too_long(&mut self, peer: PeerId, now: Instant) -> bool {
        let error = bitswap::Event::Malformed(Malformed::Frame(FrameError::TooLong));
        !self.on(Event::Bitswap(peer, error), now).misbehaved
    }

    pub(super) fn on_update_sent(&mut self, peer: PeerId, says_no: bool, now: Instant) {
        self.on(Event::Bitswap(peer, bitswap::Event::WantsSent { says_no }), now);
    }

    pub(super) fn on_update_failed(&mut self, peer: PeerId, unsupported: bool, now: Instant) {
        self.messages.remove(&peer);
        self.on(Event::Bitswap(peer, bitswap::Event::WantsLost { unsupported }), now);
    }

    pub(super) fn on_supports(&mut self, peer: PeerId, supports: bool, now: Instant) {
        self.on(Event::Bulk(bulk::Event::Supports { peer, supports }), now);
    }

    pub(super) fn on_bulk_requested(
        &mut self,
        peer: PeerId,
        id: BulkRequestId,
        blocks: Vec<Block>,
        now: Instant,
    ) -> Received {
        self.on(Event::Bulk(bulk::Event::Arrived { peer, id, blocks }), now)
    }

    pub(super) fn on_bulk_progress(&mut self, peer: PeerId, id: BulkRequestId, bytes: u64, now: Instant) {
        self.on(Event::Bulk(bulk::Event::Progress { peer, id, bytes }), now);
    }

    pub(super) fn on_bulk_absent(&mut self, peer: PeerId, id: BulkRequestId, cids: &[Cid], now: Instant) {
        self.on(Event::Bulk(bulk::Event::Absent { peer, id, cids: cids.to_vec() }), now);
    }

    pub(super) fn on_bulk_ended(&mut self, peer: PeerId, id: BulkRequestId, end: End, now: Instant) -> Received {
        self.on(Event::Bulk(bulk::Event::Ended { peer, id, end }), now)
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.callers.gone().into_iter().for_each(|id| self.close(id, now));
        self.on(Event::Tick, now);
    }

    pub(super) fn poll_consumers(&mut self, now: Instant) {
        for id in self.callers.poll_changed(futures::task::noop_waker_ref()) {
            self.on(if self.callers.is_gone(id) { Event::Close(id) } else { Event::HasRoom(id) }, now);
        }
    }

    /// Takes the next message of wants for the peer.
    pub(super) fn next_update(&mut self, peer: &PeerId) -> Option<Message> {
        self.messages.get_mut(peer)?.pop_front()
    }

    /// Takes the bulk requests and cancels for the peer.
    pub(super) fn take_bulk_actions(&mut self, peer: &PeerId) -> Vec<Action> {
        self.bulk.remove(peer).unwrap_or_default()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.scheduler.is_busy()
    }

    pub(super) fn uses(&self, peer: &PeerId) -> bool {
        self.used.contains(peer)
    }

    /// The number of members of a session.
    pub(super) fn members(&mut self, id: SessionId) -> usize {
        self.scheduler.sessions.get_mut(id).map_or(0, |fetch| fetch.session.members().len())
    }

    pub(super) fn is_wanted(&self, cid: &Cid) -> bool {
        !self.scheduler.sessions.wanting(cid).is_empty()
    }

    /// The number of blocks that the peer sent without a request.
    pub(super) fn unasked(&self, peer: &PeerId) -> u32 {
        self.scheduler.peers.get(peer).map_or(0, |peer| peer.unasked)
    }
}
