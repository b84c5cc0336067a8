//! The set of claims under one DHT key.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};

use crate::{
    identity::{Afresh, Checks, PublisherId, Timestamp, decode_canonical, encode_canonical},
    index::{Claim, ClaimError},
};

/// Most claims under one key.
pub const MAX_CLAIMS: usize = 8;
/// Largest set of claims in bytes.
pub const MAX_CLAIM_SET_BYTES: usize = 512 << 10;

const TYPE: &str = "ggen/claims/v1";
const WHAT: &str = "set of claims";
const RANK_DOMAIN: &[u8] = b"ggen:claim-rank:v1\0";

/// Every full set of full claims must fit, or merging would depend on the sequence of arrival.
const _: () = assert!(MAX_CLAIMS * (super::MAX_CLAIM_BYTES + 8) + 64 <= MAX_CLAIM_SET_BYTES);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    r#type: String,
    claims: Vec<ByteBuf>,
}

/// Position of a publisher under a key. It depends on key and publisher alone, so that neither the other contents of a
/// claim nor its arrival time decide which claims stay.
type Rank = [u8; 32];

/// The claims under one key: the newest of each publisher, at most [`MAX_CLAIMS`] publishers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimSet {
    key: Vec<u8>,
    claims: BTreeMap<Rank, Claim>,
}

impl ClaimSet {
    /// An empty set for `key`.
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec(), claims: BTreeMap::new() }
    }

    /// Decodes a set and verifies every claim in it.
    ///
    /// # Errors
    /// [`ClaimError`] if one of them does not verify or does not belong under `key`, or the set is malformed.
    pub fn verify(key: &[u8], bytes: &[u8], now: Timestamp) -> Result<Self, ClaimError> {
        Self::verify_with(key, bytes, now, &Afresh)
    }

    /// As [`ClaimSet::verify`], with signatures checked by `checks`.
    pub(crate) fn verify_with(
        key: &[u8],
        bytes: &[u8],
        now: Timestamp,
        checks: &dyn Checks,
    ) -> Result<Self, ClaimError> {
        let form = |reason: &str| ClaimError::Form { reason: reason.to_owned() };
        let wire: Wire = decode_canonical(WHAT, bytes, MAX_CLAIM_SET_BYTES)?;
        if wire.r#type != TYPE {
            return Err(form("its type is another"));
        }
        if wire.claims.is_empty() || wire.claims.len() > MAX_CLAIMS {
            return Err(form("it has no claims or too many"));
        }
        let mut set = Self::new(key);
        for claim in &wire.claims {
            set.insert(Claim::verify_with(claim, now, checks)?)?;
        }
        match set.encode()? == bytes {
            true => Ok(set),
            false => Err(form("its claims are not in order, or two are of one publisher")),
        }
    }

    /// Adds a claim. It replaces an older one of its publisher. If the set then exceeds [`MAX_CLAIMS`], the last claim
    /// is dropped.
    ///
    /// # Errors
    /// [`ClaimError::OtherKey`] for a claim that does not belong under the set's key.
    pub fn insert(&mut self, claim: Claim) -> Result<(), ClaimError> {
        if !claim.belongs_under(&self.key) {
            return Err(ClaimError::OtherKey);
        }
        let rank = self.rank(&claim.publisher());
        match self.claims.get(&rank) {
            Some(held) if newer(held, &claim) != Ordering::Less => {}
            _ => {
                self.claims.insert(rank, claim);
            }
        }
        if self.claims.len() > MAX_CLAIMS {
            self.claims.pop_last();
        }
        Ok(())
    }

    /// Adds all claims of another set under the same key.
    ///
    /// # Errors
    /// [`ClaimError::OtherKey`] for a set of another key.
    pub fn merge(&mut self, other: Self) -> Result<(), ClaimError> {
        other.claims.into_values().try_for_each(|claim| self.insert(claim))
    }

    /// The claims, in the order of the set.
    pub fn claims(&self) -> impl ExactSizeIterator<Item = &Claim> {
        self.claims.values()
    }

    /// The claim of one publisher.
    pub fn of_publisher(&self, publisher: &PublisherId) -> Option<&Claim> {
        self.claims.get(&self.rank(publisher))
    }

    /// Encodes the set.
    ///
    /// # Errors
    /// [`ClaimError`]; never for a set within its bounds.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimError> {
        let claims = self.claims.values().map(|claim| ByteBuf::from(claim.encoded())).collect();
        Ok(encode_canonical(WHAT, &Wire { r#type: TYPE.to_owned(), claims }, MAX_CLAIM_SET_BYTES)?)
    }

    fn rank(&self, publisher: &PublisherId) -> Rank {
        let digest = Sha256::new().chain_update(RANK_DOMAIN).chain_update((self.key.len() as u64).to_be_bytes());
        digest.chain_update(&self.key).chain_update(publisher.to_bytes()).finalize().into()
    }
}

/// Merges two encoded sets under one key. Commutative, associative and idempotent.
///
/// # Errors
/// [`ClaimError`] if either does not verify.
pub fn merge_claims(key: &[u8], a: &[u8], b: &[u8], now: Timestamp) -> Result<Vec<u8>, ClaimError> {
    let mut set = ClaimSet::verify(key, a, now)?;
    set.merge(ClaimSet::verify(key, b, now)?)?;
    set.encode()
}

/// Compares claims of one publisher; the newest is the greatest. The criteria are the identity documents (a recovery
/// above a rotation, a longer chain above its prefix), then the log length, the last refresh, the version, and finally
/// the bytes. The order must be total: otherwise the result of merging would depend on the sequence of merges.
fn newer(a: &Claim, b: &Claim) -> Ordering {
    let release = |claim: &Claim| claim.entry().map(|entry| entry.release.record().version.clone());
    let state = |claim: &Claim| (claim.head().head().record().log_seq, claim.head().issued(), release(claim));
    a.chain()
        .rank()
        .cmp(b.chain().rank())
        .then_with(|| state(a).cmp(&state(b)))
        .then_with(|| a.encoded().cmp(b.encoded()))
}
