//! Private keys of OpenPGP (RFC 9580): packets, and the files of GnuPG.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Packet types of a secret key, and of a secret subkey.
const SECRET_KEYS: [u8; 2] = [5, 7];
/// Algorithms of public keys.
const ALGORITHMS: [u8; 13] = [1, 2, 3, 16, 17, 18, 19, 20, 22, 25, 26, 27, 28];
/// Prefixes of files in `private-keys-v1.d`, in their older and newer form.
const AGENT: [&[u8]; 2] = [b"(11:private-key", b"(21:protected-private-key"];
const AGENT_LINES: [&[u8]; 2] = [b"Key: (private-key", b"Key: (protected-private-key"];
/// Common part of both lines.
static AGENT_WORDS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("private-key"));
/// Number of leading bytes of a file that contain that line.
const AGENT_HEAD_BYTES: usize = 1 << 10;

/// Returns which private key a file contains.
pub(super) fn of_key(content: &[u8]) -> Option<&'static str> {
    let of_agent = || {
        let head = &content[..content.len().min(AGENT_HEAD_BYTES)];
        let mut lines = head.split(|byte| *byte == b'\n');
        AGENT.iter().any(|begin| content.starts_with(begin))
            || begins_with_field(head)
                && AGENT_WORDS.find(head).is_some()
                && lines.any(|line| AGENT_LINES.iter().any(|begin| line.starts_with(begin)))
    };
    (is_secret(content) || of_agent()).then_some("a private OpenPGP key")
}

/// Returns whether a text begins with a field name and a colon (`Created: ...`), as the files of GnuPG's agent do, or
/// with a comment or an empty line.
fn begins_with_field(head: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let name = head.iter().take_while(|byte| is_name(byte)).count();
    head.get(name) == Some(&b':') || matches!(head.first(), Some(b'#' | b'\n' | b'\r' | b' ' | b'\t'))
}

/// Returns whether the first packet is a secret key.
pub(super) fn is_secret(content: &[u8]) -> bool {
    let Some((tag, body, rest)) = packet(content) else { return false };
    let algorithm = match body.first() {
        Some(2 | 3) => body.get(7),
        Some(4..=6) => body.get(5),
        _ => None,
    };
    let is_packet = rest.first().is_none_or(|next| next & 0x80 != 0);
    SECRET_KEYS.contains(&tag) && is_packet && algorithm.is_some_and(|algorithm| ALGORITHMS.contains(algorithm))
}

/// The first packet: its type, its body, and what follows it.
fn packet(content: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&first, rest) = content.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let be = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (tag, length_bytes) = match first & 0x40 {
        0 => ((first >> 2) & 0x0f, [1, 2, 4].get(usize::from(first & 0x03)).copied()?),
        _ => {
            let bytes = match rest.first()? {
                0..=191 => 1,
                192..=223 => 2,
                255 => 5,
                // A partial length, which keys never have.
                224..=254 => return None,
            };
            (first & 0x3f, bytes)
        }
    };
    let (length, rest) = rest.split_at_checked(length_bytes)?;
    let length = match (first & 0x40, length_bytes) {
        (0, _) | (_, 1) => be(length),
        (_, 2) => be(length) - (192 << 8) + 192,
        _ => be(&length[1..]),
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((tag, body, rest))
}
