//! Keys, publishers and signed records.
//!
//! A publisher is named by the CID of its first identity document. The documents form a chain: each names its
//! predecessor and is signed by it. With the publisher's id alone, the keys that are currently valid can be verified
//! offline. A record is a payload of dag-cbor with separate signatures: its CID is that of the payload, so adding a
//! signature does not change the CID.
//!
//! *Invariants*: a [`Signed`] holds exactly the bytes that were signed, decoded strictly and within the bounds of its
//! kind; an [`IdentityChain`] only exists verified.
//!
//! *Non-goals*: no files, no network, no clock and no randomness of its own: time and entropy are arguments.

mod chain;
mod document;
mod envelope;
mod error;
mod genesis;
mod key;
mod kind;
mod known;
mod publisher;
mod record;
mod reference;
mod timestamp;

pub use chain::{ChainOrder, IdentityChain, MAX_CHAIN_BYTES, MAX_CHAIN_DOCUMENTS};
pub use document::{IdentityDocument, MAX_RECOVERY_KEYS, MAX_SIGNING_KEYS};
pub use envelope::{Envelope, MAX_SIGNATURES, Signature, Signed};
pub use error::{ChainError, RecordError};
pub use genesis::{IDENTITY_ENTROPY_BYTES, NewIdentity};
pub use key::{KeyError, KeyPair, PublicKey, SIGNATURE_BYTES};
pub use kind::RecordKind;
pub use publisher::PublisherId;
pub use record::Record;
pub use reference::RecordCid;
pub use timestamp::Timestamp;

pub(crate) use known::{Afresh, Checks, KnownSignatures};
pub(crate) use record::{decode_canonical, encode_canonical};
