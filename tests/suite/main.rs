//! Tests of what crosses the crates: interoperation with other implementations, on loopback only.

#![cfg(test)] // clippy.toml allows `unwrap` in what is marked so, helpers beside the test functions included

mod interop_kubo;
mod interop_rust_ipfs;
mod kubo_peers;
mod real_crates;
mod rust_ipfs_peers;
#[allow(dead_code, reason = "a harness offers more than the tests of one moment use")]
mod support;
mod travel;
