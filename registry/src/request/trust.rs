//! Requests about trust.

use serde::{Deserialize, Serialize};

/// Trust a publisher for a namespace: bare names of the namespace mean its packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustAddRequest {
    /// The namespace.
    pub namespace: String,
    /// The publisher's id.
    pub publisher: String,
}

/// Trust no publisher for a namespace any more, whether the user or a first use chose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRemoveRequest {
    /// The namespace.
    pub namespace: String,
}
