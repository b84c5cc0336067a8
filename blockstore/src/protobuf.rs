//! Protocol Buffers, as much of them as dag-pb, UnixFS, Bitswap, identify and IPNS need: fields are read in place and
//! written in order.
//!
//! Specification: <https://protobuf.dev/programming-guides/encoding/>.

use bytes::BufMut;

/// Length of the longest varint, in bytes: 64 bits, 7 in each.
pub const MAX_VARINT_BYTES: usize = 10;

const WIRE_VARINT: u64 = 0;
const WIRE_FIXED_64: u64 = 1;
const WIRE_BYTES: u64 = 2;
const WIRE_FIXED_32: u64 = 5;

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message ends within a field.
    #[error("a field reaches beyond the end of its message")]
    Truncated,
    /// A varint is too long.
    #[error("a varint has more than ten bytes or 64 bits")]
    Varint,
    /// A wire type that is not read: groups, or none at all.
    #[error("unknown protobuf wire type {wire_type}")]
    WireType {
        /// The wire type, from 0 to 7.
        wire_type: u64,
    },
}

impl From<WireError> for &'static str {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Truncated => "a field reaches beyond the end of its message",
            WireError::Varint => "a varint has more than ten bytes or 64 bits",
            WireError::WireType { .. } => "a field has an unknown wire type",
        }
    }
}

/// Value of one field, by wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: a slice of the message.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// Reads the fields of one message in the order in which they stand: number and value of each. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads a message.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), WireError> {
        let key = self.varint()?;
        let value = match key & 7 {
            WIRE_VARINT => Value::Varint(self.varint()?),
            WIRE_BYTES => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Bytes(taken)
            }
            WIRE_FIXED_64 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            WIRE_FIXED_32 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            wire_type => return Err(WireError::WireType { wire_type }),
        };
        Ok((key >> 3, value))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let (value, rest) = read_varint(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Reads one varint of up to 64 bits, not necessarily in its shortest form, and returns it with the bytes after it.
///
/// # Errors
/// [`WireError::Truncated`] and [`WireError::Varint`].
pub fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == MAX_VARINT_BYTES - 1 && part > 1 {
            return Err(WireError::Varint);
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    Err(if bytes.len() < MAX_VARINT_BYTES { WireError::Truncated } else { WireError::Varint })
}

/// Number of bytes that `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Number of bytes of a field with `length` bytes of content and a number below 16.
pub fn bytes_field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Writes a varint in its shortest form.
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes a varint field.
pub fn put_varint_field(out: &mut impl BufMut, field: u64, value: u64) {
    put_varint(out, field << 3 | WIRE_VARINT);
    put_varint(out, value);
}

/// Writes a varint field unless it has the default value, as proto3 does.
pub fn put_nonzero_field(out: &mut impl BufMut, field: u64, value: u64) {
    if value != 0 {
        put_varint_field(out, field, value);
    }
}

/// Writes a field of 32 bits.
pub fn put_fixed32_field(out: &mut impl BufMut, field: u64, value: u32) {
    put_varint(out, field << 3 | WIRE_FIXED_32);
    out.put_u32_le(value);
}

/// Writes the key and the length of a field whose content of `length` bytes follows.
pub fn put_bytes_key(out: &mut impl BufMut, field: u64, length: usize) {
    put_varint(out, field << 3 | WIRE_BYTES);
    put_varint(out, length as u64);
}

/// Writes a field of bytes, a string or a message.
pub fn put_bytes_field(out: &mut impl BufMut, field: u64, content: &[u8]) {
    put_bytes_key(out, field, content.len());
    out.put_slice(content);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_reads_back_and_has_the_length_foretold(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(read_varint(&out).unwrap(), (value, &[][..]));
        }

        #[test]
        fn no_bytes_make_the_field_reader_panic_or_run_forever(bytes: Vec<u8>) {
            prop_assert!(Fields::new(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn every_kind_of_field_reads_back() {
        let mut out = Vec::new();
        put_varint_field(&mut out, 1, 0);
        put_nonzero_field(&mut out, 2, 0);
        put_nonzero_field(&mut out, 3, 300);
        put_fixed32_field(&mut out, 4, 7);
        put_bytes_field(&mut out, 5, b"x");
        out.extend([6 << 3 | 1, 1, 0, 0, 0, 0, 0, 0, 0]);
        let fields: Result<Vec<_>, _> = Fields::new(&out).collect();
        let expected = [
            (1, Value::Varint(0)),
            (3, Value::Varint(300)),
            (4, Value::Fixed32(7)),
            (5, Value::Bytes(b"x")),
            (6, Value::Fixed64(1)),
        ];
        assert_eq!(fields.unwrap(), expected);
    }

    #[test]
    fn groups_and_truncated_fields_are_errors_and_end_the_message() {
        let first = |bytes: &[u8]| {
            let mut fields = Fields::new(bytes);
            let first = fields.next().unwrap().map(|_| ());
            assert!(first.is_ok() || fields.next().is_none());
            first
        };
        assert_eq!(first(&[0x0b]), Err(WireError::WireType { wire_type: 3 }));
        assert_eq!(first(&[0x0a, 5, 1]), Err(WireError::Truncated));
        assert_eq!(first(&[0x0d, 5, 1]), Err(WireError::Truncated));
        assert_eq!(first(&[0x80]), Err(WireError::Truncated));
        assert_eq!(first(&[0xff; 11]), Err(WireError::Varint));
        let tenth = |byte| [&[0xff; 9][..], &[byte]].concat();
        assert_eq!(read_varint(&tenth(1)), Ok((u64::MAX, &[][..])));
        assert_eq!(read_varint(&tenth(2)), Err(WireError::Varint), "it has 65 bits");
    }
}
