//! IPNS records: the value that the holder of a key assigns to the name derived from it.
//!
//! ```text
//! IpnsRecord { value = 1, signatureV1 = 2, validityType = 3, validity = 4, sequence = 5, ttl = 6: version 1, repeated in
//!              version 2 for old readers;  pubKey = 7, signatureV2 = 8, data = 9 }
//! data       dag-cbor { TTL, Value, Sequence, Validity, ValidityType }, signed with `ipns-signature:` before it
//! ```
//!
//! Specification: <https://specs.ipfs.tech/ipns/ipns-record/>. Only the fields that version 2 signs are trusted. Pure:
//! the time is passed in.

use ggen_blockstore::protobuf::{Fields, Value, WireError};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    time::SystemTime,
};

use ipld_core::ipld::Ipld;
use libp2p::{
    PeerId,
    identity::{DecodingError, PublicKey},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Largest record, in bytes (specification).
pub(super) const MAX_RECORD_BYTES: usize = 10 << 10;
/// Prepended to the data before it is signed.
const SIGNED_PREFIX: &[u8] = b"ipns-signature:";
/// Multihash code of the identity hash, whose digest is the data itself.
const IDENTITY: u64 = 0;

/// Why bytes are not a valid IPNS record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IpnsError {
    #[error("{0} bytes are more than the {MAX_RECORD_BYTES} of an IPNS record")]
    TooLarge(usize),
    #[error("it is not an IPNS record")]
    Protobuf(#[from] WireError),
    #[error("it has no signature of version 2")]
    Unsigned,
    #[error("it has no signed data")]
    NoData,
    #[error("its data is not a dag-cbor map")]
    Data(#[from] serde_ipld_dagcbor::DecodeError<std::convert::Infallible>),
    #[error("`{0}` is missing in its data, or is not what it must be")]
    Field(&'static str),
    #[error("its validity is not an end of life")]
    ValidityType,
    #[error("its end of life is not a time as RFC 3339 writes it")]
    Time(#[from] time::error::Parse),
    #[error("its public key is not one")]
    PublicKey(#[from] DecodingError),
    #[error("it has no public key, and the name is only the hash of one")]
    NoPublicKey,
    #[error("its public key is that of {0}")]
    OtherKey(PeerId),
    #[error("its signature does not match")]
    Signature,
    #[error("what it says in version 1 is not what it has signed")]
    Version1,
    #[error("it has expired")]
    Expired,
}

/// A decoded record. Not trusted before [`verify`](Self::verify) succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpnsRecord {
    outer: Outer,
    value: Vec<u8>,
    validity: Vec<u8>,
    valid_until: OffsetDateTime,
    sequence: u64,
    /// How long it may be cached, in nanoseconds.
    ttl: Option<u64>,
}

/// The protobuf fields of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outer {
    value: Vec<u8>,
    signature_v1: Vec<u8>,
    validity_type: u64,
    validity: Vec<u8>,
    sequence: u64,
    ttl: u64,
    public_key: Vec<u8>,
    signature_v2: Vec<u8>,
    data: Vec<u8>,
}

impl IpnsRecord {
    /// Decodes a record, without checking signature or validity.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, IpnsError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(IpnsError::TooLarge(bytes.len()));
        }
        let outer = Outer::decode(bytes)?;
        if outer.signature_v2.is_empty() {
            return Err(IpnsError::Unsigned);
        }
        if outer.data.is_empty() {
            return Err(IpnsError::NoData);
        }
        let Document(mut data) = serde_ipld_dagcbor::from_slice(&outer.data)?;
        let value = bytes_of(&mut data, "Value")?;
        let sequence = integer_of(&data, "Sequence")?.ok_or(IpnsError::Field("Sequence"))?;
        if integer_of(&data, "ValidityType")?.ok_or(IpnsError::Field("ValidityType"))? != 0 {
            return Err(IpnsError::ValidityType);
        }
        let validity = bytes_of(&mut data, "Validity")?;
        let text = std::str::from_utf8(&validity).map_err(|_| IpnsError::Field("Validity"))?;
        let valid_until = OffsetDateTime::parse(text, &Rfc3339)?;
        let ttl = integer_of(&data, "TTL")?;
        Ok(Self { outer, value, validity, valid_until, sequence, ttl })
    }

    /// Checks that the holder of the name's key signed it and that it is valid at `now`.
    pub(crate) fn verify(&self, name: &PeerId, now: SystemTime) -> Result<(), IpnsError> {
        let signed = [SIGNED_PREFIX, &self.outer.data].concat();
        if !self.public_key(name)?.verify(&signed, &self.outer.signature_v2) {
            return Err(IpnsError::Signature);
        }
        let Outer { value, signature_v1, validity_type, validity, sequence, ttl, .. } = &self.outer;
        let has_version_1 = !signature_v1.is_empty() || !value.is_empty();
        let is_repeated = *value == self.value
            && *validity == self.validity
            && *validity_type == 0
            && *sequence == self.sequence
            && Some(*ttl) == self.ttl;
        if has_version_1 && !is_repeated {
            return Err(IpnsError::Version1);
        }
        self.check_validity(now)
    }

    pub(crate) fn check_validity(&self, now: SystemTime) -> Result<(), IpnsError> {
        if now > self.valid_until() { Err(IpnsError::Expired) } else { Ok(()) }
    }

    /// The last moment at which the record is valid.
    pub(crate) fn valid_until(&self) -> SystemTime {
        self.valid_until.into()
    }

    /// Compares two records of one name: the greater one replaces the other. The higher sequence wins, then the later
    /// end of validity.
    pub(crate) fn cmp_recency(&self, other: &Self) -> Ordering {
        self.sequence.cmp(&other.sequence).then(self.valid_until.cmp(&other.valid_until))
    }

    /// The public key of the name: from the record, or from the name itself if that is an identity multihash.
    fn public_key(&self, name: &PeerId) -> Result<PublicKey, IpnsError> {
        if !self.outer.public_key.is_empty() {
            let key = PublicKey::try_decode_protobuf(&self.outer.public_key)?;
            let found = key.to_peer_id();
            return if found == *name { Ok(key) } else { Err(IpnsError::OtherKey(found)) };
        }
        let hash = name.as_ref();
        if hash.code() != IDENTITY {
            return Err(IpnsError::NoPublicKey);
        }
        Ok(PublicKey::try_decode_protobuf(hash.digest())?)
    }
}

impl Outer {
    /// Of a repeated field the last one counts; unknown fields are skipped.
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (mut outer, mut fields) = (Self::default(), Fields::new(bytes));
        while let Some(field) = fields.next().transpose()? {
            match field {
                (1, Value::Bytes(value)) => outer.value = value.to_owned(),
                (2, Value::Bytes(signature)) => outer.signature_v1 = signature.to_owned(),
                (3, Value::Varint(validity_type)) => outer.validity_type = validity_type,
                (4, Value::Bytes(validity)) => outer.validity = validity.to_owned(),
                (5, Value::Varint(sequence)) => outer.sequence = sequence,
                (6, Value::Varint(ttl)) => outer.ttl = ttl,
                (7, Value::Bytes(key)) => outer.public_key = key.to_owned(),
                (8, Value::Bytes(signature)) => outer.signature_v2 = signature.to_owned(),
                (9, Value::Bytes(data)) => outer.data = data.to_owned(),
                _ => {}
            }
        }
        Ok(outer)
    }
}

/// A dag-cbor map without duplicate keys: readers could differ on which of two values is signed.
struct Document(BTreeMap<String, Ipld>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Document;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = entries.next_entry()? {
                    match map.entry(key) {
                        Entry::Vacant(place) => drop(place.insert(value)),
                        Entry::Occupied(place) => {
                            return Err(A::Error::custom(format!("`{}` stands there twice", place.key())));
                        }
                    }
                }
                Ok(Document(map))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

fn bytes_of(data: &mut BTreeMap<String, Ipld>, key: &'static str) -> Result<Vec<u8>, IpnsError> {
    match data.remove(key) {
        Some(Ipld::Bytes(bytes)) => Ok(bytes),
        _ => Err(IpnsError::Field(key)),
    }
}

/// Returns a non-negative integer, or `None` if the key is absent.
fn integer_of(data: &BTreeMap<String, Ipld>, key: &'static str) -> Result<Option<u64>, IpnsError> {
    match data.get(key) {
        None => Ok(None),
        Some(Ipld::Integer(number)) => u64::try_from(*number).map(Some).map_err(|_| IpnsError::Field(key)),
        Some(_) => Err(IpnsError::Field(key)),
    }
}

#[cfg(test)]
pub(in crate::node) mod tests;
