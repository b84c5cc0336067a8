//! Tests of the real binary: what scripts and people see.

#![cfg(test)] // clippy.toml allows `unwrap` in what is marked so, helpers beside the test functions included

mod bad_input;
mod config;
mod crash;
mod daemon;
mod full_disk;
mod help;
mod node;
mod packages;
mod readme;
mod support;
mod usage;
