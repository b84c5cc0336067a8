//! Tests across the parts of UnixFS.

mod archives;
mod fixtures;
mod foreign;
mod git;
mod hostile;
mod known;
mod listing;
mod round_trip;
mod staging;
mod support;
mod update;
