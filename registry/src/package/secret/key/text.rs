//! Private keys in other text: age, JWK, WireGuard, signify, minisign, PuTTY.

use cid::multibase::Base;
use memchr::memmem;

use super::{super::setting::values, base64, find};

/// The prefix of an age key.
pub(super) const AGE: &[u8] = b"AGE-SECRET-KEY-";
/// The field of a JWK that names its type.
pub(super) const JWK: &[u8] = b"kty";
/// The WireGuard setting that contains the key.
pub(super) const WIREGUARD: &[u8] = b"PrivateKey";
/// The bech32 alphabet; a letter's position is its value.
const BECH32: &[u8; 32] = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L";
/// The generator of the bech32 checksum, and the checksum's length in letters.
const BECH32_GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const BECH32_CHECK_LETTERS: usize = 6;
/// Number of bytes before and after the type field within which a JWK is searched for.
const JWK_BYTES: usize = 8 << 10;
/// Most JWKs examined in one file.
const MAX_JWKS: usize = 256;
/// Shortest secret of a JWK, in bytes.
const MIN_JWK_BYTES: usize = 16;
/// Longest configuration of WireGuard that is examined, and length of its key, in bytes.
const MAX_WIREGUARD_BYTES: usize = 64 << 10;
const WIREGUARD_BYTES: usize = 32;
/// Lengths of the secret keys of signify and minisign, in bytes. Public keys and signatures are shorter.
const SIGNIFY_BYTES: usize = 104;
const MINISIGN_BYTES: usize = 158;

/// Returns which private key a text contains. Without a mark ([`AGE`], [`JWK`], [`WIREGUARD`]) only keys that are the
/// whole file are searched for.
pub(super) fn in_text(content: &[u8], has_mark: bool) -> Option<&'static str> {
    if content.starts_with(b"PuTTY-User-Key-File-") {
        return Some("a private SSH key (PuTTY)");
    }
    if is_signify(content) {
        return Some("a private key (signify or minisign)");
    }
    if has_mark && is_wireguard(content) {
        return Some("a private key (WireGuard)");
    }
    if !has_mark {
        return None;
    }
    in_age(content).or_else(|| has_jwk(content).then_some("a private key (JWK)"))
}

/// Finds an age key with a valid checksum.
pub(super) fn in_age(content: &[u8]) -> Option<&'static str> {
    let is_key = |at: usize| {
        let text = &content[at..];
        let is_part = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'-';
        is_bech32(&text[..text.iter().take_while(|byte| is_part(byte)).count()])
    };
    memmem::find_iter(content, AGE).any(is_key).then_some("a private key (age)")
}

/// Returns whether the checksum of a text in upper case is valid (BIP 173).
fn is_bech32(text: &[u8]) -> bool {
    let Some(one) = text.iter().rposition(|byte| *byte == b'1') else { return false };
    let (prefix, data) = (&text[..one], &text[one + 1..]);
    let prefix = prefix.iter().map(u8::to_ascii_lowercase);
    let prefix: Vec<u8> = prefix.clone().map(|byte| byte >> 5).chain([0]).chain(prefix.map(|byte| byte & 31)).collect();
    let values: Option<Vec<u8>> =
        data.iter().map(|letter| Some(BECH32.iter().position(|of| of == letter)? as u8)).collect();
    let Some(values) = values.filter(|values| values.len() > BECH32_CHECK_LETTERS) else { return false };
    let sum = prefix.into_iter().chain(values).fold(1_u32, |sum, value| {
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        let bits = BECH32_GENERATOR.iter().enumerate().filter(|(bit, _)| sum >> (25 + bit) & 1 == 1);
        bits.fold(next, |next, (_, generator)| next ^ generator)
    });
    sum == 1
}

/// Returns whether the file is a signify or minisign key: a comment line, and the key in the second line.
fn is_signify(content: &[u8]) -> bool {
    let mut lines = content.split(|byte| *byte == b'\n');
    let has_comment = lines.next().is_some_and(|line| line.starts_with(b"untrusted comment:"));
    let key = lines.next().filter(|_| has_comment).and_then(|line| base64(line.trim_ascii()));
    key.is_some_and(|key| key.starts_with(b"Ed") && matches!(key.len(), SIGNIFY_BYTES | MINISIGN_BYTES))
}

/// Returns whether the file is a configuration of `wg` or of a systemd network device with a private key.
fn is_wireguard(content: &[u8]) -> bool {
    if content.len() > MAX_WIREGUARD_BYTES || find(content, WIREGUARD).is_none() {
        return false;
    }
    let text = String::from_utf8_lossy(content);
    let is_configuration = ["[Interface]", "[WireGuard]"].iter().any(|section| text.contains(section));
    let is_key = |value: &str| base64(value.as_bytes()).is_some_and(|key| key.len() == WIREGUARD_BYTES);
    is_configuration && values(&text, "privatekey").any(is_key)
}

/// Finds a JSON Web Key (RFC 7517) with its private part, in JSON or in a program.
fn has_jwk(content: &[u8]) -> bool {
    memmem::find_iter(content, JWK).take(MAX_JWKS).any(|at| {
        let before = &content[at.saturating_sub(JWK_BYTES)..at];
        let after = &content[at..content.len().min(at + JWK_BYTES)];
        let begin = before.iter().rposition(|byte| *byte == b'{');
        let (Some(begin), Some(end)) = (begin, after.iter().position(|byte| *byte == b'}')) else { return false };
        let object = [&before[begin..], &after[..end]].concat();
        let object = String::from_utf8_lossy(&object);
        let is_secret = |field| {
            values(&object, field).any(|value| {
                let secret = Base::Base64Url.decode(value.trim_end_matches('='));
                secret.is_ok_and(|secret| secret.len() >= MIN_JWK_BYTES)
            })
        };
        values(&object, "kty").any(|kind| match kind {
            "RSA" | "EC" | "OKP" => is_secret("d"),
            "oct" => is_secret("k"),
            _ => false,
        })
    })
}
