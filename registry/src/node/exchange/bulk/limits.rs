//! Limits and measurements per peer.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::node::exchange::bulk::compression_policy::Pace;

/// Maximum number of inbound streams of one peer.
const MAX_STREAMS_PER_PEER: usize = 8;
/// Maximum number of requests of one peer that are served at the same time.
const MAX_ANSWERING_PER_PEER: usize = 4;

/// Limits and measurements that all responses to one peer share.
#[derive(Clone, Debug)]
pub(super) struct PeerLimits {
    pub(super) streams: Arc<Semaphore>,
    pub(super) pace: Arc<Mutex<Pace>>,
    pub(super) answering: Arc<Semaphore>,
}

impl Default for PeerLimits {
    fn default() -> Self {
        let [streams, answering] =
            [MAX_STREAMS_PER_PEER, MAX_ANSWERING_PER_PEER].map(|most| Arc::new(Semaphore::new(most)));
        Self { streams, pace: Arc::default(), answering }
    }
}

impl PeerLimits {
    /// Whether other requests of the peer are being served besides the current one.
    pub(super) fn answers_others(&self) -> bool {
        self.answering.available_permits() + 1 < MAX_ANSWERING_PER_PEER
    }
}
