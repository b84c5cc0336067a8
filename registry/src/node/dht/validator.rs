//! Which records of others a DHT server takes: asked before anything is stored, answered off the event loop.

use std::{fmt::Debug, time::SystemTime};

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    /// No honest peer offers it: offering it is misbehaviour.
    pub(crate) is_lie: bool,
}

/// Judges value records of the ggen DHT. The node sees only bytes; whoever knows what they mean stands behind this.
pub(crate) trait RecordValidator: Debug + Send + Sync + 'static {
    /// Checks the value `offered` under `key` and merges it with what is stored there. Merging must not depend on the
    /// order in which values arrive. Called from worker threads.
    ///
    /// # Errors
    /// Why the value is refused.
    fn admit(&self, key: &[u8], stored: Option<&[u8]>, offered: &[u8], now: SystemTime) -> Result<Vec<u8>, Refused>;
}
