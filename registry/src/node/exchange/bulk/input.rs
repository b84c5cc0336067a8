//! Bounded reads from a stream.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _};

/// Reads a varint of up to 32 bits.
pub(super) async fn read_varint<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<usize> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let mut byte = [0];
        reader.read_exact(&mut byte).await?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return u32::try_from(value).map(|value| value as usize).map_err(|_| invalid("a length is too large"));
        }
        shift += 7;
        if shift > 28 {
            return Err(invalid("a length is no varint of 32 bits"));
        }
    }
}

/// Reads a length and that many bytes. Fails if the length exceeds `limit`.
pub(super) async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, limit: usize) -> io::Result<Vec<u8>> {
    let length = read_varint(reader).await?;
    if length > limit {
        return Err(invalid("a message is too long"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
