//! Protocol Buffers, as much of them as Bitswap and identify messages and IPNS records need: fields are read in place and
//! written in order.

use bytes::{BufMut, BytesMut};

/// Length of the longest varint, in bytes.
pub(super) const MAX_VARINT_BYTES: usize = 10;

const WIRE_VARINT: u64 = 0;
const WIRE_FIXED_64: u64 = 1;
const WIRE_BYTES: u64 = 2;
const WIRE_FIXED_32: u64 = 5;

/// Why bytes are not a protobuf message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a field reaches beyond the end of its message")]
    Truncated,
    #[error("a varint has more than ten bytes or 64 bits")]
    Varint,
    #[error("unknown protobuf wire type {wire_type}")]
    WireType { wire_type: u64 },
}

/// Value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width value: no field that is read has one, so it only stands in fields that are skipped.
    Fixed,
}

/// Reads the fields of one protobuf message in the order in which they stand.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns the next field's number and value, `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            WIRE_VARINT => Value::Varint(self.varint()?),
            WIRE_BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            WIRE_FIXED_64 => self.take(8).map(|_| Value::Fixed)?,
            WIRE_FIXED_32 => self.take(4).map(|_| Value::Fixed)?,
            wire_type => return Err(WireError::WireType { wire_type }),
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let (value, rest) = read_varint(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Reads one varint as protobuf has it: up to ten bytes and 64 bits, not necessarily minimal. As strict as the reader of
/// dag-pb in the blockstore.
pub(super) fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), WireError> {
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
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Number of bytes of a field with `length` bytes of content and a number below 16.
pub(super) fn bytes_field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes a varint field; one that has the default value is left out, as proto3 does.
pub(super) fn put_varint_field(out: &mut BytesMut, field: u64, value: u64) {
    if value != 0 {
        put_varint(out, field << 3 | WIRE_VARINT);
        put_varint(out, value);
    }
}

/// Writes the key and the length of a field whose content of `length` bytes follows.
pub(super) fn put_bytes_key(out: &mut BytesMut, field: u64, length: usize) {
    put_varint(out, field << 3 | WIRE_BYTES);
    put_varint(out, length as u64);
}

pub(super) fn put_bytes_field(out: &mut BytesMut, field: u64, content: &[u8]) {
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
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(read_varint(&out).unwrap(), (value, &[][..]));
        }

        #[test]
        fn no_bytes_make_the_field_reader_panic_or_run_forever(bytes: Vec<u8>) {
            let mut fields = Fields::new(&bytes);
            let mut read = 0;
            while let Ok(Some(_)) = fields.next() {
                read += 1;
            }
            prop_assert!(read <= bytes.len());
        }
    }

    #[test]
    fn groups_and_truncated_fields_are_errors() {
        assert_eq!(Fields::new(&[0x0b]).next(), Err(WireError::WireType { wire_type: 3 }));
        assert_eq!(Fields::new(&[0x0a, 5, 1]).next(), Err(WireError::Truncated));
        assert_eq!(Fields::new(&[0x80]).next(), Err(WireError::Truncated));
        assert_eq!(Fields::new(&[0xff; 11]).next(), Err(WireError::Varint));
        let tenth = |byte| [&[0xff; 9][..], &[byte]].concat();
        assert_eq!(read_varint(&tenth(1)), Ok((u64::MAX, &[][..])));
        assert_eq!(read_varint(&tenth(2)), Err(WireError::Varint), "it has 65 bits");
    }
}
