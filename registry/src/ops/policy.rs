//! What the node's record store is told about values it cannot read: they are sets of claims.

use std::time::SystemTime;

use crate::{
    identity::Timestamp,
    index::{ClaimSet, merge_claims},
    node::RecordPolicy,
};

/// Takes sets of verified claims that belong under their key, and merges them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimPolicy;

impl RecordPolicy for ClaimPolicy {
    fn admit(&self, key: &[u8], stored: Option<&[u8]>, offered: &[u8], now: SystemTime) -> Result<Vec<u8>, String> {
        let now = Timestamp::from_system(now);
        let merged = match stored {
            Some(stored) => merge_claims(key, stored, offered, now),
            None => ClaimSet::verify(key, offered, now).and_then(|set| set.encode()),
        };
        merged.map_err(|error| error.to_string())
    }
}
