//! Heads: the state of a publisher's log and catalog.
//!
//! Heads are ordered by (identity sequence, log sequence). A head is signed with the publisher's threshold. A
//! [`Refresh`] states again that the head is *still* the latest; the timestamp key alone may sign it, and it can state
//! nothing else. An expired head is a warning, not an error, because publishers may be offline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    identity::{
        Afresh, Checks, Envelope, IdentityChain, PublisherId, Record, RecordCid, RecordError, RecordKind, Signed,
        Timestamp,
    },
    index::HeadError,
};

mod equivocation;

pub use equivocation::Equivocation;

/// Validity period of a head or a refresh: publishers may be offline for a month.
pub const HEAD_LIFETIME: Duration = Duration::from_secs(35 * 24 * 3600);
/// How much the clocks of honest machines may differ.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// The state of a publisher's log and catalog. At most 2 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The publisher.
    pub publisher: PublisherId,
    /// The identity document under which it is signed.
    pub identity: RecordCid,
    /// That document's sequence number.
    pub identity_seq: u64,
    /// The last log entry.
    pub log: RecordCid,
    /// Its sequence number: the length of the log.
    pub log_seq: u64,
    /// Root of the catalog tree.
    pub catalog: RecordCid,
    /// When it was issued, by the publisher's clock.
    pub issued: Timestamp,
    /// The time until which a newer head need not be requested.
    pub expires: Timestamp,
}

impl Record for Head {
    const KIND: RecordKind = RecordKind::Head;

    fn validate(&self) -> Result<(), RecordError> {
        let invalid = |reason: &str| Err(RecordError::Invalid { what: Self::KIND.noun(), reason: reason.to_owned() });
        if self.log_seq == 0 {
            return invalid("a log without entries has no head");
        }
        if self.expires <= self.issued {
            return invalid("it expires before it is issued");
        }
        Ok(())
    }
}

/// States that a head is still the latest. At most 512 bytes; may be signed by the timestamp key alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// The publisher.
    pub publisher: PublisherId,
    /// The head.
    pub head: RecordCid,
    /// When the refresh was signed.
    pub issued: Timestamp,
    /// The time until which a newer refresh need not be requested.
    pub expires: Timestamp,
}

impl Record for Refresh {
    const KIND: RecordKind = RecordKind::Refresh;

    fn validate(&self) -> Result<(), RecordError> {
        match self.expires > self.issued {
            true => Ok(()),
            false => Err(RecordError::Invalid {
                what: Self::KIND.noun(),
                reason: "it expires before it is issued".to_owned(),
            }),
        }
    }
}

/// Sort key of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadOrder {
    /// Sequence number of the identity document.
    pub identity_seq: u64,
    /// Length of the log.
    pub log_seq: u64,
}

/// A head whose signatures the publisher's identity chain verifies, with the newest refresh known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHead {
    head: Signed<Head>,
    refresh: Option<Signed<Refresh>>,
}

impl VerifiedHead {
    /// Checks a head and a refresh against the publisher's identity chain.
    ///
    /// # Errors
    /// [`HeadError`] for wrong signatures, another publisher, another identity document than the chain's last, or a
    /// time in the future.
    pub fn verify(
        head: Envelope,
        refresh: Option<Envelope>,
        chain: &IdentityChain,
        now: Timestamp,
    ) -> Result<Self, HeadError> {
        Self::verify_with(head, refresh, chain, now, &Afresh)
    }

    /// As [`VerifiedHead::verify`], with signatures checked by `checks`.
    pub(crate) fn verify_with(
        head: Envelope,
        refresh: Option<Envelope>,
        chain: &IdentityChain,
        now: Timestamp,
        checks: &dyn Checks,
    ) -> Result<Self, HeadError> {
        let head: Signed<Head> = head.open_with(checks)?;
        let record = head.record();
        if record.publisher != chain.publisher() {
            return Err(HeadError::OtherPublisher {
                actual: Box::new(record.publisher),
                expected: Box::new(chain.publisher()),
            });
        }
        if (record.identity_seq, record.identity) != (chain.seq(), chain.current_reference()) {
            return Err(HeadError::OtherIdentity { head: record.identity_seq, chain: chain.seq() });
        }
        chain.authorise(&head)?;
        check_time(record.issued, now)?;
        let refresh = refresh.map(|refresh| check_refresh(refresh, &head, chain, now, checks)).transpose()?;
        Ok(Self { head, refresh })
    }

    /// Removes a refresh from the future. Peers would refuse the head together with it, and only a clock that was
    /// temporarily fast signs one.
    pub(crate) fn without_future_refresh(mut self, now: Timestamp) -> Self {
        self.refresh = self.refresh.filter(|refresh| check_time(refresh.record().issued, now).is_ok());
        self
    }

    /// The head.
    pub fn head(&self) -> &Signed<Head> {
        &self.head
    }

    /// The refresh, if any.
    pub fn refresh(&self) -> Option<&Signed<Refresh>> {
        self.refresh.as_ref()
    }

    /// The sort key of the head.
    pub fn order(&self) -> HeadOrder {
        let Head { identity_seq, log_seq, .. } = *self.head.record();
        HeadOrder { identity_seq, log_seq }
    }

    /// When the head was signed or last refreshed.
    pub fn issued(&self) -> Timestamp {
        let issued = self.head.record().issued;
        self.refresh.as_ref().map_or(issued, |refresh| refresh.record().issued.max(issued))
    }

    /// The time until which a newer head need not be requested.
    pub fn expires(&self) -> Timestamp {
        let expires = self.head.record().expires;
        self.refresh.as_ref().map_or(expires, |refresh| refresh.record().expires.max(expires))
    }

    /// Returns whether a newer head or a refresh is due. Expiry causes a warning, never a refusal.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires() < now
    }
}

fn check_refresh(
    refresh: Envelope,
    head: &Signed<Head>,
    chain: &IdentityChain,
    now: Timestamp,
    checks: &dyn Checks,
) -> Result<Signed<Refresh>, HeadError> {
    let refresh: Signed<Refresh> = refresh.open_with(checks)?;
    let record = refresh.record();
    if record.publisher != chain.publisher() || record.head.cid() != head.cid() {
        return Err(HeadError::OtherHead { head: Box::new(*head.cid()) });
    }
    if refresh.signers_among(&[chain.current().record().timestamp]) == 0 {
        chain.authorise(&refresh)?;
    }
    check_time(record.issued, now)?;
    Ok(refresh)
}

fn check_time(issued: Timestamp, now: Timestamp) -> Result<(), HeadError> {
    match issued > now.plus(CLOCK_TOLERANCE) {
        true => Err(HeadError::Future { issued, now }),
        false => Ok(()),
    }
}

/// How an offered head relates to the highest one seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// It is newer: store it instead.
    Newer,
    /// The same state with a later refresh: store it instead.
    Refreshed,
    /// It is already known.
    Known,
    /// It is older: refuse it.
    Stale,
    /// Two different heads of the same log length: the publisher, or a thief of its keys, has signed two histories.
    Equivocation(Box<Equivocation>),
}

/// Compares `offered` with the highest head seen, `held`. Both must be verified. `held` may be under an identity
/// document that a recovery has replaced since; the offered head then supersedes it.
pub fn judge_head(held: &VerifiedHead, offered: &VerifiedHead) -> HeadVerdict {
    let (ours, theirs) = (held.head.record(), offered.head.record());
    if ours.identity_seq == theirs.identity_seq && ours.identity != theirs.identity {
        return HeadVerdict::Newer;
    }
    match offered.order().cmp(&held.order()) {
        std::cmp::Ordering::Greater => HeadVerdict::Newer,
        std::cmp::Ordering::Less => HeadVerdict::Stale,
        std::cmp::Ordering::Equal if (ours.log, ours.catalog) != (theirs.log, theirs.catalog) => {
            HeadVerdict::Equivocation(Box::new(Equivocation::of_heads(&held.head, &offered.head)))
        }
        std::cmp::Ordering::Equal if offered.issued() > held.issued() => HeadVerdict::Refreshed,
        std::cmp::Ordering::Equal => HeadVerdict::Known,
    }
}

#[cfg(test)]
mod tests;
