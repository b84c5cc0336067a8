//! Frames: lines of bounded length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// It does not end within the bound.
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// The other side went away in its middle.
    #[error("the connection ended in the middle of a message")]
    Truncated,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
}

/// Cuts a byte stream into lines. Holds at most one line and what came with its end.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that hold no line end.
    scanned: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads lines of at most `limit` bytes, their ends not counted.
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self { source, buffer: Vec::new(), scanned: 0, limit }
    }

    /// Returns the next line without its end; nothing when the stream has ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|&byte| byte == b'\n') {
                let end = self.scanned + end;
                if end > self.limit {
                    return Err(FrameError::TooLong { limit: self.limit });
                }
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.limit {
                return Err(FrameError::TooLong { limit: self.limit });
            }
            self.buffer.reserve(READ_BYTES);
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }
}

/// Writes one line. `frame` must not contain a line end, which JSON never does.
pub(crate) async fn write_frame(sink: &mut (impl AsyncWrite + Unpin), mut frame: Vec<u8>) -> io::Result<()> {
    frame.push(b'\n');
    sink.write_all(&frame).await?;
    sink.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8], limit: usize) -> (Vec<Vec<u8>>, Option<FrameError>) {
        let mut reader = FrameReader::new(bytes, limit);
        let mut lines = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return (lines, None),
                Err(error) => return (lines, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_the_end_is_seen() {
        let (lines, error) = read_all(b"a\n\nbcd\n", 3).await;
        assert_eq!(lines, [b"a".to_vec(), b"".to_vec(), b"bcd".to_vec()]);
        assert!(error.is_none());
    }

    #[tokio::test]
    async fn line_over_the_limit_is_refused_whether_or_not_it_ends() {
        for bytes in [b"ok\nabcd\n".as_slice(), b"ok\nabcd".as_slice()] {
            let (lines, error) = read_all(bytes, 3).await;
            assert_eq!(lines, [b"ok".to_vec()]);
            assert!(matches!(error, Some(FrameError::TooLong { limit: 3 })), "{error:?}");
        }
    }

    #[tokio::test]
    async fn end_within_a_line_is_told_apart() {
        let (_, error) = read_all(b"a\nbc", 10).await;
        assert!(matches!(error, Some(FrameError::Truncated)));
    }

    #[tokio::test]
    async fn memory_stays_near_the_limit_against_an_endless_line() {
        let mut reader = FrameReader::new(tokio::io::repeat(b'x'), 100_000);
        assert!(matches!(reader.next().await, Err(FrameError::TooLong { .. })));
        assert!(reader.buffer.len() <= 100_000 + 8 * READ_BYTES, "{}", reader.buffer.len());
    }
}
