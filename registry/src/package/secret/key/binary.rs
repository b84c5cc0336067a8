//! Private keys in binary forms that are all of a file: libp2p, DER, PKCS #12, key stores of Java.

use super::find;
use crate::identity::KeyPair;

/// Key types of libp2p's protobuf.
const RSA: u8 = 0;
const SECP256K1: u8 = 2;
const ECDSA: u8 = 3;
/// Length of a secp256k1 private key in bytes; a public one has one more.
const SECP256K1_BYTES: usize = 32;
/// Object identifiers of encryption with a password: PKCS #5, and PKCS #12.
const PASSWORD_BASED: [&[u8]; 2] = [b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01"];
/// Where such an identifier stands in an encrypted key, at the latest.
const IDENTIFIER_BYTES: usize = 16;
/// What the object identifiers of the bags of a PKCS #12 store begin with, and how those of keys and secrets end.
const BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
const KEY_BAGS: [u8; 3] = [1, 2, 5];
/// What a key store of Java begins with: JKS, JCEKS.
const JAVA: [&[u8]; 2] = [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"];
/// A certificate among the entries of such a store.
const CERTIFICATE: u32 = 2;

/// Says which private key it is.
pub(super) fn of_key(content: &[u8]) -> Option<&'static str> {
    // A shell puts a line feed behind what it writes.
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

/// `08 type 12 length key`, and nothing else.
pub(super) fn is_libp2p(content: &[u8]) -> bool {
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

/// PKCS #8, PKCS #1 (RSA) and SEC 1 (elliptic curves) begin with a version, and public keys and certificates do not.
pub(super) fn is_der(content: &[u8]) -> bool {
    match sequence(content) {
        // `PrivateKeyInfo` goes on with the algorithm, `RSAPrivateKey` with the modulus.
        Some([0x02, 0x01, 0x00 | 0x01, 0x30, ..]) => true,
        Some([0x02, 0x01, 0x00, 0x02, length, ..]) => *length >= 0x40,
        // `ECPrivateKey` goes on with the key.
        Some([0x02, 0x01, 0x01, 0x04, length, ..]) => (20..=66).contains(length),
        _ => false,
    }
}

/// `EncryptedPrivateKeyInfo` begins with how it is encrypted; what else begins so has other algorithms.
fn is_encrypted(content: &[u8]) -> bool {
    let Some(inner @ [0x30, ..]) = sequence(content) else { return false };
    let head = &inner[..inner.len().min(IDENTIFIER_BYTES)];
    PASSWORD_BASED.iter().any(|identifier| find(head, identifier).is_some())
}

/// A store with certificates alone is none. The bags of keys stand in clear text, their content is encrypted.
fn is_pkcs12(content: &[u8]) -> bool {
    if !matches!(sequence(content), Some([0x02, 0x01, 0x03, 0x30, ..])) {
        return false;
    }
    let mut bags = memchr::memmem::find_iter(content, BAG);
    bags.any(|at| content.get(at + BAG.len()).is_some_and(|kind| KEY_BAGS.contains(kind)))
}

/// What is in the SEQUENCE that is all of `der`. In BER its end may be marked instead of its length given.
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

/// Whether a key store of Java has an entry that is no certificate. One that cannot be followed may have.
fn holds_java_key(content: &[u8]) -> bool {
    let Some(rest) = JAVA.iter().find_map(|magic| content.strip_prefix(*magic)) else { return false };
    let mut fields = Fields(rest);
    let (Some(version @ 1..=2), Some(entries)) = (fields.number(), fields.number()) else { return false };
    (0..entries).any(|_| fields.skip_certificate(version).is_none())
}

/// The fields of a key store, one by one; numbers are big endian.
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

    /// Passes an entry that is a certificate: its kind, alias, date, type and DER.
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
