//! References between records.

use std::fmt;

use ggen_blockstore::{Cid, DAG_CBOR, RAW, SHA2_256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Length of an accepted CID: version, codec, hash code, hash length, 32 bytes of sha2-256.
const REFERENCE_BYTES: usize = 36;

/// The CID of a record or of a catalog node. It is encoded as *bytes*, not as an IPLD link, so that pinning or
/// exporting a record does not include the records it refers to. Always CIDv1 with sha2-256, codec dag-cbor or raw.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordCid(Cid);

impl RecordCid {
    /// Converts a CID, `None` if it does not have the form of a reference.
    pub fn new(cid: Cid) -> Option<Self> {
        let form = cid.version() == cid::Version::V1
            && [DAG_CBOR, RAW].contains(&cid.codec())
            && cid.hash().code() == SHA2_256
            && cid.hash().size() == 32;
        form.then_some(Self(cid))
    }

    /// Decodes the binary form, `None` if it is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == REFERENCE_BYTES).then(|| Cid::try_from(bytes).ok())?.and_then(Self::new)
    }

    /// The CID itself.
    pub fn cid(&self) -> &Cid {
        &self.0
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }
}

impl From<RecordCid> for Cid {
    fn from(record: RecordCid) -> Self {
        record.0
    }
}

impl fmt::Display for RecordCid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for RecordCid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RecordCid({})", self.0)
    }
}

impl Serialize for RecordCid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.to_bytes())
    }
}

impl<'de> Deserialize<'de> for RecordCid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        Self::from_bytes(&bytes).ok_or_else(|| D::Error::custom("not the bytes of a CIDv1 with sha2-256"))
    }
}
