//! Private keys, by their content: in binary forms (`binary`), in PEM (`pem`), and in other text (`text`).

mod binary;
mod openpgp;
mod pem;
mod text;

use std::{borrow::Cow, sync::LazyLock};

use cid::multibase::Base;
use memchr::memmem::Finder;

/// Longest file that may be nothing but a key written in letters or digits, in bytes.
const MAX_WRITTEN_BYTES: usize = 64 << 10;
/// What every private key in PEM has in its first line, in UTF-16 of either order.
static WIDE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"P\0R\0I\0V\0A\0T\0E\0 \0K\0E\0Y"));

/// Says which private key a file holds.
pub(super) fn in_content(content: &[u8]) -> Option<&'static str> {
    let narrow = narrow(content);
    binary::of_key(content)
        .or_else(|| openpgp::of_key(content))
        .or_else(|| pem::in_text(&narrow))
        .or_else(|| text::in_text(&narrow))
        .or_else(|| written(&narrow))
}

/// Says which private key a part of a file holds, of those that are told wherever they stand.
pub(super) fn in_part(part: &[u8]) -> Option<&'static str> {
    pem::in_text(part).or_else(|| text::in_age(part))
}

/// The text without the zeros of UTF-16, if it is UTF-16. Keys are in ASCII.
fn narrow(content: &[u8]) -> Cow<'_, [u8]> {
    let is_wide = content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") || WIDE.find(content).is_some();
    match is_wide {
        true => Cow::Owned(content.iter().copied().filter(|byte| !matches!(byte, 0 | 0xfe | 0xff)).collect()),
        false => Cow::Borrowed(content),
    }
}

/// Finds a binary key that is all of a file, in base64 or hexadecimal digits.
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
