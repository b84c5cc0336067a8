//! What `doctor` is asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Find out, stage by stage, why something does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorRequest {
    /// What cannot be fetched, as typed for a fetch; without it only the node itself is looked at.
    pub target: Option<String>,
    /// How long the network is waited for at each stage.
    pub timeout: Duration,
}
