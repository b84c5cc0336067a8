//! Tests of the real binary: what scripts and people see.

#![expect(clippy::unwrap_used, reason = "a step of a test that does not work out is its failure")]

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
