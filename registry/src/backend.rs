//! Backends of a registry.

pub mod p2p;
