//! Private keys, by their content: PEM, DER, PKCS #12, OpenSSH, OpenPGP, PuTTY, age, Java key stores, libp2p and Kubo.

use std::sync::LazyLock;

use cid::multibase::Base;
use memchr::memmem::Finder;

use crate::identity::KeyPair;

/// What stands in the first line of every private key in PEM.
static PRIVATE_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("PRIVATE KEY"));
const BEGIN: &str = "-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// Longest label of a PEM block before these words, in bytes.
const MAX_LABEL_BYTES: usize = 24;
/// Shortest body of an encrypted key, in bytes.
const MIN_ENCRYPTED_BYTES: usize = 16;
/// Where an age key is looked for: its file begins with two comments.
const AGE_BYTES: usize = 1024;
/// Letters of an age key, with what it begins with.
const AGE_LETTERS: usize = 74;
const AGE: &[u8] = b"AGE-SECRET-KEY-1";
/// What a key store of Java begins with.
const JAVA: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

/// Key types of libp2p's protobuf.
const RSA: u8 = 0;
const SECP256K1: u8 = 2;
const ECDSA: u8 = 3;
/// Length of a secp256k1 private key in bytes; a public one has one more.
const SECP256K1_BYTES: usize = 32;

/// Says which private key a file holds.
pub(super) fn in_content(content: &[u8]) -> Option<&'static str> {
    if is_libp2p(content) {
        return Some("a private key of a node or publisher");
    }
    if is_der(content) {
        return Some("a private key (DER)");
    }
    if is_pkcs12(content) {
        return Some("a key store (PKCS #12)");
    }
    if content.starts_with(&JAVA) {
        return Some("a key store (Java)");
    }
    if content.starts_with(b"PuTTY-User-Key-File-") {
        return Some("a private SSH key (PuTTY)");
    }
    let head = &content[..content.len().min(AGE_BYTES)];
    if find(head, AGE).is_some_and(|at| is_age(&head[at..])) {
        return Some("a private key (age)");
    }
    is_kubo(content).then_some("the private key of an IPFS node").or_else(|| in_pem(content))
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, words)
}

fn is_age(text: &[u8]) -> bool {
    let letters = text.iter().take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || **byte == b'-');
    letters.count() == AGE_LETTERS
}

/// The configuration of a Kubo node has its key in base64.
fn is_kubo(content: &[u8]) -> bool {
    const SETTING: &[u8] = b"\"PrivKey\"";
    let Some(at) = content.trim_ascii_start().starts_with(b"{").then(|| find(content, SETTING)).flatten() else {
        return false;
    };
    let value = content[at + SETTING.len()..].split(|byte| *byte == b'"').nth(1).unwrap_or_default();
    decode(value).is_some_and(|key| is_libp2p(&key))
}

/// `08 type 12 length key`, and nothing else.
fn is_libp2p(content: &[u8]) -> bool {
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
fn is_der(content: &[u8]) -> bool {
    match sequence(content) {
        // `PrivateKeyInfo` goes on with the algorithm, `RSAPrivateKey` with the modulus.
        Some([0x02, 0x01, 0x00 | 0x01, 0x30, ..]) => true,
        Some([0x02, 0x01, 0x00, 0x02, length, ..]) => *length >= 0x40,
        // `ECPrivateKey` goes on with the key.
        Some([0x02, 0x01, 0x01, 0x04, length, ..]) => (20..=66).contains(length),
        _ => false,
    }
}

fn is_pkcs12(content: &[u8]) -> bool {
    matches!(sequence(content), Some([0x02, 0x01, 0x03, 0x30, ..]))
}

/// What is in the SEQUENCE that is all of `der`.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, content) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (tag == 0x30 && content.len() == length).then_some(content)
}

/// Finds a block of a private key whose body is one, wherever it stands: in a file of its own, or in a configuration or a
/// program, where line breaks may be written as `\n`.
pub(super) fn in_pem(content: &[u8]) -> Option<&'static str> {
    PRIVATE_KEY.find_iter(content).find_map(|at| {
        let label = label(&content[at.saturating_sub(BEGIN.len() + MAX_LABEL_BYTES)..at])?;
        let rest = &content[at + "PRIVATE KEY".len()..];
        let body = rest.strip_prefix(b"-----").or_else(|| rest.strip_prefix(b" BLOCK-----"))?;
        // The next dashes end the block, or begin another one: text without an end is not searched again and again.
        let (body, end) = body.split_at(find(body, DASHES)?);
        (end.starts_with(END) && is_body(label, body)).then_some(match label {
            "OPENSSH " => "a private SSH key",
            "PGP " => "a private OpenPGP key",
            _ => "a private key (PEM)",
        })
    })
}

/// The label of a block before the words `PRIVATE KEY`, with a space at its end unless it is empty.
fn label(before: &[u8]) -> Option<&str> {
    let begin = before.windows(BEGIN.len()).rposition(|window| window == BEGIN.as_bytes())?;
    let label = std::str::from_utf8(&before[begin + BEGIN.len()..]).ok()?;
    label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ').then_some(label)
}

fn is_body(label: &str, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).replace("\\r", "").replace("\\n", "\n").replace('\\', "");
    let (mut base64, mut has_headers) = (String::new(), false);
    for line in text.lines() {
        let line = line.trim_matches(|letter: char| letter.is_whitespace() || "\"',".contains(letter));
        // A header, such as that of an encrypted key; and the checksum of OpenPGP.
        has_headers |= line.contains(": ");
        if !line.contains(": ") && !line.starts_with('=') {
            base64 += line;
        }
    }
    let Some(key) = decode(base64.as_bytes()) else { return false };
    match label {
        "OPENSSH " => key.starts_with(b"openssh-key-v1\0"),
        "PGP " => key.len() > MIN_ENCRYPTED_BYTES && key[0] & 0x80 != 0,
        "ENCRYPTED " => sequence(&key).is_some(),
        _ if has_headers => key.len() >= MIN_ENCRYPTED_BYTES,
        // Keys of DSA have no form of their own here: a version, and numbers.
        _ => is_der(&key) || matches!(sequence(&key), Some([0x02, 0x01, 0x00, ..])),
    }
}

fn decode(base64: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(base64).ok()?.trim_end_matches('=');
    (!text.is_empty()).then(|| Base::Base64.decode(text).ok()).flatten()
}
