//! Creation of a publisher.

use crate::identity::{ChainError, IdentityChain, IdentityDocument, KeyPair, Signed, Timestamp};

/// Bytes of randomness that a new publisher needs: one seed for each of its four keys.
pub const IDENTITY_ENTROPY_BYTES: usize = 4 * 32;

/// A newly created publisher with all its secrets.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    /// Signs releases, log and heads.
    pub signing: KeyPair,
    /// Replaces a lost or stolen signing key. Show it once; it belongs in another place than the home.
    pub recovery: KeyPair,
    /// Refreshes heads.
    pub timestamp: KeyPair,
    /// Signs the publisher's IPNS record.
    pub ipns: KeyPair,
    /// The chain with its one document.
    pub chain: IdentityChain,
}

impl NewIdentity {
    /// Creates keys and the first identity document from randomness and the current time.
    ///
    /// # Errors
    /// [`ChainError`] if `entropy` yields two equal keys.
    pub fn create(entropy: &[u8; IDENTITY_ENTROPY_BYTES], now: Timestamp) -> Result<Self, ChainError> {
        let (seeds, _) = entropy.as_chunks::<32>();
        let key = |index: usize| KeyPair::from_seed(&seeds[index]);
        let (signing, recovery, timestamp, ipns) = (key(0), key(1), key(2), key(3));
        let document = IdentityDocument {
            keys: vec![signing.public()],
            threshold: 1,
            recovery: vec![recovery.public()],
            timestamp: timestamp.public(),
            ipns: Some(ipns.public()),
            seq: 0,
            prev: None,
            created: now,
        };
        let signed = Signed::sign(document, &[&signing]).map_err(|source| ChainError::Record { seq: 0, source })?;
        let chain = IdentityChain::verify(vec![signed.envelope().clone()])?;
        Ok(Self { signing, recovery, timestamp, ipns, chain })
    }
}
