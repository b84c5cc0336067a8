//! Tests across the modules of UnixFS.

mod archives;
mod destinations;
mod fixtures;
mod foreign;
mod former;
mod git;
mod hostile;
mod known;
mod listing;
mod round_trip;
mod staging;
mod support;
mod tarballs;
mod update;
mod work_tree;
