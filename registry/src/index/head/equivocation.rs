//! The proof that a publisher has two histories.

use serde::{Deserialize, Serialize};

use crate::{
    identity::{Envelope, IdentityChain, PublisherId, Record, RecordError, Signed, decode_canonical, encode_canonical},
    index::{Head, LogEntry},
};

const WHAT: &str = "equivocation proof";
/// Largest proof in bytes: two envelopes of the larger record kind, with framing.
const MAX_PROOF_BYTES: usize = 12 << 10;

/// Two signed records of one publisher that conflict: two log entries with one predecessor, or two heads of one log
/// length that differ in log or catalog. The proof can be verified offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Equivocation {
    /// Two log entries with one predecessor, the one with the lower CID first.
    LogEntries(Envelope, Envelope),
    /// Two heads of one length, the one with the lower CID first.
    Heads(Envelope, Envelope),
}

impl Equivocation {
    /// Combines two conflicting heads.
    pub fn of_heads(a: &Signed<Head>, b: &Signed<Head>) -> Self {
        let (first, second) = in_order(a, b);
        Self::Heads(first, second)
    }

    /// Combines two log entries if they have one predecessor and differ.
    pub fn of_log_entries(a: &Signed<LogEntry>, b: &Signed<LogEntry>) -> Option<Self> {
        (a.cid() != b.cid() && excludes_entry(a.record(), b.record())).then(|| {
            let (first, second) = in_order(a, b);
            Self::LogEntries(first, second)
        })
    }

    /// Checks the proof against the publisher's identity chain.
    ///
    /// # Errors
    /// [`RecordError`] if the records do not conflict, or the publisher's keys did not sign both.
    pub fn verify(&self, chain: &IdentityChain) -> Result<(), RecordError> {
        match self {
            Self::LogEntries(a, b) => check(a, b, chain, |entry: &LogEntry| entry.publisher, excludes_entry),
            Self::Heads(a, b) => check(a, b, chain, |head: &Head| head.publisher, excludes_head),
        }
    }

    /// Encodes the proof.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`]; never for a verified proof.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode_canonical(WHAT, self, MAX_PROOF_BYTES)
    }

    /// Decodes a proof. It is not verified until [`Equivocation::verify`] is called.
    ///
    /// # Errors
    /// [`RecordError`] if the bytes are not a well-formed proof.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        decode_canonical(WHAT, bytes, MAX_PROOF_BYTES)
    }
}

fn in_order<T: Record>(a: &Signed<T>, b: &Signed<T>) -> (Envelope, Envelope) {
    let (first, second) = if a.cid() <= b.cid() { (a, b) } else { (b, a) };
    (first.envelope().clone(), second.envelope().clone())
}

fn excludes_entry(a: &LogEntry, b: &LogEntry) -> bool {
    (a.publisher, a.prev) == (b.publisher, b.prev)
}

fn excludes_head(a: &Head, b: &Head) -> bool {
    let place = |head: &Head| (head.publisher, head.identity, head.log_seq);
    place(a) == place(b) && (a.log, a.catalog) != (b.log, b.catalog)
}

fn check<T: Record>(
    a: &Envelope,
    b: &Envelope,
    chain: &IdentityChain,
    publisher: impl Fn(&T) -> PublisherId,
    exclude: impl Fn(&T, &T) -> bool,
) -> Result<(), RecordError> {
    let invalid = |reason: &str| Err(RecordError::Invalid { what: WHAT, reason: reason.to_owned() });
    let (a, b): (Signed<T>, Signed<T>) = (a.clone().open()?, b.clone().open()?);
    if a.cid() >= b.cid() {
        return invalid("its records are the same or not in order");
    }
    if publisher(a.record()) != chain.publisher() || publisher(b.record()) != chain.publisher() {
        return invalid("its records belong to another publisher");
    }
    if !exclude(a.record(), b.record()) {
        return invalid("its records do not exclude each other");
    }
    chain.authorise_historically(&a)?;
    chain.authorise_historically(&b)
}
