//! Tests of the real binary: the results that scripts and users see.

#![cfg(test)] // clippy.toml allows `unwrap` in what is marked so, helpers beside the test functions included

mod bad_input;
mod bootstrap;
mod catalog_faults;
mod clock;
mod config;
mod crash;
mod daemon;
mod damaged_home;
mod damaged_keys;
mod doctor;
mod full_disk;
mod git_configuration;
mod guide;
mod help;
mod hints;
mod interrupt;
mod kept_keys;
mod lost_records;
mod named_files;
mod names;
mod network_faults;
mod newcomer;
mod node;
mod output;
mod packages;
mod peers;
mod read_only;
mod readme;
mod recovery;
mod search;
mod secrets;
mod silent_daemon;
mod snapshots;
mod storage;
mod streams;
mod support;
mod surroundings;
mod trust;
mod two_machines;
mod usage;
mod versions;
mod yank_info;
