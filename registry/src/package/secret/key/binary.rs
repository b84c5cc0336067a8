//! Binary forms of private keys that are a whole file: libp2p, DER, PKCS #12, Java key stores.

use super::find;
use crate::identity::KeyPair;

/// Key types of libp2p's protobuf.
const RSA: u8 = 0;
const SECP256K1: u8 = 2;
const ECDSA: u8 = 3;
/// Length of a secp256k1 private key in bytes; a public key has one more.
const SECP256K1_BYTES: usize = 32;
/// Object identifiers of password-based encryption: PKCS #5 and PKCS #12.
const PASSWORD_BASED: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01"];
/// Number of leading bytes of an encrypted key within which such an identifier appears.
const IDENTIFIER_BYTES: usize = 16;
/// Common prefix of the object identifiers of PKCS #12 bags, and the last bytes of those for keys and secrets.
const BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
const KEY_BAGS: [u8; 3] = [1, 2, 5];
/// Magic numbers of Java key stores: JKS, JCEKS.
const JAVA: [&[u8]; 2] = [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"];
/// Entry kind of a certificate in such a store.
const CERTIFICATE: u32 = 2;

/// Returns which private key the content is.
pub(super) fn of_key(content: &[u8]) -> Option<&'static str> {
    // Shells append a line feed to what they write.
    let line = content.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    [Some(content), line].into_iter().flatten().find_map(|content| {
        if is_libp2p(content) {
            return Some("a private key of a node or publisher");
        }
        if is_der(content) || is_encrypted(content) {
            return Some("a private key (DER)");
        }
        if is_pkcs12(content) {
            return Some("a key store (PKCS #12)");
        }
        holds_java_key(content).then_some("a key store (Java)")
    })
}

/// Returns whether the content is exactly a type and a key, `08 type 12 length key`, which protobuf allows in either order.
pub(super) fn is_libp2p(content: &[u8]) -> bool {
    if !matches!(content.first(), Some(0x08 | 0x12)) {
        return false;
    }
    if KeyPair::from_protobuf(content).is_ok() {
        return true;
    }
    let Some(&[0x08, kind, 0x12]) = content.first_chunk() else { return false };
    let Ok((length, key)) = unsigned_varint::decode::usize(&content[3..]) else { return false };
    key.len() == length
        && match kind {
            RSA | ECDSA => is_der(key),
            SECP256K1 => key.len() == SECP256K1_BYTES,
            _ => false,
        }
}

/// PKCS #8, PKCS #1 (RSA) and SEC 1 (elliptic curves) begin with a version; public keys and certificates do not.
pub(super) fn is_der(content: &[u8]) -> bool {
    match sequence(content) {
        // In `PrivateKeyInfo` the algorithm follows, in `RSAPrivateKey` the modulus.
        Some([0x02, 0x01, 0x00 | 0x01, 0x30, ..]) => true,
        Some([0x02, 0x01, 0x00, 0x02, length, ..]) => *length >= 0x40,
        // In `ECPrivateKey` the key follows.
        Some([0x02, 0x01, 0x01, 0x04, length, ..]) => (20..=66).contains(length),
        _ => false,
    }
}

/// `EncryptedPrivateKeyInfo` begins with its encryption algorithm; other structures that begin like it name other
/// algorithms.
fn is_encrypted(content: &[u8]) -> bool {
    let Some(inner @ [0x30, ..]) = sequence(content) else { return false };
    let head = &inner[..inner.len().min(IDENTIFIER_BYTES)];
    PASSWORD_BASED.iter().any(|identifier| find(head, identifier).is_some())
}

/// A store that contains only certificates is not a secret. The bags of keys are listed in clear text; only their
/// content is encrypted.
fn is_pkcs12(content: &[u8]) -> bool {
    if !matches!(sequence(content), Some([0x02, 0x01, 0x03, 0x30, ..])) {
        return false;
    }
    let mut bags = memchr::memmem::find_iter(content, BAG);
    bags.any(|at| content.get(at + BAG.len()).is_some_and(|kind| KEY_BAGS.contains(kind)))
}

/// The contents of the SEQUENCE that spans all of `der`. BER may mark its end instead of stating its length.
pub(super) fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, content) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x80 => {
            let content = rest.strip_suffix(&[0, 0])?;
            (content.len(), content)
        }
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (tag == 0x30 && content.len() == length).then_some(content)
}

/// Returns whether a Java key store has an entry other than a certificate. A store that cannot be parsed is assumed to
/// have one.
fn holds_java_key(content: &[u8]) -> bool {
    let Some(rest) = JAVA.iter().find_map(|magic| content.strip_prefix(*magic)) else { return false };
    let mut fields = Fields(rest);
    let (Some(version @ 1..=2), Some(entries)) = (fields.number(), fields.number()) else { return false };
    (0..entries).any(|_| fields.skip_certificate(version).is_none())
}

/// The fields of a key storein sequence; numbers are big endian.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn skip_text(&mut self) -> Option<()> {
        let length = u16::from_be_bytes(*self.0.first_chunk()?);
        self.skip(2 + usize::from(length))
    }

    /// Skips an entry that is a certificate: its kind, alias, date, type and DER.
    fn skip_certificate(&mut self, version: u32) -> Option<()> {
        if self.number()? != CERTIFICATE {
            return None;
        }
        self.skip_text()?;
        self.skip(8)?;
        if version == 2 {
            self.skip_text()?;
        }
        let length = self.number()?;
        self.skip(usize::try_from(length).ok()?)
    }
}
