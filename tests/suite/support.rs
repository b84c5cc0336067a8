//! Peers and packages for the tests: real Kubo, rust-ipfs, and trees of real crates.

pub(crate) mod crates;
pub(crate) mod dns;
pub(crate) mod gnu_tar;
pub(crate) mod helia;
pub(crate) mod kubo;
pub(crate) mod nodes;
pub(crate) mod proxy;
pub(crate) mod rust_ipfs;
pub(crate) mod search_network;
pub(crate) mod trees;
pub(crate) mod tricks;

/// Held by tests in which a Kubo fetches, so that only one does at a time. Kubo 0.42 drops a peer permanently after a
/// single failed send, and on a busy machine with two cores a send may fail.
pub(crate) static ONE_KUBO_FETCHES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
