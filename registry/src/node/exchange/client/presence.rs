//! Queries whether one peer has all of some blocks. They fetch nothing and belong to no session.

use std::{collections::HashSet, time::Instant};

use ggen_blockstore::Cid;
use libp2p::PeerId;
use tokio::sync::oneshot;

use crate::node::exchange::{
    SessionId,
    client::{Client, Standing},
};

/// Maximum number of blocks in one query: queries and sessions share the peer's memory for wants.
pub const MAX_PRESENCE_QUERY_CIDS: usize = 256;

/// A pending query.
#[derive(Debug)]
pub(super) struct PresenceQuery {
    peer: PeerId,
    waiting: HashSet<Cid>,
    reply: oneshot::Sender<bool>,
}

impl Client {
    /// Queries whether a connected peer has all of `cids`, at most [`MAX_PRESENCE_QUERY_CIDS`]. Replies false as soon
    /// as one is missing, or if the peer cannot be queried; does not reply while the peer is silent.
    pub(in crate::node::exchange) fn question(
        &mut self,
        peer_id: PeerId,
        cids: Vec<Cid>,
        reply: oneshot::Sender<bool>,
        now: Instant,
    ) {
        let peer = self.peers.get_mut(&peer_id).filter(|peer| peer.standing == Standing::Good);
        let Some(peer) = peer.filter(|peer| cids.len() <= MAX_PRESENCE_QUERY_CIDS && peer.has_room_for_questions())
        else {
            // A caller that no longer waits needs no reply; the same holds below.
            let _unasked = reply.send(false);
            return;
        };
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let waiting: HashSet<Cid> = cids.into_iter().collect();
        if waiting.is_empty() {
            let _unasked = reply.send(true);
            return;
        }
        waiting.iter().for_each(|cid| peer.wantlist.ask_whether(*cid, id, now));
        self.touched.insert(peer_id);
        self.surveys.insert(id, PresenceQuery { peer: peer_id, waiting, reply });
    }

    /// The peer has the block; `owners` are the sessions and queries of its want-list entry.
    pub(super) fn on_there(&mut self, peer_id: PeerId, cid: &Cid, owners: &[SessionId]) {
        for id in owners {
            let Some(survey) = self.surveys.get_mut(id).filter(|survey| survey.peer == peer_id) else { continue };
            if survey.waiting.remove(cid) {
                let done = survey.waiting.is_empty();
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.wantlist.release(cid, *id);
                }
                if done {
                    self.answer(*id, true);
                }
            }
        }
    }

    /// The peer does not have the block.
    pub(super) fn on_not_there(&mut self, peer_id: PeerId, cid: &Cid) {
        let about = |survey: &PresenceQuery| survey.peer == peer_id && survey.waiting.contains(cid);
        let ids: Vec<_> = self.surveys.iter().filter(|(_, survey)| about(survey)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.answer(id, false));
    }

    /// Ends the queries to a peer that cannot answer any more.
    pub(super) fn drop_questions(&mut self, peer_id: PeerId) {
        let ids: Vec<_> = self.surveys.iter().filter(|(_, s)| s.peer == peer_id).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.answer(id, false));
    }

    /// Ends the queries whose caller is gone.
    pub(super) fn drop_unasked(&mut self) {
        let gone: Vec<_> = self.surveys.iter().filter(|(_, s)| s.reply.is_closed()).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.answer(id, false));
    }

    fn answer(&mut self, id: SessionId, has: bool) {
        let Some(PresenceQuery { peer: peer_id, waiting, reply }) = self.surveys.remove(&id) else { return };
        if let Some(peer) = self.peers.get_mut(&peer_id) {
            waiting.iter().for_each(|cid| peer.wantlist.release(cid, id));
            self.touched.insert(peer_id);
        }
        let _unasked = reply.send(has);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ggen_blockstore::Block;

    use super::*;
    use crate::node::exchange::{
        bitswap::message::{Presence, WantKind},
        prior::NoPriors,
    };

    fn blocks() -> [Block; 2] {
        [1_u8, 2].map(|byte| Block::raw(vec![byte; 10]).unwrap())
    }

    struct Asked {
        client: Client,
        peer: PeerId,
        answer: oneshot::Receiver<bool>,
    }

    fn ask() -> Asked {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut client = Client::new(Arc::new(NoPriors));
        client.on_connected(peer, now);
        let (reply, answer) = oneshot::channel();
        client.question(peer, blocks().map(|block| *block.cid()).to_vec(), reply, now);
        let told = client.next_update(&peer).unwrap();
        assert_eq!(told.wants.len(), 2);
        assert!(told.wants.iter().all(|want| want.kind == WantKind::Have && want.send_dont_have));
        client.on_update_sent(peer, true);
        Asked { client, peer, answer }
    }

    #[test]
    fn all_is_there_when_every_block_was_confirmed_in_whatever_way() {
        let Asked { mut client, peer, mut answer } = ask();
        let [first, second] = blocks();
        client.on_presences(peer, &[(*first.cid(), Presence::Have)], Instant::now());
        assert!(answer.try_recv().is_err() && client.is_busy());
        // A small block arrives in place of a HAVE, and does not count as unrequested.
        let received = client.on_blocks(peer, vec![second], 0, 100, Instant::now());
        assert_eq!(answer.try_recv(), Ok(true));
        assert!(!received.misbehaved && !client.is_busy() && !client.uses(&peer));
    }

    #[test]
    fn one_missing_block_is_enough_to_say_no_and_the_rest_is_taken_back() {
        let Asked { mut client, peer, mut answer } = ask();
        client.on_presences(peer, &[(*blocks()[1].cid(), Presence::DontHave)], Instant::now());
        assert_eq!(answer.try_recv(), Ok(false));
        assert!(client.next_update(&peer).unwrap().wants.iter().all(|want| want.cancel));
        assert!(!client.uses(&peer));
    }

    #[test]
    fn a_peer_that_goes_a_stranger_and_an_asker_that_goes_leave_nothing_behind() {
        let Asked { mut client, peer, mut answer } = ask();
        client.on_disconnected(peer, Instant::now());
        assert_eq!(answer.try_recv(), Ok(false));
        let (reply, mut answer) = oneshot::channel();
        client.question(PeerId::random(), Vec::new(), reply, Instant::now());
        assert_eq!(answer.try_recv(), Ok(false));
        let Asked { mut client, peer, answer } = ask();
        drop(answer);
        client.tick(Instant::now());
        assert!(!client.is_busy() && !client.uses(&peer));
    }
}
