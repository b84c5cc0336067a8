//! Which values a server of the IPFS DHT stores: IPNS records under `/ipns/<multihash>`, and public keys under
//! `/pk/<multihash>`. Everything else is refused, as in go-libp2p-kad-dht.
//!
//! Specification: <https://specs.ipfs.tech/routing/kad-dht/#value-storage-and-retrieval>. Pure: the time is passed in.

mod ipns;

#[cfg(test)]
pub(in crate::node) use self::ipns::tests::Draft;

use std::{cmp::Ordering, time::SystemTime};

use libp2p::{PeerId, identity::PublicKey};

use self::ipns::{IpnsError, IpnsRecord};

/// Longest public key stored, in bytes of its protobuf: an RSA key of 8192 bits, the largest that libp2p accepts, has
/// 1,062.
const MAX_KEY_BYTES: usize = 2 << 10;

/// Why a value is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("only values under /ipns/ and /pk/ are kept")]
    Namespace,
    #[error("the key is not the multihash of a public key")]
    Name,
    #[error("a public key of {0} bytes is longer than {MAX_KEY_BYTES}")]
    KeyTooLarge(usize),
    #[error("the value is not a public key")]
    NotAKey(#[from] libp2p::identity::DecodingError),
    #[error("the public key is that of {0}")]
    OtherKey(PeerId),
    #[error(transparent)]
    Ipns(#[from] IpnsError),
    #[error("a newer record is known")]
    Older,
}

/// Decides whether the value `offered` under `key` replaces the `stored` one. Returns until when it is valid; `None` is
/// for ever. `stored` was accepted by this function before.
///
/// # Errors
/// The reason of a refusal. A record that is older than the stored one is refused, as in go-libp2p-kad-dht, so that its
/// sender learns that it is out of date.
pub(crate) fn admit(
    key: &[u8],
    stored: Option<&[u8]>,
    offered: &[u8],
    now: SystemTime,
) -> Result<Option<SystemTime>, ValueError> {
    let name = |bytes| PeerId::from_bytes(bytes).map_err(|_| ValueError::Name);
    if let Some(hash) = key.strip_prefix(b"/ipns/") {
        return admit_ipns(&name(hash)?, stored, offered, now).map(Some);
    }
    if let Some(hash) = key.strip_prefix(b"/pk/") {
        return admit_key(&name(hash)?, offered).map(|()| None);
    }
    Err(ValueError::Namespace)
}

fn admit_ipns(name: &PeerId, stored: Option<&[u8]>, offered: &[u8], now: SystemTime) -> Result<SystemTime, ValueError> {
    let record = IpnsRecord::decode(offered)?;
    // The signature of the stored value was checked when it was stored.
    if stored == Some(offered) {
        record.check_validity(now)?;
    } else {
        record.verify(name, now)?;
    }
    if let Some(bytes) = stored
        && let Ok(known) = IpnsRecord::decode(bytes)
        && known.check_validity(now).is_ok()
        && record.cmp_recency(&known).then_with(|| offered.cmp(bytes)) == Ordering::Less
    {
        return Err(ValueError::Older);
    }
    Ok(record.valid_until())
}

fn admit_key(name: &PeerId, offered: &[u8]) -> Result<(), ValueError> {
    if offered.len() > MAX_KEY_BYTES {
        return Err(ValueError::KeyTooLarge(offered.len()));
    }
    let found = PublicKey::try_decode_protobuf(offered)?.to_peer_id();
    if found == *name { Ok(()) } else { Err(ValueError::OtherKey(found)) }
}

#[cfg(test)]
mod tests;
