//! Private keys, by their content: in binary forms (`binary`), in PEM (`pem`), those of libp2p (`libp2p`), and in other text
//! (`text`).

mod binary;
mod libp2p;
mod openpgp;
mod pem;
mod text;
mod vim;

use std::{borrow::Cow, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};
use cid::multibase::Base;

/// Longest file that is examined as a single key in base64 or hexadecimal digits, in bytes.
const MAX_WRITTEN_BYTES: usize = 64 << 10;
/// A part of the first line of every private key in PEM, in UTF-16 of either byte order.
const WIDE: &[u8] = b"P\0R\0I\0V\0A\0T\0E\0 \0K\0E\0Y";
/// Every text that contains a key contains one of these marks, unless the key is the whole text. Most files contain
/// none, so one scan replaces a scan for each mark.
static MARKS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let marks = [WIDE, pem::PRIVATE_KEY, pem::ENCODED, text::AGE, text::JWK, text::WIREGUARD];
    let marks = marks.into_iter().chain(libp2p::MARKS);
    // Only for this kind of match the crate compares 32 bytes at a time.
    let builder = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(marks);
    builder.expect("the patterns are few and short")
});

/// Returns which private key a file contains.
pub(super) fn in_content(content: &[u8]) -> Option<&'static str> {
    let has_mark = MARKS.find(content).is_some();
    let narrow = narrow(content, has_mark);
    let has_mark = has_mark || narrow.len() < content.len();
    binary::of_key(content)
        .or_else(|| openpgp::of_key(content))
        .or_else(|| has_mark.then(|| pem::in_text(&narrow)).flatten())
        .or_else(|| has_mark.then(|| libp2p::in_text(&narrow)).flatten())
        .or_else(|| text::in_text(&narrow, has_mark))
        .or_else(|| written(&narrow))
}

/// Returns which private key a part of a file contains, among those that are recognisable anywhere in a file.
pub(super) fn in_part(part: &[u8]) -> Option<&'static str> {
    MARKS.find(part)?;
    let part = narrow(part, true);
    pem::in_text(&part).or_else(|| libp2p::in_text(&part)).or_else(|| text::in_age(&part))
}

/// The text without the zeros of UTF-16, if it is UTF-16, and the lines that a swap file of vim holds. Keys are in ASCII.
fn narrow(content: &[u8], has_mark: bool) -> Cow<'_, [u8]> {
    if has_mark && let Some(lines) = vim::lines(content) {
        return Cow::Owned(lines);
    }
    let has_wide = || has_mark && find(content, WIDE).is_some();
    match content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") || has_wide() {
        true => Cow::Owned(content.iter().copied().filter(|byte| !matches!(byte, 0 | 0xfe | 0xff)).collect()),
        false => Cow::Borrowed(content),
    }
}

/// Finds a binary key in base64 or hexadecimal digits that is the whole file.
fn written(content: &[u8]) -> Option<&'static str> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=".contains(byte);
    if content.len() > MAX_WRITTEN_BYTES || !content.iter().all(is_digit) {
        return None;
    }
    let digits: Vec<u8> = content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let hexadecimal = || Base::Base16Lower.decode(std::str::from_utf8(&digits).ok()?.to_ascii_lowercase()).ok();
    let forms = [base64(&digits), hexadecimal()];
    forms.iter().flatten().find_map(|key| binary::of_key(key).or_else(|| openpgp::of_key(key)))
}

fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, words)
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('=');
    (!text.is_empty()).then(|| Base::Base64.decode(text).ok()).flatten()
}
