//! Requests about stored data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::MirrorRule;

/// Remove blocks that no pin keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// Report what would be removed; remove nothing.
    pub dry_run: bool,
}

/// Pin a target, or remove the pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// The target as typed: a CID, `/ipfs/...`, `ns/name`, `ns/name@REQ`, `<publisher>/ns/name[@REQ]`.
    pub target: String,
    /// Give up when no new data has arrived for this long.
    pub timeout: Duration,
    /// Use only local data.
    pub offline: bool,
}

/// Hash blocks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// The target to check; the whole store without one. A target given by name is checked with its signatures.
    pub target: Option<String>,
    /// Refetch damaged and missing blocks.
    pub repair: bool,
    /// Give up a repair when no new data has arrived for this long.
    pub timeout: Duration,
}

/// Add, change or remove a mirror rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRequest {
    /// The rule. To remove one, only its scope matters.
    pub rule: MirrorRule,
}
