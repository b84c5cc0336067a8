//! The request of `doctor`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Diagnose the node, and a target if one is named, in stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorRequest {
    /// The target that cannot be fetched, as typed for a fetch. Without it only the node itself is checked.
    pub target: Option<String>,
    /// How long each stage waits for the network.
    pub timeout: Duration,
}
