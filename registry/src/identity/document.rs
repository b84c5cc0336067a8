//! The identity document: which keys sign for a publisher.

use serde::{Deserialize, Serialize};

use crate::identity::{PublicKey, Record, RecordCid, RecordError, RecordKind, Timestamp};

/// Most keys that sign for a publisher.
pub const MAX_SIGNING_KEYS: usize = 8;
/// Most recovery keys of a publisher.
pub const MAX_RECOVERY_KEYS: usize = 4;

/// The keys that sign for a publisher. The CID of the first document is the publisher's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityDocument {
    /// Keys that sign releases, log entries, heads and the next document; ordered, without duplicates.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u8,
    /// Recovery keys. A single one may replace this document, regardless of the threshold. Ordered, without duplicates.
    /// Only a document that one of them signed can change them.
    pub recovery: Vec<PublicKey>,
    /// The timestamp key. It may only sign that a head is still the latest, see [`Refresh`](crate::index::Refresh).
    pub timestamp: PublicKey,
    /// Signs the publisher's IPNS record, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipns: Option<PublicKey>,
    /// Position in the chain: 0 for the first.
    pub seq: u64,
    /// The document before it; none for the first.
    pub prev: Option<RecordCid>,
    /// When it was written, by its author's clock.
    pub created: Timestamp,
}

impl Record for IdentityDocument {
    const KIND: RecordKind = RecordKind::Identity;

    fn validate(&self) -> Result<(), RecordError> {
        let invalid = |reason: String| Err(RecordError::Invalid { what: Self::KIND.noun(), reason });
        for (keys, name, limit) in
            [(&self.keys, "signing", MAX_SIGNING_KEYS), (&self.recovery, "recovery", MAX_RECOVERY_KEYS)]
        {
            if keys.is_empty() || keys.len() > limit {
                return invalid(format!("{} {name} keys, allowed are 1 to {limit}", keys.len()));
            }
            if !keys.is_sorted_by(|a, b| a < b) {
                return invalid(format!("its {name} keys are not ordered, or one stands twice"));
            }
        }
        if self.threshold == 0 || usize::from(self.threshold) > self.keys.len() {
            return invalid(format!("threshold {} of {} keys", self.threshold, self.keys.len()));
        }
        if self.recovery.iter().any(|key| self.keys.contains(key)) {
            return invalid("a recovery key is also a signing key".to_owned());
        }
        if self.keys.contains(&self.timestamp) || self.recovery.contains(&self.timestamp) {
            return invalid("the timestamp key has another role too".to_owned());
        }
        if (self.seq == 0) != self.prev.is_none() {
            return invalid("the first document, and only it, has no predecessor".to_owned());
        }
        Ok(())
    }
}
