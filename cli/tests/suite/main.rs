//! Tests of the real binary: what scripts and people see.

mod config;
mod crash;
mod daemon;
mod help;
mod node;
mod packages;
mod support;
mod usage;
