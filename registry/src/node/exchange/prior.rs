//! What is known of a peer before it is asked for anything: told by whoever keeps books on peers.

use std::{fmt::Debug, time::Duration};

use libp2p::PeerId;

/// What earlier dealings with a peer say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// From 0 to 1.
    pub reputation: f64,
    /// How fast it sent, in bytes per second.
    pub rate: Option<f64>,
    /// Its round trip time.
    pub latency: Option<Duration>,
    /// Ask it only if the others cannot deliver.
    pub held_back: bool,
}

impl Default for Prior {
    fn default() -> Self {
        Self { reputation: 1.0, rate: None, latency: None, held_back: false }
    }
}

/// Knows peers from earlier. Asked on the swarm's loop, so it must answer at once.
pub trait Priors: Debug + Send + Sync + 'static {
    /// What is known of `peer`.
    fn prior(&self, peer: &PeerId) -> Prior;
}

/// Knows nobody.
#[derive(Clone, Copy, Debug)]
pub struct NoPriors;

impl Priors for NoPriors {
    fn prior(&self, _: &PeerId) -> Prior {
        Prior::default()
    }
}
