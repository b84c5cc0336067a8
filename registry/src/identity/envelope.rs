//! A payload and its separate signatures.
//!
//! A signature covers `ggen:<kind>:v1`, a zero byte and the payload. Signatures are ordered by key, with at most one
//! per key, so that a set of signatures has only one encoding.

use std::fmt;

use ggen_blockstore::{Block, Cid};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::identity::{
    Afresh, Checks, KeyPair, PublicKey, Record, RecordError, RecordKind, decode_canonical, encode_canonical,
    key::SIGNATURE_BYTES,
    record::{check_size, payload_cid},
};

/// Most signatures of one record.
pub const MAX_SIGNATURES: usize = 16;
/// Most bytes that one signature adds to an envelope: two byte strings, two field names, the map.
const SIGNATURE_OVERHEAD_BYTES: usize = 128;
/// Most bytes of an envelope that are neither payload nor signature.
const ENVELOPE_OVERHEAD_BYTES: usize = 64;

/// A signature and the key that allegedly made it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    key: PublicKey,
    #[serde(serialize_with = "write_signature", deserialize_with = "read_signature")]
    signature: [u8; SIGNATURE_BYTES],
}

impl Signature {
    /// The key that allegedly made the signature.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signature(of {})", self.key)
    }
}

fn write_signature<S: Serializer>(bytes: &[u8; SIGNATURE_BYTES], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn read_signature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; SIGNATURE_BYTES], D::Error> {
    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
    bytes.as_slice().try_into().map_err(|_| D::Error::custom(format!("a signature has {SIGNATURE_BYTES} bytes")))
}

/// A payload with signatures, as it is transmitted and stored. Nothing of it is verified until it is
/// [opened](Envelope::open).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Envelope {
    /// Combines a payload with signatures that were stored elsewhere, such as in a catalog.
    pub fn from_parts(payload: Vec<u8>, signatures: Vec<Signature>) -> Self {
        Self { payload, signatures }
    }

    /// Encodes and signs a record.
    ///
    /// # Errors
    /// [`RecordError`] if the record breaks a rule of its kind or is too large.
    pub fn sign<T: Record>(record: &T, keys: &[&KeyPair]) -> Result<Self, RecordError> {
        let mut envelope = Self { payload: record.to_payload()?, signatures: Vec::new() };
        for key in keys {
            envelope.add_signature(T::KIND, key)?;
        }
        Ok(envelope)
    }

    /// Adds a signature, replacing one of the same key. The record's CID does not change.
    ///
    /// # Errors
    /// [`RecordError::Invalid`] over [`MAX_SIGNATURES`].
    pub fn add_signature(&mut self, kind: RecordKind, key: &KeyPair) -> Result<(), RecordError> {
        let signature = Signature { key: key.public(), signature: key.sign(&signed_bytes(kind, &self.payload)) };
        self.signatures.retain(|other| other.key != signature.key);
        let at = self.signatures.partition_point(|other| other.key < signature.key);
        self.signatures.insert(at, signature);
        check_signature_list(kind.noun(), &self.signatures)
    }

    /// The CID of the record, which depends on its payload alone.
    pub fn cid(&self) -> Cid {
        payload_cid(&self.payload)
    }

    /// The payload as a block.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] for a payload over the block limit, which no opened record has.
    pub fn block(&self) -> Result<Block, RecordError> {
        Block::dag_cbor(self.payload.clone()).map_err(|_| RecordError::TooLarge {
            what: "record",
            bytes: self.payload.len(),
            limit: ggen_blockstore::MAX_BLOCK_BYTES,
        })
    }

    /// The payload exactly as signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, ordered by key once the envelope was opened.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Largest encoded envelope of a kind, in bytes.
    pub fn max_bytes(kind: RecordKind) -> usize {
        kind.max_payload_bytes() + MAX_SIGNATURES * SIGNATURE_OVERHEAD_BYTES + ENVELOPE_OVERHEAD_BYTES
    }

    /// Encodes the envelope as dag-cbor.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] over [`Envelope::max_bytes`] of the kind.
    pub fn encode(&self, kind: RecordKind) -> Result<Vec<u8>, RecordError> {
        encode_canonical(kind.noun(), self, Self::max_bytes(kind))
    }

    /// Decodes an envelope of `kind`. The size is checked first; signatures are not checked yet.
    ///
    /// # Errors
    /// [`RecordError`] for anything but a canonical envelope.
    pub fn decode(kind: RecordKind, bytes: &[u8]) -> Result<Self, RecordError> {
        decode_canonical(kind.noun(), bytes, Self::max_bytes(kind))
    }

    /// Decodes the payload and checks every signature.
    ///
    /// # Errors
    /// [`RecordError`] for a payload that is not a strict record of this kind, or any signature that does not match.
    pub fn open<T: Record>(self) -> Result<Signed<T>, RecordError> {
        self.open_with(&Afresh)
    }

    /// As [`Envelope::open`], with signatures checked by `checks`.
    pub(crate) fn open_with<T: Record>(self, checks: &dyn Checks) -> Result<Signed<T>, RecordError> {
        let what = T::KIND.noun();
        check_size(what, self.payload.len(), T::KIND.max_payload_bytes())?;
        check_signature_list(what, &self.signatures)?;
        let record = T::from_payload(&self.payload)?;
        let message = signed_bytes(T::KIND, &self.payload);
        for signature in &self.signatures {
            if !checks.holds(&signature.key, &message, &signature.signature) {
                return Err(RecordError::BadSignature { what, key: signature.key });
            }
        }
        Ok(Signed { record, cid: payload_cid(&self.payload), envelope: self })
    }
}

fn signed_bytes(kind: RecordKind, payload: &[u8]) -> Vec<u8> {
    [kind.domain(), payload].concat()
}

fn check_signature_list(what: &'static str, signatures: &[Signature]) -> Result<(), RecordError> {
    let invalid = |reason: String| Err(RecordError::Invalid { what, reason });
    if signatures.len() > MAX_SIGNATURES {
        return invalid(format!("{} signatures, the limit is {MAX_SIGNATURES}", signatures.len()));
    }
    if !signatures.is_sorted_by(|a, b| a.key < b.key) {
        return invalid("its signatures are not ordered by key, or a key signed twice".to_owned());
    }
    Ok(())
}

/// A record whose signatures are all valid. [`IdentityChain`](crate::identity::IdentityChain) checks whether their keys
/// may sign for the publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    record: T,
    cid: Cid,
    envelope: Envelope,
}

impl<T: Record> Signed<T> {
    /// Signs a record, and returns it with its envelope.
    ///
    /// # Errors
    /// As [`Envelope::sign`].
    pub fn sign(record: T, keys: &[&KeyPair]) -> Result<Self, RecordError> {
        let envelope = Envelope::sign(&record, keys)?;
        Ok(Self { record, cid: envelope.cid(), envelope })
    }

    /// The record.
    pub fn record(&self) -> &T {
        &self.record
    }

    /// The CID of the payload.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The envelope: payload as signed, and signatures.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Unwraps the record.
    pub fn into_record(self) -> T {
        self.record
    }

    /// Counts the signatures that are from `keys`.
    pub fn signers_among(&self, keys: &[PublicKey]) -> usize {
        self.envelope.signatures.iter().filter(|signature| keys.contains(&signature.key)).count()
    }

    /// Encodes the envelope.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], which an opened envelope never is.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.envelope.encode(T::KIND)
    }

    /// Decodes and opens an envelope.
    ///
    /// # Errors
    /// As [`Envelope::decode`] and [`Envelope::open`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::decode_with(bytes, &Afresh)
    }

    /// As [`Signed::decode`], with signatures checked by `checks`.
    pub(crate) fn decode_with(bytes: &[u8], checks: &dyn Checks) -> Result<Self, RecordError> {
        Envelope::decode(T::KIND, bytes)?.open_with(checks)
    }
}
