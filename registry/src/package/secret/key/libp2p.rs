//! Private keys of libp2p, IPFS and ggen that stand in a text, in base64 or hexadecimal digits: in the configuration of a node
//! (`"PrivKey"` of Kubo, `"privKey"` of js-libp2p), in a script, behind a comment.

use cid::multibase::Base;
use memchr::memmem;

use super::{base64, binary::is_libp2p};

/// What such a key begins with: of ed25519, RSA and secp256k1 in base64, of ed25519 in hexadecimal digits without the first
/// one. Public keys have other lengths, which follow.
pub(super) const MARKS: [&[u8]; 4] = [b"CAESQ", b"CAAS", b"CAISI", b"8011240"];
/// The digit before the last of these marks.
const FIRST_DIGIT: u8 = b'0';
/// What the length of a key in bytes stands in, and what comes before it, in letters of base64.
const HEAD_LETTERS: usize = 8;
const HEAD_BYTES: usize = 3;
/// Longest key, in bytes: of RSA with 16,384 bits.
const MAX_KEY_BYTES: usize = 10 << 10;
/// Length of an ed25519 key in hexadecimal digits.
const DIGITS: usize = 136;

/// Finds such a key. It may be broken into lines.
pub(super) fn in_text(content: &[u8]) -> Option<&'static str> {
    let is_key = |at: usize| match content[at] {
        b'C' => in_base64(&content[at..]),
        _ => at > 0 && content[at - 1] == FIRST_DIGIT && in_digits(&content[at - 1..]),
    };
    let has_key = |mark| memmem::find_iter(content, mark).any(is_key);
    MARKS.into_iter().any(has_key).then_some("a private key of a node or publisher")
}

/// Whether a key in base64 begins here: its length says where it has to end.
fn in_base64(text: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let Some(head) = text.get(..HEAD_LETTERS).and_then(base64) else { return false };
    let Ok((key_bytes, rest)) = unsigned_varint::decode::usize(&head[HEAD_BYTES..]) else { return false };
    if key_bytes > MAX_KEY_BYTES {
        return false;
    }
    let length = ((head.len() - rest.len() + key_bytes) * 8).div_ceil(6);
    let (key, rest) = take(text, length, is_letter);
    let ends = key.len() == length && rest.first().is_none_or(|byte| !is_letter(byte));
    ends && base64(&key).is_some_and(|key| is_libp2p(&key))
}

fn in_digits(text: &[u8]) -> bool {
    let (digits, _) = take(text, DIGITS, u8::is_ascii_hexdigit);
    let digits = String::from_utf8(digits.to_ascii_lowercase()).unwrap_or_default();
    Base::Base16Lower.decode(digits).is_ok_and(|key| is_libp2p(&key))
}

/// The first letters of a text, as many as are there up to a number, without white space among them; and what follows.
fn take(text: &[u8], length: usize, is_letter: impl Fn(&u8) -> bool) -> (Vec<u8>, &[u8]) {
    let mut taken = Vec::with_capacity(length);
    let is_part = |byte: &&u8| is_letter(byte) || byte.is_ascii_whitespace();
    let mut bytes = text.iter().take_while(is_part);
    let mut seen = 0;
    while taken.len() < length
        && let Some(byte) = bytes.next()
    {
        seen += 1;
        taken.extend((!byte.is_ascii_whitespace()).then_some(*byte));
    }
    (taken, &text[seen..])
}
