//! A cache of valid signatures.
//!
//! A node receives the same record many times: by gossip, under three DHT keys, in pages and answers of its peers, and
//! from its own catalog on each read. The cache stores the SHA-256 of key, signature and signed bytes, so that it
//! matches only this signature by this key over these bytes. Invalid signatures are not cached.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use crate::identity::{PublicKey, SIGNATURE_BYTES};

/// Size of one generation in signatures. Two generations are kept; an entry that is in neither is forgotten.
const GENERATION: usize = 8192;

/// Strategy of checking signatures.
pub(crate) trait Checks {
    /// Returns whether `signature` is a valid signature of `message` by this key.
    fn holds(&self, key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool;
}

/// Verifies every signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Afresh;

impl Checks for Afresh {
    fn holds(&self, key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        key.verify(message, signature)
    }
}

type Fingerprint = [u8; 32];

/// Verifies a signature once and caches valid ones: two generations of at most [`GENERATION`].
#[derive(Debug, Default)]
pub(crate) struct KnownSignatures {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

impl Generations {
    fn knows(&mut self, fingerprint: &Fingerprint) -> bool {
        let known = self.young.contains(fingerprint);
        if !known && self.old.remove(fingerprint) {
            self.remember(*fingerprint);
            return true;
        }
        known
    }

    fn remember(&mut self, fingerprint: Fingerprint) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint);
    }
}

impl KnownSignatures {
    fn generations(&self) -> std::sync::MutexGuard<'_, Generations> {
        // Even after a panic, each set contains valid signatures only.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checks for KnownSignatures {
    fn holds(&self, key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        // Key and signature have fixed lengths, so different triples cannot yield the same bytes.
        let digest = Sha256::new().chain_update(key.as_bytes()).chain_update(signature).chain_update(message);
        let fingerprint: Fingerprint = digest.finalize().into();
        if self.generations().knows(&fingerprint) {
            return true;
        }
        // Verified without the lock, so that several threads can verify at once.
        let holds = key.verify(message, signature);
        if holds {
            self.generations().remember(fingerprint);
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyPair;

    #[test]
    fn a_known_signature_is_good_for_its_key_its_message_and_its_bytes_alone() {
        let (known, alice, mallory) =
            (KnownSignatures::default(), KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signature = alice.sign(b"message");
        for _ in 0..2 {
            assert!(known.holds(&alice.public(), b"message", &signature));
            assert!(!known.holds(&alice.public(), b"massage", &signature));
            assert!(!known.holds(&mallory.public(), b"message", &signature));
            let mut other = signature;
            other[63] ^= 1;
            assert!(!known.holds(&alice.public(), b"message", &other));
        }
        assert_eq!(known.generations().young.len(), 1, "what is bad is not remembered");
    }

    #[test]
    fn what_is_met_again_stays_and_the_rest_is_forgotten_in_time() {
        let mut generations = Generations::default();
        let fingerprint = |number: usize| {
            let mut fingerprint = [0; 32];
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            fingerprint
        };
        let (often, once) = (fingerprint(0), fingerprint(1));
        generations.remember(often);
        generations.remember(once);
        for number in 2..5 * GENERATION {
            generations.remember(fingerprint(number));
            assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
            if number % 1000 == 0 {
                assert!(generations.knows(&often));
            }
        }
        assert!(!generations.knows(&once));
    }
}
