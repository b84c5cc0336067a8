//! Private keys in PEM, wherever they appear: as a file of their own, in a configuration or a program, or in base64.

use memchr::memmem;

use super::{
    base64,
    binary::{is_der, sequence},
    find, openpgp,
};

/// A part of the first line of every private key in PEM.
pub(super) const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";
/// The prefix of every PEM block, in base64.
pub(super) const ENCODED: &[u8] = b"LS0tLS1CRUdJTi";
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
/// The ssh.com format: its first line before and after the words `PRIVATE KEY`, and its end.
const SSH2_BEGIN: &[u8] = b"---- BEGIN SSH2 ENCRYPTED ";
const SSH2_REST: &[u8] = b" ----";
const SSH2_END: &[u8] = b"---- END";
const SSH2_MAGIC: &[u8] = b"\x3f\x6f\xf9\xeb";
/// Longest body in that format, in bytes.
const MAX_SSH2_BYTES: usize = 16 << 10;
/// Longest label of a PEM block before `PRIVATE KEY`, in bytes.
const MAX_LABEL_BYTES: usize = 24;
/// Longest prefix of each line, in bytes: a comment mark, or the mark of a line that a diff adds.
const MAX_MARK_BYTES: usize = 8;
/// Shortest body of a key that is encrypted as a whole, in bytes, and the block size of the ciphers used for that.
const MIN_ENCRYPTED_BYTES: usize = 48;
const CIPHER_BLOCK_BYTES: usize = 8;
/// Longest PEM that is decoded from base64, in bytes of base64.
const MAX_ENCODED_BYTES: usize = 32 << 10;

/// Finds a PEM block of a private key whose body decodes to a key.
pub(super) fn in_text(content: &[u8]) -> Option<&'static str> {
    in_clear(content).or_else(|| in_base64(content))
}

fn in_clear(content: &[u8]) -> Option<&'static str> {
    memmem::find_iter(content, PRIVATE_KEY).find_map(|at| {
        let before = &content[at.saturating_sub(MAX_MARK_BYTES + 1 + BEGIN.len() + MAX_LABEL_BYTES)..at];
        let rest = &content[at + PRIVATE_KEY.len()..];
        if let Some(body) = rest.strip_prefix(SSH2_REST).filter(|_| before.ends_with(SSH2_BEGIN)) {
            let body = &body[..body.len().min(MAX_SSH2_BYTES)];
            let body = Body::read(&body[..find(body, SSH2_END)?], "");
            return body.key.starts_with(SSH2_MAGIC).then_some("a private SSH key");
        }
        let (mark, label) = first_line(before)?;
        let body = rest.strip_prefix(DASHES).or_else(|| rest.strip_prefix(b" BLOCK-----"))?;
        // The next dashes end the block or begin another one. This bounds the search in text that has no end line.
        let (body, end) = body.split_at(find(body, DASHES)?);
        (end.starts_with(END) && Body::read(body, mark).is_key(label)).then_some(match label {
            "OPENSSH " => "a private SSH key",
            "PGP " => "a private OpenPGP key",
            _ => "a private key (PEM)",
        })
    })
}

/// Finds PEM that is itself encoded in base64, as Kubernetes and CI systems store it.
fn in_base64(content: &[u8]) -> Option<&'static str> {
    let (finder, mut rest) = (memmem::Finder::new(ENCODED), content);
    while let Some(at) = finder.find(rest) {
        let text = &rest[at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/".contains(byte);
        let length = text.iter().take(MAX_ENCODED_BYTES).take_while(|byte| is_part(byte)).count();
        let mut letters: Vec<u8> = text[..length].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        // Text that follows can look like a part of the base64.
        letters.truncate(letters.len() - usize::from(letters.len() % 4 == 1));
        if let Some(found) = base64(&letters).and_then(|pem| in_clear(&pem)) {
            return Some(found);
        }
        rest = &text[length..];
    }
    None
}

/// Parses the text before `PRIVATE KEY`: the line's prefix, if it is a known one, and the label of the block, with a
/// trailing space unless it is empty.
fn first_line(before: &[u8]) -> Option<(&str, &str)> {
    let begin = before.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
    let label = std::str::from_utf8(&before[begin + BEGIN.len()..]).ok()?;
    let is_label = label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    let line = &before[..begin];
    let mark = line.iter().rposition(|byte| is_between(char::from(*byte))).map_or(line, |at| &line[at + 1..]);
    let is_mark = mark.len() <= MAX_MARK_BYTES && mark.iter().all(u8::is_ascii_punctuation);
    let mark = std::str::from_utf8(mark).ok().filter(|_| is_mark).unwrap_or_default();
    is_label.then_some((mark, label))
}

/// Returns whether a letter separates the parts of a body: white space, and the punctuation that programs put around a
/// line.
fn is_between(letter: char) -> bool {
    letter.is_whitespace() || "\"'`,;()".contains(letter)
}

/// The body of a block.
#[derive(Debug, Default)]
struct Body {
    /// Its base64, decoded; empty if it is invalid.
    key: Vec<u8>,
    /// Whether it has headers, such as those of an encrypted key.
    has_headers: bool,
    /// Whether all lines except the last have the same length.
    is_even: bool,
}

impl Body {
    /// Parses a body each of whose lines may begin with `mark`. Line breaks may be written as `\n` or as spaces.
    fn read(body: &[u8], mark: &str) -> Self {
        let text = unescaped(&String::from_utf8_lossy(body));
        let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
        let (mut pieces, mut has_headers) = (Vec::new(), false);
        for line in &lines {
            if line.contains(": ") && lines.len() > 1 {
                has_headers = true;
                continue;
            }
            let mut is_header = false;
            for word in line.split_whitespace() {
                if std::mem::take(&mut is_header) || word.ends_with(':') {
                    is_header = word.ends_with(':');
                    has_headers = true;
                    continue;
                }
                let of_word = word.split(is_between).map(|piece| piece.strip_prefix(mark).unwrap_or(piece));
                // Line prefixes have no letters or digits; the checksum of OpenPGP begins with `=`.
                let is_part = |piece: &&str| piece.contains(|letter: char| letter.is_ascii_alphanumeric());
                pieces.extend(of_word.filter(is_part).filter(|piece| !piece.starts_with('=')));
            }
        }
        let is_even = match &pieces[..] {
            [first, middle @ .., last] => {
                middle.iter().all(|piece| piece.len() == first.len()) && last.len() <= first.len()
            }
            _ => true,
        };
        Self { key: base64(pieces.concat().as_bytes()).unwrap_or_default(), has_headers, is_even }
    }

    fn is_key(&self, label: &str) -> bool {
        let key = self.key.as_slice();
        match label {
            "OPENSSH " => key.starts_with(b"openssh-key-v1\0"),
            "PGP " => openpgp::is_secret(key),
            "ENCRYPTED " => matches!(sequence(key), Some([0x30, ..])),
            // Encrypted data has no structure to check, so its length and line form distinguish it from a placeholder.
            _ if self.has_headers => {
                key.len() >= MIN_ENCRYPTED_BYTES && key.len().is_multiple_of(CIPHER_BLOCK_BYTES) && self.is_even
            }
            // DSA keys are not parsed further: a version followed by numbers.
            _ => is_der(key) || matches!(sequence(key), Some([0x02, 0x01, 0x00, ..])),
        }
    }
}

/// Resolves the backslash escapes of a program's string.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut unescaped = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            unescaped.push(letter);
            continue;
        }
        let rest = letters.as_str();
        let code = rest.strip_prefix('u').and_then(|code| code.get(..4));
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        match (rest.chars().next(), code) {
            (Some('n' | 'r' | 't'), _) => {
                letters.next();
                unescaped.push('\n');
            }
            (_, Some(code)) => {
                letters.nth(4);
                unescaped.push(code);
            }
            // `\/` is a slash, and a backslash at the end of a line continues it.
            _ => {}
        }
    }
    unescaped
}
