//! What the driver does when a connection to a peer that sessions use is lost.

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
    swarm::{Dialler, Driver, peers::plain},
};

impl Driver {
    /// The last connection to a peer is closed.
    pub(super) fn on_lost(&mut self, peer: PeerId, now: Instant) {
        let address = self.dialled.remove(&peer);
        if let Some(delivered) = self.exchange().misses(&peer) {
            tracing::debug!(target: crate::LOG_TARGET, %peer, "the connection to a source is lost");
            self.redials.on_lost(peer, address, delivered, now);
        }
    }

    /// Dials the peers whose redial is due.
    pub(super) fn redial(&mut self, now: Instant) {
        while let Some(Redial { peer, address, anywhere }) = self.redials.next_due(now) {
            if self.swarm.is_connected(&peer) || self.exchange().misses(&peer).is_none() {
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
                // Another dial of this peer is under way.
                Err(DialError::DialPeerConditionFalse(_)) => self.redials.on_failed(&peer, now),
                Err(error) => self.on_not_regained(peer, &plain(&error), now),
            }
        }
    }

    /// An attempt to dial a peer again has failed.
    pub(super) fn on_not_regained(&mut self, peer: PeerId, reason: &str, now: Instant) {
        tracing::debug!(target: crate::LOG_TARGET, %peer, reason, "a source is not reached again");
        self.exchange().on_unreachable(peer, reason);
        self.redials.on_failed(&peer, now);
    }

    /// Forgets the peers that no session uses any more.
    pub(super) fn tidy_redials(&mut self) {
        let Self { swarm, redials, .. } = self;
        let exchange = &swarm.behaviour().exchange;
        redials.retain(|peer| exchange.has_use_for(peer));
    }
}
