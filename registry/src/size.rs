//! Sizes in bytes, as users write them.

use std::fmt;

use serde::{Deserializer, de};

/// Units and their values, in lower case. A single letter is binary, as in docker, systemd and coreutils.
const UNITS: [(&str, u64); 17] = [
    ("", 1),
    ("b", 1),
    ("kb", 1000),
    ("mb", 1000_u64.pow(2)),
    ("gb", 1000_u64.pow(3)),
    ("tb", 1000_u64.pow(4)),
    ("pb", 1000_u64.pow(5)),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("p", 1 << 50),
];
/// Longest text of a size, in bytes.
const MAX_TEXT_BYTES: usize = 64;

/// Text that is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It is not a number and a unit.
    #[error("`{text}` is not a size: write bytes, or a number with a unit, such as `1GB` or `512MiB`")]
    Form {
        /// The text.
        text: String,
    },
    /// Unknown unit.
    #[error("`{unit}` is not a unit of size: use kB, MB, GB, TB (of 1000), or KiB, MiB, GiB, TiB (of 1024)")]
    Unit {
        /// The unit.
        unit: String,
    },
    /// The size exceeds 64 bits.
    #[error("`{text}` is more than {} bytes", u64::MAX)]
    TooLarge {
        /// The text.
        text: String,
    },
    /// The size is not a whole number of bytes.
    #[error("`{text}` is not a whole number of bytes")]
    Fraction {
        /// The text.
        text: String,
    },
}

/// Parses a size in bytes: `1000`, `1GB` (1000³), `512MiB` (512 × 1024²), `1.5 GiB`, `64k` (64 × 1024). Case is
/// ignored.
///
/// # Errors
/// The reason why the text is invalid.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let form = || SizeError::Form { text: text.chars().take(MAX_TEXT_BYTES).collect() };
    let trimmed = text.trim();
    if trimmed.len() > MAX_TEXT_BYTES {
        return Err(form());
    }
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..digits], trimmed[digits..].trim_start());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !is_number(whole) || whole.starts_with('_') || (number.contains('.') && !is_number(fraction)) {
        return Err(form());
    }
    let lower = unit.to_ascii_lowercase();
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == lower) else {
        return Err(if unit.starts_with(|c: char| c.is_ascii_alphabetic()) {
            SizeError::Unit { unit: unit.to_owned() }
        } else {
            form()
        });
    };
    let too_large = || SizeError::TooLarge { text: text.to_owned() };
    let whole: u64 = whole.replace('_', "").parse().map_err(|_| too_large())?;
    let bytes = whole.checked_mul(*scale).ok_or_else(too_large)?;
    let part =
        fraction_of(&fraction.replace('_', ""), *scale).ok_or_else(|| SizeError::Fraction { text: text.to_owned() })?;
    bytes.checked_add(part).ok_or_else(too_large)
}

/// The part of `scale` that the digits after the decimal point represent; `None` unless it is a whole number.
fn fraction_of(digits: &str, scale: u64) -> Option<u64> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let denominator = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let numerator = digits.parse::<u128>().ok()?.checked_mul(u128::from(scale))?;
    (numerator % denominator == 0).then(|| u64::try_from(numerator / denominator).ok()).flatten()
}

/// Deserializes a size in bytes from a number, or from text as [`parse_size`] does.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(SizeVisitor)
}

/// As [`deserialize`], for an optional size.
pub(crate) fn deserialize_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(OptionalVisitor)
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of bytes, or a size with a unit such as \"1GB\" or \"512MiB\"")
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text).map_err(E::custom)
    }
}

struct OptionalVisitor;

impl<'de> de::Visitor<'de> for OptionalVisitor {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        SizeVisitor.expecting(formatter)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserialize(deserializer).map(Some)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Self::Value, E> {
        SizeVisitor.visit_u64(bytes).map(Some)
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Self::Value, E> {
        SizeVisitor.visit_i64(bytes).map(Some)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        SizeVisitor.visit_str(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("10000000000", 10_000_000_000),
            ("10_000", 10_000),
            ("1GB", 1_000_000_000),
            ("1gb", 1_000_000_000),
            ("1 GB", 1_000_000_000),
            ("2kB", 2000),
            ("2KB", 2000),
            ("512MiB", 512 << 20),
            ("64GiB", 64 << 30),
            ("1.5GiB", 3 << 29),
            ("0.5kB", 500),
            ("2.50 MB", 2_500_000),
            ("100B", 100),
            ("64k", 64 << 10),
            ("1G", 1 << 30),
            ("1TB", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_apart() {
        for text in ["", " ", "GB", "-1", "+1", "1e9", "1,5GB", ".5GB", "5.", "1.2.3", "_1", "0x10", "1 G B", "\u{664}"]
        {
            let error = parse_size(text).unwrap_err();
            assert!(matches!(error, SizeError::Form { .. } | SizeError::Unit { .. }), "{text}: {error}");
        }
        for unit in ["1GiBs", "1Gb/s", "3 apples", "1EB"] {
            assert!(matches!(parse_size(unit), Err(SizeError::Unit { .. })), "{unit}");
        }
        for text in ["18446744073709551616", "20000PB", "99999999999999999999GB", "17179869184.5GiB"] {
            assert!(matches!(parse_size(text), Err(SizeError::TooLarge { .. })), "{text}");
        }
        for text in ["0.5", "1.5B", "0.3KiB", "1.0000001kB"] {
            assert!(matches!(parse_size(text), Err(SizeError::Fraction { .. })), "{text}");
        }
    }
}
