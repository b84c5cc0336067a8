//! Peers and packages for the tests: real Kubo, rust-ipfs, and trees of real crates.

pub(crate) mod crates;
pub(crate) mod kubo;
pub(crate) mod nodes;
pub(crate) mod rust_ipfs;
pub(crate) mod trees;
