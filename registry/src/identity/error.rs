//! What can be wrong with records and identity chains.

use ggen_blockstore::Cid;

use crate::identity::{PublicKey, RecordKind};

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// More bytes than the kind allows; nothing was decoded.
    #[error("{what} of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// What was being read or written.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit it passed.
        limit: usize,
    },
    /// Not dag-cbor, or not of the shape its kind has.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Where it broke.
        reason: String,
    },
    /// dag-cbor, but not in the one form that the specification allows.
    #[error("{what} is not canonical dag-cbor")]
    NotCanonical {
        /// What was being read.
        what: &'static str,
    },
    /// A record of another kind or of a version this program does not know.
    #[error("expected a record of type `{}`, found `{found}`", expected.tag())]
    WrongKind {
        /// The kind that was asked for.
        expected: RecordKind,
        /// The type field of the record.
        found: String,
    },
    /// Well formed, but against a rule of its kind.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// What was checked.
        what: &'static str,
        /// The rule it breaks.
        reason: String,
    },
    /// A signature that does not belong to the payload.
    #[error("the signature of key {key} does not match the {what}")]
    BadSignature {
        /// What was signed.
        what: &'static str,
        /// The key it claims to be from.
        key: PublicKey,
    },
    /// Too few signatures of keys that may sign.
    #[error("{what} {cid} has {valid} of the {needed} signatures that its publisher requires")]
    NotAuthorised {
        /// What was checked.
        what: &'static str,
        /// Its CID.
        cid: Box<Cid>,
        /// Valid signatures of accepted keys.
        valid: usize,
        /// The threshold.
        needed: usize,
    },
}

/// Why a chain of identity documents was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No document, or more than the limit.
    #[error("an identity chain of {documents} documents is outside 1..={limit}")]
    Length {
        /// Documents given.
        documents: usize,
        /// The limit.
        limit: usize,
    },
    /// A document that is not what follows its predecessor.
    #[error("identity document {seq} does not follow its predecessor: {reason}")]
    Broken {
        /// Position in the chain.
        seq: u64,
        /// The rule it breaks.
        reason: String,
    },
    /// A document that neither the threshold nor a recovery key of its predecessor signed.
    #[error("identity document {seq} is not signed by {needed} of its predecessor's keys or by a recovery key")]
    NotAuthorised {
        /// Position in the chain.
        seq: u64,
        /// The threshold of the predecessor (of itself for the first document).
        needed: usize,
    },
    /// A document that cannot be read.
    #[error("identity document {seq} cannot be read")]
    Record {
        /// Position in the chain.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// The chain's bytes cannot be read.
    #[error("the identity chain cannot be read")]
    Encoding(#[source] RecordError),
}
