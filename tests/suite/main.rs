//! Tests across the crates: interoperability with other implementations, on loopback only.

#![cfg(test)] // clippy.toml allows `unwrap` in what is marked so, helpers beside the test functions included

mod archives;
mod blocks;
mod collect;
mod crowd;
mod dnsaddr;
mod docs_names;
mod gone;
mod identify;
mod interop_helia;
mod interop_kubo;
mod interop_rust_ipfs;
mod ipns;
mod key_types;
mod kubo_blocks;
mod kubo_idle;
mod kubo_peers;
mod lan_dht;
mod layers;
mod mirror;
mod ports;
mod real_crates;
mod reconnect;
mod rendezvous;
mod replicas;
mod reputation;
mod rust_ipfs_peers;
mod search;
#[allow(dead_code, reason = "a harness offers more than the tests of one moment use")]
mod support;
mod topologies;
mod travel;
