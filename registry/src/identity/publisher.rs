//! Publisher ids.

use std::{fmt, str::FromStr};

use ggen_blockstore::{Cid, DAG_CBOR, parse_cid};
use serde::{Deserialize, Serialize};

use crate::identity::{KeyError, RecordCid};

/// Characters of the text form that are the same in every publisher id, wholly (`bafyrei`) or in part (the next one):
/// the base32 of version, codec, hash code and hash length.
const CONSTANT_CHARS: usize = 8;
/// Length of [`PublisherId::short`]: 60 bits of the digest.
const SHORT_CHARS: usize = 12;

/// A publisher: the CID of the first document of its identity chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublisherId(RecordCid);

impl PublisherId {
    /// Converts the CID of a genesis document, `None` if it cannot be one (not CIDv1, dag-cbor, sha2-256).
    pub fn new(genesis: Cid) -> Option<Self> {
        (genesis.codec() == DAG_CBOR).then(|| RecordCid::new(genesis))?.map(Self)
    }

    /// Decodes the binary form, `None` if it is invalid.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        RecordCid::from_bytes(bytes).and_then(|reference| Self::new(*reference.cid()))
    }

    /// The genesis document's CID.
    pub fn cid(&self) -> &Cid {
        self.0.cid()
    }

    /// The binary form of the CID.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Twelve distinctive characters, for display and as the default namespace of the publisher's packages. Not an
    /// identifier: never resolved back to a publisher.
    pub fn short(&self) -> String {
        self.to_string().chars().skip(CONSTANT_CHARS).take(SHORT_CHARS).collect()
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for PublisherId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublisherId({})", self.0)
    }
}

impl FromStr for PublisherId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let invalid = |reason: String| KeyError::InvalidPublisher { text: text.to_owned(), reason };
        let cid = parse_cid(text).map_err(|error| invalid(error.to_string()))?;
        Self::new(cid).ok_or_else(|| invalid("a publisher is a CIDv1 of dag-cbor with sha2-256".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::Block;

    use super::*;

    fn publisher(seed: u8) -> PublisherId {
        PublisherId::new(*Block::dag_cbor(vec![seed]).unwrap().cid()).unwrap()
    }

    #[test]
    fn text_and_bytes_read_back() {
        let alice = publisher(1);
        assert_eq!(alice.to_string().parse::<PublisherId>().unwrap(), alice);
        assert_eq!(PublisherId::from_bytes(&alice.to_bytes()), Some(alice));
        assert!(alice.to_string().starts_with("bafyrei"));
    }

    #[test]
    fn short_ids_leave_out_what_all_publishers_share() {
        assert_eq!(publisher(1).short().len(), SHORT_CHARS);
        assert_ne!(publisher(1).short().chars().next(), publisher(2).short().chars().next());
    }

    #[test]
    fn a_cid_of_another_form_is_no_publisher() {
        let raw = Block::raw(&b"x"[..]).unwrap();
        assert!(raw.cid().to_string().parse::<PublisherId>().is_err());
        assert!("QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ".parse::<PublisherId>().is_err());
        assert!("acme".parse::<PublisherId>().is_err());
    }
}
