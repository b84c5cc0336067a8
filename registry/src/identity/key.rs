//! Ed25519 keys, and their forms in libp2p, Kubo and PEM files.
//!
//! libp2p's protobuf (peer-ids specification): `08 01` key type ed25519, `12 20` 32 bytes of public key; a private
//! key has `12 40` and seed followed by public key (`12 60`, the public key twice, in old files).
//! PEM is PKCS #8 (RFC 8410) without the public key.

mod error;

use std::{
    collections::HashSet,
    fmt,
    sync::{LazyLock, Mutex, PoisonError},
};

use cid::multibase::Base;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
pub use error::KeyError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Length of an ed25519 signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

const PUBLIC_BYTES: usize = 32;
const SEED_BYTES: usize = 32;
/// Protobuf: field 1 (type) = 1 (ed25519), field 2 (data) follows.
const PROTOBUF_TYPE: [u8; 3] = [0x08, 0x01, 0x12];
/// DER of `PrivateKeyInfo { version 0, algorithm 1.3.101.112, OCTET STRING { OCTET STRING (32 bytes) } }`.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Public keys that passed validation. The same few keys occur in every record, and their validation took 4 to 5 % of
/// the time of a daemon that publishes or fetches small packages.
static GOOD: LazyLock<Mutex<HashSet<[u8; PUBLIC_BYTES]>>> = LazyLock::new(Mutex::default);
/// Size of that cache; when it is exceeded, the cache is emptied.
const MAX_GOOD: usize = 1024;

/// An ed25519 public key. Points of small order are refused, so that a signature is valid for one message only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PUBLIC_BYTES]);

impl PublicKey {
    /// Validates the 32 bytes of a key.
    ///
    /// # Errors
    /// [`KeyError::InvalidPublic`] for a wrong length, a value that is no point of the curve, or a point of small
    /// order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let invalid = |reason: String| KeyError::InvalidPublic { reason };
        let bytes: [u8; PUBLIC_BYTES] =
            bytes.try_into().map_err(|_| invalid(format!("{} bytes instead of {PUBLIC_BYTES}", bytes.len())))?;
        let good = || GOOD.lock().unwrap_or_else(PoisonError::into_inner);
        if good().contains(&bytes) {
            return Ok(Self(bytes));
        }
        let key = VerifyingKey::from_bytes(&bytes).map_err(|error| invalid(error.to_string()))?;
        if key.is_weak() {
            return Err(invalid("it is a point of small order".to_owned()));
        }
        let mut good = good();
        if good.len() >= MAX_GOOD {
            good.clear();
        }
        good.insert(bytes);
        Ok(Self(bytes))
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_BYTES] {
        &self.0
    }

    /// Returns whether `signature` is a valid signature of `message` by this key. Verification is strict (RFC 8032,
    /// without cofactor), so that implementations do not disagree.
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// The key in libp2p's protobuf encoding.
    pub fn to_protobuf(&self) -> Vec<u8> {
        [&PROTOBUF_TYPE[..], &[PUBLIC_BYTES as u8], &self.0].concat()
    }

    /// The libp2p peer id of this key (`12D3Koo...`).
    pub fn peer_id(&self) -> String {
        let protobuf = self.to_protobuf();
        Base::Base58Btc.encode([&[0x00, protobuf.len() as u8], &protobuf[..]].concat())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&serde_bytes::ByteBuf::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// An ed25519 private key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// The key pair of a secret seed. For a new key, the seed is 32 bytes of the system's randomness.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret seed.
    pub fn to_seed(&self) -> [u8; SEED_BYTES] {
        self.0.to_bytes()
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`. Records are signed through [`Envelope`](crate::identity::Envelope), which separates domains.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }

    /// The key in libp2p's protobuf encoding, as `ipfs key export` writes it.
    pub fn to_protobuf(&self) -> Vec<u8> {
        [&PROTOBUF_TYPE[..], &[(SEED_BYTES + PUBLIC_BYTES) as u8], &self.0.to_keypair_bytes()].concat()
    }

    /// Decodes a key in libp2p's protobuf encoding, as `ipfs key export` writes it.
    ///
    /// # Errors
    /// [`KeyError::InvalidPrivate`] for another key type, a wrong length, or a public key that does not match the
    /// private key.
    pub fn from_protobuf(bytes: &[u8]) -> Result<Self, KeyError> {
        let invalid = |reason: &str| KeyError::InvalidPrivate { format: "libp2p protobuf", reason: reason.to_owned() };
        let rest = bytes.strip_prefix(&PROTOBUF_TYPE).ok_or_else(|| invalid("it does not begin as an ed25519 key"))?;
        let (&length, data) = rest.split_first().ok_or_else(|| invalid("it is cut short"))?;
        if data.len() != usize::from(length) {
            return Err(invalid("its length field does not fit"));
        }
        let (seed, publics) =
            data.split_first_chunk::<SEED_BYTES>().ok_or_else(|| invalid("it is shorter than a seed"))?;
        let key = Self::from_seed(seed);
        let matches = publics.chunks(PUBLIC_BYTES).all(|public| public == key.public().as_bytes());
        if !matches!(publics.len() / PUBLIC_BYTES, 1 | 2) || !matches {
            return Err(invalid("its public half does not belong to its private half"));
        }
        Ok(key)
    }

    /// The key as a PKCS #8 PEM file, as `ipfs key export --format=pem-pkcs8-cleartext` and openssl write it.
    pub fn to_pem(&self) -> String {
        let der = [&PKCS8_PREFIX[..], &self.to_seed()].concat();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", Base::Base64Pad.encode(der))
    }

    /// Reads a PKCS #8 PEM file that holds one ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::InvalidPrivate`] with the reason.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let invalid = |reason: &str| KeyError::InvalidPrivate { format: "PEM", reason: reason.to_owned() };
        let body = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        let body: String = body
            .ok_or_else(|| invalid("it has no `PRIVATE KEY` markers"))?
            .chars()
            .filter(|character| !character.is_ascii_whitespace())
            .collect();
        let der = Base::Base64Pad.decode(&body).map_err(|_| invalid("its body is not base64"))?;
        let seed = der.strip_prefix(&PKCS8_PREFIX).ok_or_else(|| invalid("it is not an ed25519 key"))?;
        let seed = seed.try_into().map_err(|_| invalid("its key does not have 32 bytes"))?;
        Ok(Self::from_seed(seed))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyPair({})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Ed25519 vectors of libp2p's peer-ids specification.
    const SPEC_PRIVATE: &str = "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d\
                                1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
    const SPEC_PUBLIC: &str = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";

    #[test]
    fn libp2p_vectors_read_and_write_back() {
        let key = KeyPair::from_protobuf(&unhex(SPEC_PRIVATE)).unwrap();
        assert_eq!(key.to_protobuf(), unhex(SPEC_PRIVATE));
        assert_eq!(key.public().to_protobuf(), unhex(SPEC_PUBLIC));
    }

    #[test]
    fn peer_ids_are_those_of_libp2p() {
        let key = KeyPair::from_seed(&[7; 32]);
        let theirs = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).unwrap();
        assert_eq!(key.public().peer_id(), theirs.public().to_peer_id().to_string());
        assert_eq!(key.to_protobuf(), theirs.to_protobuf_encoding().unwrap());
    }

    #[test]
    fn pem_reads_what_openssl_writes() {
        // RFC 8410, section 10.3, first example.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = KeyPair::from_pem(pem).unwrap();
        assert_eq!(key.to_pem(), pem);
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(key.public().to_string(), public);
    }

    #[test]
    fn damaged_private_keys_are_refused() {
        let good = unhex(SPEC_PRIVATE);
        for end in 0..good.len() {
            assert!(KeyPair::from_protobuf(&good[..end]).is_err(), "cut at {end}");
        }
        let mut wrong_half = good.clone();
        *wrong_half.last_mut().unwrap() ^= 1;
        assert!(KeyPair::from_protobuf(&wrong_half).is_err());
        assert!(KeyPair::from_pem("-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----").is_err());
        assert!(KeyPair::from_pem("no key").is_err());
    }

    #[test]
    fn weak_public_keys_are_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert!(PublicKey::from_bytes(&identity_point).is_err());
        assert!(PublicKey::from_bytes(&[1; 31]).is_err());
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        let (alice, mallory) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signature = alice.sign(b"message");
        assert!(alice.public().verify(b"message", &signature));
        assert!(!alice.public().verify(b"massage", &signature));
        assert!(!mallory.public().verify(b"message", &signature));
        assert!(!format!("{alice:?}").contains(&"01".repeat(32)));
    }
}
