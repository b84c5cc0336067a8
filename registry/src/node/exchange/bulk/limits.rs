//! What one peer may have of this node at the same time.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::node::exchange::bulk::compression_policy::Pace;

/// Streams of one peer on which requests may come.
const MAX_STREAMS_PER_PEER: usize = 8;
/// Requests of one peer that are answered at the same time.
const MAX_ANSWERING_PER_PEER: usize = 4;

/// Bounds and measurements that all answers to one peer share.
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
    /// Whether, while one request is answered, other requests of the peer are answered too.
    pub(super) fn answers_others(&self) -> bool {
        self.answering.available_permits() + 1 < MAX_ANSWERING_PER_PEER
    }
}
