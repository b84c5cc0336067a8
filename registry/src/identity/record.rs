//! Records: canonical dag-cbor maps with a type field, of bounded size.

use ggen_blockstore::Cid;
use ipld_core::{
    ipld::Ipld,
    serde::{from_ipld, to_ipld},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::identity::RecordError;

/// The field of every record that says what it is.
const TYPE_FIELD: &str = "type";

/// What a record is. The name and the version are part of what is signed, twice: as the signature's domain and as the
/// record's `type` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// [`IdentityDocument`](crate::identity::IdentityDocument), at most 4 KiB.
    Identity,
    /// [`Release`](crate::package::Release), at most 16 KiB.
    Release,
    /// [`LogEntry`](crate::index::LogEntry), at most 2 KiB.
    LogEntry,
    /// [`Head`](crate::index::Head), at most 2 KiB.
    Head,
    /// [`Refresh`](crate::index::Refresh) of a head, at most 512 bytes.
    Refresh,
}

impl RecordKind {
    /// The value of the record's `type` field.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Identity => "ggen/identity/v1",
            Self::Release => "ggen/release/v1",
            Self::LogEntry => "ggen/log/v1",
            Self::Head => "ggen/head/v1",
            Self::Refresh => "ggen/refresh/v1",
        }
    }

    /// What a signature covers before the payload: no signature of one kind is ever one of another.
    pub fn domain(self) -> &'static [u8] {
        match self {
            Self::Identity => b"ggen:identity:v1\0",
            Self::Release => b"ggen:release:v1\0",
            Self::LogEntry => b"ggen:log:v1\0",
            Self::Head => b"ggen:head:v1\0",
            Self::Refresh => b"ggen:refresh:v1\0",
        }
    }

    /// Largest payload in bytes, checked before anything is decoded.
    pub fn max_payload_bytes(self) -> usize {
        match self {
            Self::Release => 16 << 10,
            Self::Identity => 4 << 10,
            Self::LogEntry | Self::Head => 2 << 10,
            Self::Refresh => 512,
        }
    }

    /// What error messages call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Identity => "identity document",
            Self::Release => "release",
            Self::LogEntry => "log entry",
            Self::Head => "head",
            Self::Refresh => "head refresh",
        }
    }

    /// The kind that has this `type` field, `None` for one this program does not know.
    pub fn from_tag(tag: &str) -> Option<Self> {
        [Self::Identity, Self::Release, Self::LogEntry, Self::Head, Self::Refresh]
            .into_iter()
            .find(|kind| kind.tag() == tag)
    }

    /// The kind of a payload, `None` if it is no record of a known kind. Reads at most the largest record's size.
    pub fn of_payload(payload: &[u8]) -> Option<Self> {
        if payload.len() > Self::Release.max_payload_bytes() {
            return None;
        }
        match serde_ipld_dagcbor::from_slice(payload) {
            Ok(Ipld::Map(fields)) => match fields.get(TYPE_FIELD) {
                Some(Ipld::String(tag)) => Self::from_tag(tag),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A payload that can be signed. Fields a reader does not know are ignored: what counts is always the signed bytes.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is.
    const KIND: RecordKind;

    /// Checks the rules of the kind that its types do not express.
    ///
    /// # Errors
    /// [`RecordError::Invalid`] naming the rule.
    fn validate(&self) -> Result<(), RecordError>;

    /// Writes the payload: canonical dag-cbor with the type field.
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

    /// Reads a payload strictly.
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

/// Writes canonical dag-cbor of at most `limit` bytes.
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

/// Reads dag-cbor of at most `limit` bytes that encodes back to the same bytes.
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
