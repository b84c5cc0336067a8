//! The few protobuf primitives that dag-pb and UnixFS need, over borrowed bytes.

use bytes::Bytes;

/// Longest varint, in bytes (64 bits, 7 per byte).
const MAX_VARINT_BYTES: usize = 10;

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its number.
    pub(crate) number: u64,
    /// Its value, by wire type.
    pub(crate) value: Value,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2: a slice of the message, not a copy.
    Bytes(Bytes),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 1.
    Fixed64(u64),
}

/// Reads a message field by field. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Fields {
    message: Bytes,
    at: usize,
}

impl Fields {
    pub(crate) fn new(message: Bytes) -> Self {
        Self { message, at: 0 }
    }

    fn field(&mut self) -> Result<Field, &'static str> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "a length is too large")?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err("a field has an unsupported wire type"),
        };
        Ok(Field { number: key >> 3, value })
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let (value, length) = read_varint(&self.message[self.at..])?;
        self.at += length;
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, &'static str> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.message.len()).ok_or("it ends in a field")?;
        let bytes = self.message.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let bytes = self.message[self.at..].first_chunk::<N>().ok_or("it ends in a field")?;
        self.at += N;
        Ok(*bytes)
    }
}

impl Iterator for Fields {
    type Item = Result<Field, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// Reads one varint from the front of `bytes`: the value and how many bytes it took.
pub(crate) fn read_varint(bytes: &[u8]) -> Result<(u64, usize), &'static str> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == MAX_VARINT_BYTES - 1 && part > 1 {
            return Err("a varint is longer than 64 bits");
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    Err("a varint does not end")
}

/// Appends a varint.
pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length of `value` as a varint, in bytes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a varint field with a field number below 16.
pub(crate) fn write_varint_field(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3);
    write_varint(out, value);
}

/// Appends a bytes field with a field number below 16.
pub(crate) fn write_bytes_field(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.push(number << 3 | 2);
    write_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Length of a bytes field of `length` bytes with a field number below 16.
pub(crate) fn bytes_field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_reads_as_it_was_written(value: u64) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            prop_assert_eq!(read_varint(&bytes), Ok((value, bytes.len())));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            for field in Fields::new(bytes.into()) {
                drop(field);
            }
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert!(read_varint(&[0x80; 11]).is_err());
        assert!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok((u64::MAX, 10)));
    }
}
