//! Blocks of a tar archive, and the numbers in them.

use crate::{Error, Result};

/// Bytes of a header, to which content is padded.
pub(super) const BLOCK_BYTES: usize = 512;

/// A number: octal digits after spaces and before a space or NUL, or big-endian after a first byte of 0x80.
pub(super) fn number(field: &[u8]) -> Result<u64> {
    let malformed = || Error::archive("it is no tar archive, or damaged: a header has a malformed number");
    // Writers of old overwrote the first byte with the end of the field before it.
    let field = field.strip_prefix(&[0]).unwrap_or(field);
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let fits = high.iter().all(|byte| *byte == 0);
        return if fits {
            Ok(low.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
        } else {
            Err(malformed())
        };
    }
    let text = std::str::from_utf8(field).map_err(|_| malformed())?;
    match text.trim_start_matches(' ').split([' ', '\0']).next() {
        None | Some("") => Ok(0),
        Some(digits) => u64::from_str_radix(digits, 8).map_err(|_| malformed()),
    }
}
