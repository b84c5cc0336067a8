//! The libp2p node.

pub mod bitswap;
