//! What is known of a peer before its first request, from earlier connections.

use std::{fmt::Debug, time::Duration};

use libp2p::PeerId;

/// What earlier connections to a peer have shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// From 0 to 1.
    pub reputation: f64,
    /// Its rate in bytes per second.
    pub rate: Option<f64>,
    /// Its round-trip time.
    pub latency: Option<Duration>,
    /// Send it requests only if other peers do not deliver.
    pub held_back: bool,
}

impl Default for Prior {
    fn default() -> Self {
        Self { reputation: 1.0, rate: None, latency: None, held_back: false }
    }
}

/// Provides the priors of peers. Called on the swarm's event loop, so it must return at once.
pub trait Priors: Debug + Send + Sync + 'static {
    /// Returns what is known of `peer`.
    fn prior(&self, peer: &PeerId) -> Prior;
}

/// Knows nothing of any peer.
#[derive(Clone, Copy, Debug)]
pub struct NoPriors;

impl Priors for NoPriors {
    fn prior(&self, _: &PeerId) -> Prior {
        Prior::default()
    }
}
