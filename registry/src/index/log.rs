//! The publisher's log: all its actions in sequence.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    identity::{PublisherId, Record, RecordCid, RecordError, RecordKind, Timestamp},
    package::{MAX_VERSION_CHARS, PackageId, Requirement},
};

/// Longest reason of a yank, in bytes.
pub const MAX_REASON_BYTES: usize = 512;
/// Longest advisory, in bytes.
const MAX_ADVISORY_BYTES: usize = 1024;

/// One log entry. At most 2 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The publisher whose log it is.
    pub publisher: PublisherId,
    /// Length of the log up to and including this entry: 1 for the first.
    pub seq: u64,
    /// The entry before it; none for the first.
    pub prev: Option<RecordCid>,
    /// Sequence number of the identity document under which it was signed.
    pub identity_seq: u64,
    /// The action.
    pub action: LogAction,
    /// When the action was taken, by the publisher's clock.
    pub created: Timestamp,
}

/// An action of a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogAction {
    /// A release was published.
    Release {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// The release record.
        release: RecordCid,
    },
    /// A release is yanked: not chosen for new installations, but still available to users who have locked it.
    Yank {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// The release record.
        release: RecordCid,
        /// The reason, as text for users.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A yank is reverted.
    Unyank {
        /// The package.
        package: PackageId,
        /// The version.
        version: Version,
        /// The release record.
        release: RecordCid,
    },
    /// A notice for users of some versions.
    Advisory {
        /// The package.
        package: PackageId,
        /// Affected versions; see [`Requirement`].
        affected: String,
        /// The text of the notice.
        text: String,
    },
    /// The identity document changes; the new one applies from this entry on.
    Rotation {
        /// The document.
        identity: RecordCid,
    },
}

impl Record for LogEntry {
    const KIND: RecordKind = RecordKind::LogEntry;

    fn validate(&self) -> Result<(), RecordError> {
        let invalid = |reason: String| Err(RecordError::Invalid { what: Self::KIND.noun(), reason });
        if self.seq == 0 || (self.seq == 1) != self.prev.is_none() {
            return invalid("the first entry has number 1, and only it has no predecessor".to_owned());
        }
        match &self.action {
            LogAction::Yank { reason: Some(reason), .. } if reason.len() > MAX_REASON_BYTES => {
                invalid(format!("its reason has {} bytes, the limit is {MAX_REASON_BYTES}", reason.len()))
            }
            LogAction::Advisory { text, .. } if text.len() > MAX_ADVISORY_BYTES => {
                invalid(format!("its text has {} bytes, the limit is {MAX_ADVISORY_BYTES}", text.len()))
            }
            LogAction::Advisory { affected, .. } => match affected.parse::<Requirement>() {
                Ok(_) => Ok(()),
                Err(error) => invalid(error.to_string()),
            },
            LogAction::Release { version, .. }
            | LogAction::Yank { version, .. }
            | LogAction::Unyank { version, .. }
                if version.to_string().len() > MAX_VERSION_CHARS =>
            {
                invalid(format!("its version has more than {MAX_VERSION_CHARS} characters"))
            }
            _ => Ok(()),
        }
    }
}
