//! Tests across the parts of UnixFS.

mod fixtures;
mod round_trip;
mod support;
