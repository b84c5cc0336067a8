//! What the driver does about lost connections to peers that fetches have use for.

use std::time::Instant;

use libp2p::{
    PeerId,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use crate::node::{
    discovery::redial_schedule::Redial,
    exchange::{SessionId, bulk},
    swarm::{Dialler, Driver, peers::plain},
};

impl Driver {
    /// A peer that may have what a session wants; `named` by the caller, or found.
    pub(super) fn add_peer(&mut self, session: SessionId, peer: PeerId, named: bool) {
        if named {
            self.bitswap().keep_to(session, peer);
        }
        self.bitswap().add_peer(session, peer);
    }

    /// The last connection to a peer is closed.
    pub(super) fn on_lost(&mut self, peer: PeerId, now: Instant) {
        let address = self.dialled.remove(&peer);
        if let Some(delivered) = self.bitswap().misses(&peer) {
            tracing::debug!(target: crate::LOG_TARGET, %peer, "the connection to a source is lost");
            self.redials.on_lost(peer, address, delivered, now);
        }
    }

    /// Dials those whose turn it is.
    pub(super) fn redial(&mut self, now: Instant) {
        while let Some(Redial { peer, address, anywhere }) = self.redials.next_due(now) {
            if self.swarm.is_connected(&peer) || self.bitswap().misses(&peer).is_none() {
                self.redials.forget(&peer);
                continue;
            }
            let options = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing);
            let options = match address {
                Some(address) if anywhere => {
                    options.addresses(vec![address]).extend_addresses_through_behaviour().build()
                }
                Some(address) => options.addresses(vec![address]).build(),
                None => options.build(),
            };
            let connection = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => drop(self.dials.insert(connection, Dialler::Again(peer))),
                // It is being dialled for another reason.
                Err(DialError::DialPeerConditionFalse(_)) => self.redials.on_failed(&peer, now),
                Err(error) => self.on_not_regained(peer, &plain(&error), now),
            }
        }
    }

    /// Takes what came of requests. A peer that can be given some, and that a fetch has use for, was connected again: streams
    /// to it are opened as they were when the fetch began.
    pub(super) fn on_blocks(&mut self, event: bulk::Event) {
        if let bulk::Event::Supports { peer, supports: true } = &event
            && self.bitswap().has_use_for(peer)
        {
            self.swarm.behaviour_mut().blocks.prepare();
        }
        self.bitswap().on_blocks_event(event);
    }

    /// An attempt to dial a peer again has failed.
    pub(super) fn on_not_regained(&mut self, peer: PeerId, reason: &str, now: Instant) {
        tracing::debug!(target: crate::LOG_TARGET, %peer, reason, "a source is not reached again");
        self.bitswap().on_unreachable(peer, reason);
        self.redials.on_failed(&peer, now);
    }

    /// Forgets the peers that no fetch has use for any more.
    pub(super) fn tidy_redials(&mut self) {
        let Self { swarm, redials, .. } = self;
        let bitswap = &swarm.behaviour().bitswap;
        redials.retain(|peer| bitswap.has_use_for(peer));
    }
}
