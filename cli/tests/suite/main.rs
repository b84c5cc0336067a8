//! Tests of the real binary: what scripts and people see.

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
