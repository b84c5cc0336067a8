//! Frames over a stream: an unsigned varint length, then that many bytes.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{AsyncRead, AsyncWrite};

use crate::node::exchange::bitswap::message::MAX_MESSAGE_BYTES;

/// Memory allocated for a frame before its bytes arrive; the rest is allocated once this much has arrived.
const FIRST_BUFFER_BYTES: usize = 256 << 10;
/// Longest length prefix of a frame, in bytes: 4 MiB need four.
const MAX_LENGTH_BYTES: u32 = 4;

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub(in crate::node::exchange) enum FrameError {
    #[error("cannot read from the stream")]
    Io(#[from] io::Error),
    #[error("a message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    #[error("the stream ended within a message")]
    Truncated,
}

/// Memory for the frames that are arriving on one connection, in bytes. A frame reserves its whole length before its
/// first byte is read, so every frame that has begun can be completed.
#[derive(Debug)]
pub(in crate::node::exchange) struct Budget(usize);

impl Budget {
    pub(in crate::node::exchange) fn new(bytes: usize) -> Self {
        Self(bytes)
    }
}

#[derive(Debug)]
enum State {
    /// Reading the length: its value so far, from this many bytes.
    Length {
        value: usize,
        bytes: u32,
    },
    /// Waiting for memory.
    Reserve {
        length: usize,
    },
    Body {
        length: usize,
        buffer: Vec<u8>,
        filled: usize,
    },
}

/// Reads frames one at a time, and never reads beyond the end of a frame.
#[derive(Debug)]
pub(in crate::node::exchange) struct FrameReader {
    state: State,
}

impl FrameReader {
    pub(in crate::node::exchange) fn new() -> Self {
        Self { state: State::Length { value: 0, bytes: 0 } }
    }

    /// Whether the reader is between two frames.
    pub(in crate::node::exchange) fn is_idle(&self) -> bool {
        matches!(self.state, State::Length { bytes: 0, .. })
    }

    /// Releases the memory of an unfinished frame.
    pub(in crate::node::exchange) fn release(self, budget: &mut Budget) {
        if let State::Body { length, .. } = self.state {
            budget.0 += length;
        }
    }

    /// Continues to read. Returns the next frame when it is complete, `None` at the end of the stream. Adds the bytes
    /// read to `progress`. If it is pending for lack of memory, no waker is registered: call it again when a frame has
    /// ended.
    pub(in crate::node::exchange) fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        budget: &mut Budget,
        progress: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, FrameError>> {
        loop {
            match &mut self.state {
                State::Length { value, bytes } => {
                    let mut byte = [0];
                    if ready!(Pin::new(&mut *stream).poll_read(cx, &mut byte))? == 0 {
                        return Poll::Ready(if *bytes == 0 { Ok(None) } else { Err(FrameError::Truncated) });
                    }
                    *progress += 1;
                    *value |= usize::from(byte[0] & 0x7f) << (7 * *bytes);
                    *bytes += 1;
                    if byte[0] & 0x80 == 0 {
                        self.state = State::Reserve { length: *value };
                    } else if *bytes == MAX_LENGTH_BYTES {
                        return Poll::Ready(Err(FrameError::TooLong));
                    }
                }
                State::Reserve { length } => {
                    let length = *length;
                    if length > MAX_MESSAGE_BYTES {
                        return Poll::Ready(Err(FrameError::TooLong));
                    }
                    let Some(left) = budget.0.checked_sub(length) else { return Poll::Pending };
                    budget.0 = left;
                    self.state = State::Body { length, buffer: vec![0; length.min(FIRST_BUFFER_BYTES)], filled: 0 };
                }
                State::Body { length, buffer, filled } if *filled == *length => {
                    budget.0 += *length;
                    let frame = Bytes::from(std::mem::take(buffer));
                    self.state = State::Length { value: 0, bytes: 0 };
                    return Poll::Ready(Ok(Some(frame)));
                }
                State::Body { length, buffer, filled } => {
                    if *filled == buffer.len() {
                        buffer.reserve_exact(*length - *filled);
                        buffer.resize(*length, 0);
                    }
                    let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer[*filled..]))?;
                    if read == 0 {
                        return Poll::Ready(Err(FrameError::Truncated));
                    }
                    *progress += read;
                    *filled += read;
                }
            }
        }
    }
}

/// Writes the chunks of frames in sequence.
#[derive(Debug, Default)]
pub(in crate::node::exchange) struct FrameWriter {
    chunks: VecDeque<Bytes>,
}

impl FrameWriter {
    pub(in crate::node::exchange) fn push(&mut self, chunks: Vec<Bytes>) {
        self.chunks.extend(chunks);
    }

    pub(in crate::node::exchange) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Writes until nothing is left. Adds the bytes written to `progress`.
    pub(in crate::node::exchange) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        progress: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(chunk) = self.chunks.front_mut() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, chunk))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress += written;
            chunk.advance(written);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, future::poll_fn, io::Cursor};
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: Vec<u8>) -> Result<Vec<Bytes>, FrameError> {
        let (mut reader, mut stream, mut frames) = (FrameReader::new(), Cursor::new(bytes), Vec::new());
        let mut budget = Budget::new(MAX_MESSAGE_BYTES);
        loop {
            let read = poll_fn(|cx| reader.poll_frame(&mut stream, &mut budget, &mut 0, cx));
            match block_on(read)? {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        assert_eq!(budget.0, MAX_MESSAGE_BYTES);
        Ok(frames)
    }

    #[test]
    fn frames_of_all_sizes_are_read_one_after_the_other() {
        let sizes = [0, 1, 127, 128, FIRST_BUFFER_BYTES, FIRST_BUFFER_BYTES + 1, MAX_MESSAGE_BYTES];
        let mut bytes = Vec::new();
        for size in sizes {
            let mut buffer = unsigned_varint::encode::usize_buffer();
            bytes.extend_from_slice(unsigned_varint::encode::usize(size, &mut buffer));
            bytes.resize(bytes.len() + size, size as u8);
        }
        let frames = read_all(bytes).unwrap();
        assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), sizes);
        assert!(frames.iter().all(|frame| frame.iter().all(|byte| *byte == frame.len() as u8)));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_its_bytes_arrive() {
        assert!(matches!(read_all(vec![0x81, 0x80, 0x80, 0x02]), Err(FrameError::TooLong)));
        assert!(matches!(read_all(vec![0xff; 10]), Err(FrameError::TooLong)));
    }

    #[test]
    fn an_end_within_a_frame_is_an_error() {
        assert!(matches!(read_all(vec![5, 1, 2]), Err(FrameError::Truncated)));
        assert!(matches!(read_all(vec![0x80]), Err(FrameError::Truncated)));
    }

    #[test]
    fn a_frame_waits_until_there_is_memory_for_it() {
        let (mut reader, mut stream) = (FrameReader::new(), Cursor::new(vec![3, 1, 2, 3]));
        let mut budget = Budget::new(2);
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        assert!(reader.poll_frame(&mut stream, &mut budget, &mut 0, &mut cx).is_pending());
        budget.0 = 3;
        let read = reader.poll_frame(&mut stream, &mut budget, &mut 0, &mut cx);
        assert!(matches!(read, Poll::Ready(Ok(Some(frame))) if frame == [1, 2, 3][..]));
    }

    proptest! {
        #[test]
        fn no_stream_makes_the_reader_panic(bytes: Vec<u8>) {
            drop(read_all(bytes));
        }
    }
}
