//! Records: canonical dag-cbor maps with a type field, of bounded size.

use ggen_blockstore::Cid;
use ipld_core::{
    ipld::Ipld,
    serde::{from_ipld, to_ipld},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::identity::{RecordError, RecordKind, kind::TYPE_FIELD};

/// A payload that can be signed. Unknown fields are ignored when a record is decoded; the signature always covers the
/// received bytes.
pub trait Record: Serialize + DeserializeOwned {
    /// The kind of the record.
    const KIND: RecordKind;

    /// Checks the rules of the kind that its types do not express.
    ///
    /// # Errors
    /// [`RecordError::Invalid`] with the rule that is broken.
    fn validate(&self) -> Result<(), RecordError>;

    /// Encodes the payload: canonical dag-cbor with the type field.
    ///
    /// # Errors
    /// [`RecordError::Invalid`] or [`RecordError::TooLarge`].
    fn to_payload(&self) -> Result<Vec<u8>, RecordError> {
        self.validate()?;
        let what = Self::KIND.noun();
        let malformed = |reason: String| RecordError::Malformed { what, reason };
        let mut ipld = to_ipld(self).map_err(|error| malformed(error.to_string()))?;
        let Ipld::Map(fields) = &mut ipld else { return Err(malformed("it is not a map".to_owned())) };
        fields.insert(TYPE_FIELD.to_owned(), Ipld::String(Self::KIND.tag().to_owned()));
        encode_canonical(what, &ipld, Self::KIND.max_payload_bytes())
    }

    /// Decodes a payload strictly.
    ///
    /// # Errors
    /// [`RecordError`] for anything but a canonical, bounded, valid record of this kind.
    fn from_payload(payload: &[u8]) -> Result<Self, RecordError> {
        let what = Self::KIND.noun();
        let malformed = |reason: String| RecordError::Malformed { what, reason };
        let mut ipld: Ipld = decode_canonical(what, payload, Self::KIND.max_payload_bytes())?;
        let Ipld::Map(fields) = &mut ipld else { return Err(malformed("it is not a map".to_owned())) };
        match fields.remove(TYPE_FIELD) {
            Some(Ipld::String(tag)) if tag == Self::KIND.tag() => {}
            Some(Ipld::String(found)) => return Err(RecordError::WrongKind { expected: Self::KIND, found }),
            _ => return Err(malformed(format!("it has no `{TYPE_FIELD}` field"))),
        }
        let record: Self = from_ipld(ipld).map_err(|error| malformed(error.to_string()))?;
        record.validate()?;
        Ok(record)
    }
}

/// Encodes canonical dag-cbor of at most `limit` bytes.
pub(crate) fn encode_canonical<T: Serialize>(
    what: &'static str,
    value: &T,
    limit: usize,
) -> Result<Vec<u8>, RecordError> {
    let bytes = serde_ipld_dagcbor::to_vec(value)
        .map_err(|error| RecordError::Malformed { what, reason: error.to_string() })?;
    check_size(what, bytes.len(), limit)?;
    Ok(bytes)
}

/// Decodes dag-cbor of at most `limit` bytes that encodes to the same bytes again.
pub(crate) fn decode_canonical<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, RecordError> {
    check_size(what, bytes.len(), limit)?;
    let value: T = serde_ipld_dagcbor::from_slice(bytes)
        .map_err(|error| RecordError::Malformed { what, reason: error.to_string() })?;
    let again = serde_ipld_dagcbor::to_vec(&value)
        .map_err(|error| RecordError::Malformed { what, reason: error.to_string() })?;
    if again != bytes {
        return Err(RecordError::NotCanonical { what });
    }
    Ok(value)
}

pub(crate) fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), RecordError> {
    if bytes > limit {
        return Err(RecordError::TooLarge { what, bytes, limit });
    }
    Ok(())
}

/// The CID of a payload.
pub(crate) fn payload_cid(payload: &[u8]) -> Cid {
    *ggen_blockstore::Block::dag_cbor(bytes::Bytes::copy_from_slice(payload))
        .expect("payloads are far below the block limit")
        .cid()
}
