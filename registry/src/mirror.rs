//! What a mirror keeps: its rules, and the pure decisions about them. The operations of `ops/mirror.rs` carry them out.

mod database;
pub(crate) mod plan;
pub(crate) mod reconcile;
mod rule;
pub(crate) mod schedule;

pub(crate) use database::{Book, BookError};
pub use rule::{MAX_RULES, MirrorRule, MirrorScope};
