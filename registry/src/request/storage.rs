//! Requests about what the store keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::MirrorRule;

/// Remove what nothing keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// Say what would go, remove nothing.
    pub dry_run: bool,
}

/// Pin a target, or take the pin away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// The target as typed: a CID, `/ipfs/...`, `ns/name`, `ns/name@REQ`, `<publisher>/ns/name[@REQ]`.
    pub target: String,
    /// Give up when nothing new has come for this long.
    pub timeout: Duration,
    /// Use only what is here.
    pub offline: bool,
}

/// Hash blocks again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// What to check, with its signatures if it is named; the whole store if there is none.
    pub target: Option<String>,
    /// Fetch what is damaged or missing again.
    pub repair: bool,
    /// Give a repair up when nothing new has come for this long.
    pub timeout: Duration,
}

/// Make, change or drop a mirror rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRequest {
    /// The rule; to drop one, only its scope counts.
    pub rule: MirrorRule,
}
