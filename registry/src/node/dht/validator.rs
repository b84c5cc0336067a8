//! Validation of the ggen DHT's value records: runs before a record is stored, off the event loop.

use std::{fmt::Debug, time::SystemTime};

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    /// No honest peer offers such a value: it counts against the peer that did.
    pub(crate) is_lie: bool,
}

/// Validates value records of the ggen DHT. The node sees only bytes; an implementation knows their meaning.
pub(crate) trait RecordValidator: Debug + Send + Sync + 'static {
    /// Checks the value `offered` under `key` and merges it with what is stored there. Merging must not depend on the
    /// order in which values arrive. Called from worker threads.
    ///
    /// # Errors
    /// Why the value is refused.
    fn admit(&self, key: &[u8], stored: Option<&[u8]>, offered: &[u8], now: SystemTime) -> Result<Vec<u8>, Refused>;
}
