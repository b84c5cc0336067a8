//! Packages over blocks over peers.

pub mod node;
