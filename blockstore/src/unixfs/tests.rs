//! Tests across the parts of UnixFS.

mod archives;
mod fixtures;
mod foreign;
mod hostile;
mod listing;
mod round_trip;
mod support;
