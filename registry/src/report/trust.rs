//! Results about trust.

use serde::{Deserialize, Serialize};

use crate::KnownBy;

/// A namespace of which this home knows the publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustReport {
    /// The namespace.
    pub namespace: String,
    /// The publisher's id.
    pub publisher: String,
    /// RFC 3339 time since when the publisher is trusted; null for a publisher of this home.
    pub since: Option<String>,
    /// How it is known: `file`, `first-use`, or `own` for a publisher of this home that published in the namespace.
    pub known_by: KnownBy,
    /// The publisher that a `trust add` replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}
