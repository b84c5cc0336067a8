//! The part of the facade that reports on peers.

use libp2p::PeerId;

use super::Registry;
use crate::{Failure, PeerInfoRequest, PeerListRequest, PeerLists, PeerReport, PeerRuleRequest};

impl Registry {
    /// Lists the peers that are connected or known.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn peer_list(&self, request: PeerListRequest) -> Result<Vec<PeerReport>, Failure> {
        self.inner.services.peer_reports().list(request).await
    }

    /// Describes one peer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn peer_info(&self, request: PeerInfoRequest) -> Result<PeerReport, Failure> {
        self.inner.services.peer_reports().info(request).await
    }

    /// Allows or denies a peer, or deletes its record.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn peer_rule(&self, request: PeerRuleRequest) -> Result<PeerLists, Failure> {
        self.writable()?.peer_reports().set_rule(request).await
    }

    /// Returns a peer's reputation, from 0 to 1; 1 for an unknown peer. Reads memory only.
    pub fn peer_reputation(&self, peer: &PeerId) -> f64 {
        self.inner.services.peers.reputation(peer)
    }
}
