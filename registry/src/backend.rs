//! What stands behind a registry.

pub mod p2p;
