//! Gossip announcements: a publisher's new claim.

use serde::{Deserialize, Serialize};

use crate::{
    identity::{Afresh, Checks, Timestamp, decode_canonical, encode_canonical},
    index::{Claim, ClaimError},
};

/// Largest announcement in bytes.
pub const MAX_ANNOUNCEMENT_BYTES: usize = 48 << 10;
/// Longest topic name, in bytes.
pub const MAX_TOPIC_BYTES: usize = 256;

const TYPE: &str = "ggen/announcement/v1";
const WHAT: &str = "announcement";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    r#type: String,
    topic: String,
    #[serde(with = "serde_bytes")]
    claim: Vec<u8>,
}

/// A claim as gossip carries it, bound to the topic on which it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    topic: String,
    claim: Claim,
}

impl Announcement {
    /// Announces a claim. A claim that exceeds [`MAX_ANNOUNCEMENT_BYTES`] is announced without its catalog proof.
    ///
    /// # Errors
    /// [`ClaimError`] if it is still too large without the proof.
    pub fn new(topic: &str, claim: &Claim, now: Timestamp) -> Result<Self, ClaimError> {
        if topic.len() > MAX_TOPIC_BYTES {
            return Err(ClaimError::Form { reason: format!("its topic has more than {MAX_TOPIC_BYTES} bytes") });
        }
        let mut announcement = Self { topic: topic.to_owned(), claim: claim.clone() };
        if announcement.encode().is_err()
            && let Some(entry) = claim.entry()
        {
            announcement.claim = Claim::for_package(claim.chain(), claim.head(), &entry.release, None, now)?;
        }
        announcement.encode()?;
        Ok(announcement)
    }

    /// Encodes the announcement.
    ///
    /// # Errors
    /// [`ClaimError`]; never for an announcement that was verified.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimError> {
        let (topic, claim) = (self.topic.clone(), self.claim.encoded().to_vec());
        Ok(encode_canonical(WHAT, &Wire { r#type: TYPE.to_owned(), topic, claim }, MAX_ANNOUNCEMENT_BYTES)?)
    }

    /// Decodes and verifies an announcement that was received on `topic`.
    ///
    /// # Errors
    /// [`ClaimError`] if it does not verify, was made for another topic, or its head has expired.
    pub fn verify(topic: &str, bytes: &[u8], now: Timestamp) -> Result<Self, ClaimError> {
        Self::verify_with(topic, bytes, now, &Afresh)
    }

    /// As [`Announcement::verify`], with signatures checked by `checks`.
    pub(crate) fn verify_with(
        topic: &str,
        bytes: &[u8],
        now: Timestamp,
        checks: &dyn Checks,
    ) -> Result<Self, ClaimError> {
        let wire: Wire = decode_canonical(WHAT, bytes, MAX_ANNOUNCEMENT_BYTES)?;
        if wire.r#type != TYPE {
            return Err(ClaimError::Form { reason: format!("its type is not `{TYPE}`") });
        }
        if wire.topic != topic {
            let actual = wire.topic.chars().take(MAX_TOPIC_BYTES).collect();
            return Err(ClaimError::OtherTopic { actual });
        }
        let claim = Claim::verify_with(&wire.claim, now, checks)?;
        if claim.head().is_expired(now) {
            return Err(ClaimError::Expired { expired: claim.head().expires() });
        }
        Ok(Self { topic: wire.topic, claim })
    }

    /// The claim.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }
}

#[cfg(test)]
mod tests;
