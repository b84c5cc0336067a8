//! Errors of records and identity chains.

use ggen_blockstore::Cid;

use crate::identity::{PublicKey, RecordKind};

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// More bytes than the kind allows; nothing was decoded.
    #[error("{what} of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The item that was decoded or encoded.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit it exceeds.
        limit: usize,
    },
    /// Not dag-cbor, or not of the shape of its kind.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// The item that was decoded.
        what: &'static str,
        /// The decoder's error.
        reason: String,
    },
    /// dag-cbor, but not in the canonical form.
    #[error("{what} is not canonical dag-cbor")]
    NotCanonical {
        /// The item that was decoded.
        what: &'static str,
    },
    /// A record of another kind or of a version this program does not know.
    #[error("expected a record of type `{}`, found `{found}`", expected.tag())]
    WrongKind {
        /// The kind that was expected.
        expected: RecordKind,
        /// The type field of the record.
        found: String,
    },
    /// Well-formed, but it violates a rule of its kind.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// The item that was checked.
        what: &'static str,
        /// The rule it breaks.
        reason: String,
    },
    /// A signature that is not valid for the payload.
    #[error("the signature of key {key} does not match the {what}")]
    BadSignature {
        /// The item that was signed.
        what: &'static str,
        /// The key that allegedly made it.
        key: PublicKey,
    },
    /// Too few signatures by authorised keys.
    #[error("{what} {cid} has {valid} of the {needed} signatures that its publisher requires")]
    NotAuthorised {
        /// The item that was checked.
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
        /// Number of documents.
        documents: usize,
        /// The limit.
        limit: usize,
    },
    /// A document that cannot follow its predecessor.
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
    /// A document that cannot be decoded.
    #[error("identity document {seq} cannot be read")]
    Record {
        /// Position in the chain.
        seq: u64,
        /// The cause.
        #[source]
        source: RecordError,
    },
    /// The chain's bytes cannot be decoded.
    #[error("the identity chain cannot be read")]
    Encoding(#[source] RecordError),
}
