//! Peers that fall silent and come back: a process that was paused, a machine that slept. What such a peer gave no answer
//! to is asked of others, as if it had refused; once it sends a block it may be asked again. Until then nothing more is
//! asked of it than whether it has a few of the blocks, so it is not flooded while it is silent.

use ggen_blockstore::Cid;
use libp2p::PeerId;

use super::Session;

impl Session {
    /// Notes that the peer gave no answer when it was asked for these.
    pub(super) fn note_silent(&mut self, peer: PeerId, cids: &[Cid]) {
        self.stalled.insert(peer);
        for sequence in cids.iter().filter_map(|cid| self.sequences.get(cid)) {
            if let Some(want) = self.wants.get_mut(sequence).filter(|want| !want.silent.contains(&peer)) {
                want.silent.push(peer);
            }
        }
    }

    /// A peer that had fallen silent sends again: it may be asked once more for what it gave no answer to.
    pub(super) fn forgive_silence(&mut self, peer: PeerId) {
        if !self.stalled.remove(&peer) {
            return;
        }
        let mut free = Vec::new();
        for (sequence, want) in &mut self.wants {
            let before = want.silent.len();
            want.silent.retain(|other| *other != peer);
            if want.silent.len() < before {
                want.refused.retain(|other| *other != peer);
                free.extend(want.asked.is_empty().then_some(*sequence));
            }
        }
        for sequence in free {
            self.stuck.remove(&sequence);
            self.enqueue(sequence);
        }
    }
}
