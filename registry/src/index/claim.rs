//! Claims: the records stored in the DHT under a package's or a publisher's key.
//!
//! A claim is a publisher's identity chain, its head, and for a package its latest release with the catalog path that
//! proves that the head's catalog contains it. One key holds the claims of several publishers, the newest of each.
//! Merging is a set operation, so all replicas converge in whatever sequence claims arrive.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    identity::{
        Afresh, Checks, Envelope, IdentityChain, PublisherId, RecordError, Signed, Timestamp, decode_canonical,
        encode_canonical,
    },
    index::{ClaimError, Found, VerifiedHead, VersionEntry, Walk, package_key, publisher_key, qualified_key},
    package::{PackageId, Release},
};

mod set;

pub use set::{ClaimSet, MAX_CLAIM_SET_BYTES, MAX_CLAIMS, merge_claims};

/// Largest claim in bytes: eight of them, with their frame, fit [`MAX_CLAIM_SET_BYTES`].
pub const MAX_CLAIM_BYTES: usize = (64 << 10) - 64;

const TYPE: &str = "ggen/claim/v1";
const WHAT: &str = "claim";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    r#type: String,
    chain: Vec<Envelope>,
    head: Envelope,
    refresh: Option<Envelope>,
    entry: Option<WireEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntry {
    release: Envelope,
    proof: Option<Vec<ByteBuf>>,
}

/// A verified claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    chain: IdentityChain,
    head: VerifiedHead,
    entry: Option<ClaimEntry>,
    encoded: Vec<u8>,
}

/// The package that a claim is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimEntry {
    /// The release: the newest in the publisher's catalog.
    pub release: Signed<Release>,
    /// What the catalog contains of the package, if the proof fitted. Otherwise the release is verified by its own
    /// signature under the chain's last identity document.
    pub found: Option<Found>,
}

impl Claim {
    /// Builds a claim that the head's catalog contains the release. `found`, the result of a [`Walk`] from the head's
    /// catalog, is the proof. A proof that does not fit is shortened to the newest versions, then omitted.
    ///
    /// # Errors
    /// [`ClaimError`] if the parts do not belong together.
    pub fn for_package(
        chain: &IdentityChain,
        head: &VerifiedHead,
        release: &Signed<Release>,
        found: Option<&Found>,
        now: Timestamp,
    ) -> Result<Self, ClaimError> {
        Self::for_package_with(chain, head, release, found, now, &Afresh)
    }

    /// As [`Claim::for_package`], with signatures checked by `checks`.
    pub(crate) fn for_package_with(
        chain: &IdentityChain,
        head: &VerifiedHead,
        release: &Signed<Release>,
        found: Option<&Found>,
        now: Timestamp,
        checks: &dyn Checks,
    ) -> Result<Self, ClaimError> {
        let mut blocks: &[Bytes] = found.map_or(&[], |found| &found.proof);
        let mut shortened = false;
        loop {
            let proof =
                (!blocks.is_empty()).then(|| blocks.iter().map(|block| ByteBuf::from(block.to_vec())).collect());
            let entry = WireEntry { release: release.envelope().clone(), proof };
            match (Self::build(chain, head, Some(entry), now, checks), blocks) {
                (Err(ClaimError::Record(RecordError::TooLarge { .. })), [shorter @ .., _]) => {
                    (blocks, shortened) = (shorter, true);
                }
                // The shortened proof no longer reaches the release, so it is omitted.
                (Err(ClaimError::Proof(_) | ClaimError::Mismatch { .. }), [_, ..]) if shortened => blocks = &[],
                (built, _) => return built,
            }
        }
    }

    /// Builds a claim of the publisher's head, without a package.
    ///
    /// # Errors
    /// [`ClaimError`] if the parts do not belong together.
    pub fn for_publisher(chain: &IdentityChain, head: &VerifiedHead, now: Timestamp) -> Result<Self, ClaimError> {
        Self::for_publisher_with(chain, head, now, &Afresh)
    }

    /// As [`Claim::for_publisher`], with signatures checked by `checks`.
    pub(crate) fn for_publisher_with(
        chain: &IdentityChain,
        head: &VerifiedHead,
        now: Timestamp,
        checks: &dyn Checks,
    ) -> Result<Self, ClaimError> {
        Self::build(chain, head, None, now, checks)
    }

    fn build(
        chain: &IdentityChain,
        head: &VerifiedHead,
        entry: Option<WireEntry>,
        now: Timestamp,
        checks: &dyn Checks,
    ) -> Result<Self, ClaimError> {
        let wire = Wire {
            r#type: TYPE.to_owned(),
            chain: chain.documents().iter().map(|document| document.envelope().clone()).collect(),
            head: head.head().envelope().clone(),
            refresh: head.refresh().map(|refresh| refresh.envelope().clone()),
            entry,
        };
        Self::verify_with(&encode_canonical(WHAT, &wire, MAX_CLAIM_BYTES)?, now, checks)
    }

    /// Decodes a claim and checks everything that can be checked offline.
    ///
    /// # Errors
    /// [`ClaimError`]. The size is checked before anything is decoded.
    pub fn verify(bytes: &[u8], now: Timestamp) -> Result<Self, ClaimError> {
        Self::verify_with(bytes, now, &Afresh)
    }

    /// As [`Claim::verify`], with signatures checked by `checks`.
    pub(crate) fn verify_with(bytes: &[u8], now: Timestamp, checks: &dyn Checks) -> Result<Self, ClaimError> {
        let wire: Wire = decode_canonical(WHAT, bytes, MAX_CLAIM_BYTES)?;
        if wire.r#type != TYPE {
            return Err(ClaimError::Form { reason: format!("its type is not `{TYPE}`") });
        }
        let chain = IdentityChain::verify_with(wire.chain, checks)?;
        let head = VerifiedHead::verify_with(wire.head, wire.refresh, &chain, now, checks)?;
        let entry = wire.entry.map(|entry| check_entry(entry, &chain, &head, checks)).transpose()?;
        Ok(Self { chain, head, entry, encoded: bytes.to_vec() })
    }

    /// The encoded claim.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The publisher of the claim.
    pub fn publisher(&self) -> PublisherId {
        self.chain.publisher()
    }

    /// The publisher's identity chain.
    pub fn chain(&self) -> &IdentityChain {
        &self.chain
    }

    /// The publisher's head.
    pub fn head(&self) -> &VerifiedHead {
        &self.head
    }

    /// The package and its release; none in a claim of the publisher's head alone.
    pub fn entry(&self) -> Option<&ClaimEntry> {
        self.entry.as_ref()
    }

    /// The package's id.
    pub fn package(&self) -> Option<&PackageId> {
        self.entry.as_ref().map(|entry| &entry.release.record().package)
    }

    /// The versions that the catalog proof shows, lowest first; none without a proof.
    pub fn versions(&self) -> &[VersionEntry] {
        self.entry.as_ref().and_then(|entry| entry.found.as_ref()).map_or(&[], |found| &found.entries)
    }

    /// Returns whether the claim belongs under a DHT key.
    pub fn belongs_under(&self, key: &[u8]) -> bool {
        match self.package() {
            Some(package) => key == package_key(package) || key == qualified_key(&self.publisher(), package),
            None => key == publisher_key(&self.publisher()),
        }
    }
}

fn check_entry(
    entry: WireEntry,
    chain: &IdentityChain,
    head: &VerifiedHead,
    checks: &dyn Checks,
) -> Result<ClaimEntry, ClaimError> {
    let mismatch = |reason: &str| ClaimError::Mismatch { reason: reason.to_owned() };
    let release: Signed<Release> = entry.release.open_with(checks)?;
    let record = release.record();
    if record.publisher != chain.publisher() {
        return Err(mismatch("the release names another publisher"));
    }
    let Some(proof) = entry.proof else {
        chain.authorise(&release)?;
        return Ok(ClaimEntry { release, found: None });
    };
    chain.authorise_historically(&release)?;
    let proof: Vec<Bytes> = proof.into_iter().map(|block| Bytes::from(block.into_vec())).collect();
    let found = Walk::verify(&head.head().record().catalog, &record.package, &proof).map_err(ClaimError::Proof)?;
    let stands = |entry: &VersionEntry| (entry.version == record.version) && entry.release.cid() == release.cid();
    if !found.entries.iter().any(stands) {
        return Err(mismatch("the head's catalog does not list the release"));
    }
    Ok(ClaimEntry { release, found: Some(found) })
}

#[cfg(test)]
mod tests;
