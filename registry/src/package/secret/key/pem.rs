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
            let body = unescaped(&String::from_utf8_lossy(&body[..find(body, SSH2_END)?]));
            let body = Body::read(&body, "");
            return body.key.starts_with(SSH2_MAGIC).then_some("a private SSH key");
        }
        let (mark, label) = first_line(before)?;
        let body = rest.strip_prefix(DASHES).or_else(|| rest.strip_prefix(b" BLOCK-----"))?;
        // The next dashes end the block or begin another one. This bounds the search in text that has no end line.
        let (body, end) = body.split_at(find(body, DASHES)?);
        (end.starts_with(END) && is_key(body, mark, label)).then_some(match label {
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

/// Whether the text between the first and the last line of a block is the body of a key.
fn is_key(body: &[u8], mark: &str, label: &str) -> bool {
    let text = unescaped(&String::from_utf8_lossy(body)).replace("\r\n", "\n");
    let is_key = |body: Body| body.is_key(label);
    is_key(Body::read(&text, mark))
        || without_headers(&text).is_some_and(|text| is_key(Body { has_headers: true, ..Body::read(text, mark) }))
        || is_key(Body::of_commands(&text))
}

/// What follows the headers of a block (RFC 1421): lines `Name: value`, and those that go on with one, up to an empty line.
fn without_headers(text: &str) -> Option<&str> {
    let is_empty = |line: &str| !line.contains(|letter: char| letter.is_ascii_alphanumeric());
    let (mut has_headers, mut at) = (false, 0);
    for line in text.split_inclusive(['\n', '\r']) {
        at += line.len();
        match is_empty(line) {
            true if has_headers => return Some(&text[at..]),
            true => {}
            false if has_headers || line.contains(':') => has_headers = true,
            false => return None,
        }
    }
    None
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
    /// Reads a body each of whose lines may begin with `mark`. Line breaks may be spaces.
    fn read(text: &str, mark: &str) -> Self {
        let lines = lines(text);
        let (mut pieces, mut has_headers) = (Vec::new(), false);
        for line in &lines {
            if line.contains(':') && lines.len() > 1 {
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
                // The checksum of OpenPGP begins so.
                pieces.extend(of_word.filter(|piece| has_letters(piece)).filter(|piece| !piece.starts_with('=')));
            }
        }
        Self { has_headers, ..Self::of(&pieces) }
    }

    /// Reads a body that commands write line by line (`echo ... >> key`): words that stand in every line are no part of it.
    fn of_commands(text: &str) -> Self {
        let lines: Vec<Vec<&str>> = lines(text)
            .into_iter()
            .map(|line| line.split(is_between).filter(|word| has_letters(word)).collect())
            .collect();
        let [begin, middle @ .., end] = &lines[..] else { return Self::default() };
        // The block ends within the last of these lines, and begins within the first.
        let is_command = |word: &&str| begin.contains(word) || end.contains(word);
        let pieces: Vec<&str> = middle.iter().flatten().filter(|word| !is_command(word)).copied().collect();
        Self::of(&pieces)
    }

    fn of(pieces: &[&str]) -> Self {
        let is_even = match pieces {
            [first, middle @ .., last] => {
                middle.iter().all(|piece| piece.len() == first.len()) && last.len() <= first.len()
            }
            _ => true,
        };
        Self { key: base64(pieces.concat().as_bytes()).unwrap_or_default(), has_headers: false, is_even }
    }

    fn is_key(&self, label: &str) -> bool {
        let key = self.key.as_slice();
        match label {
            "OPENSSH " => key.starts_with(b"openssh-key-v1\0"),
            "PGP " => openpgp::is_secret(key),
            "ENCRYPTED " => matches!(sequence(key), Some([0x30, ..])),
            // Keys of DSA have no form of their own here: a version, and numbers.
            _ if is_der(key) || matches!(sequence(key), Some([0x02, 0x01, 0x00, ..])) => true,
            // An encrypted one looks like noise: words that stand for a key must not.
            _ => {
                self.has_headers
                    && key.len() >= MIN_ENCRYPTED_BYTES
                    && key.len().is_multiple_of(CIPHER_BLOCK_BYTES)
                    && self.is_even
            }
        }
    }
}

/// The lines of a text that are not empty.
fn lines(text: &str) -> Vec<&str> {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Marks of comments have none.
fn has_letters(piece: &str) -> bool {
    piece.contains(|letter: char| letter.is_ascii_alphanumeric())
}

/// The text with what a string of a program writes with a backslash, an address with `%` and XML with `&#`.
fn unescaped(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '%', '&']) {
        unescaped.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (letter, length) = match escaped(escape) {
            Some((letter, length)) => (Some(letter), length),
            // `\/` is a slash, and at the end of a line a backslash means that it goes on.
            None if escape.starts_with('\\') => (None, 1),
            None => (escape.chars().next(), 1),
        };
        unescaped.extend(letter);
        rest = &escape[length..];
    }
    unescaped.push_str(rest);
    unescaped
}

/// The letter that a text begins with in an escaped form, and the length of that.
fn escaped(text: &str) -> Option<(char, usize)> {
    let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match text.as_bytes() {
        [b'\\', b'n' | b't', ..] => Some(('\n', 2)),
        [b'\\', b'r', ..] => Some(('\r', 2)),
        [b'\\', b'u', ..] => Some((code(text.get(2..6)?, 16)?, 6)),
        [b'%', ..] => Some((code(text.get(1..3)?, 16)?, 3)),
        [b'&', b'#', ..] => {
            let digits = text[2..].split_once(';')?.0;
            let number = digits.strip_prefix(['x', 'X']);
            Some((number.map_or_else(|| code(digits, 10), |digits| code(digits, 16))?, digits.len() + 3))
        }
        _ => None,
    }
}
