//! Gathers many small writes into a few long ones.
//!
//! yamux writes each frame as a head and a body, and flushes after it. This stream defers the first flush after a
//! write: it wakes the task again, which writes its other frames first. So all frames that are ready at one time are
//! written together, and none waits longer than one poll of its task. A long write is passed on directly.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

/// Size of the buffer in bytes (four TLS records). A full one is written without a flush, and a write of this size is
/// passed on.
const MOST_BYTES: usize = 64 << 10;
/// A flush of fewer bytes releases the buffer.
const LITTLE_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Gathered<S> {
    stream: S,
    waiting: Vec<u8>,
    written: usize,
    /// A flush was deferred, and nothing was written since.
    is_due: bool,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, waiting: Vec::new(), written: 0, is_due: false }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Writes the buffer and then `bytes`, without a copy. Returns how many of `bytes` were written.
    fn write_through(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while self.written < self.waiting.len() {
            let before = &self.waiting[self.written..];
            let both = [IoSlice::new(before), IoSlice::new(bytes)];
            let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &both))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(through) = count.checked_sub(before.len()) {
                self.waiting.clear();
                self.written = 0;
                if through > 0 {
                    return Poll::Ready(Ok(through));
                }
            } else {
                self.written += count;
            }
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, bytes)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() >= MOST_BYTES {
            return self.write_through(cx, bytes);
        }
        if self.waiting.len() >= MOST_BYTES {
            ready!(self.write_out(cx))?;
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve_exact(MOST_BYTES);
        }
        let count = bytes.len().min(MOST_BYTES - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..count]);
        self.is_due = false;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_due && !self.waiting.is_empty() && self.written == 0 {
            self.is_due = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_little = self.waiting.len() < LITTLE_BYTES;
        ready!(self.write_out(cx))?;
        if is_little {
            // An idle connection keeps no buffer.
            self.waiting = Vec::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Accepts at most `room` bytes, and records each write.
    #[derive(Debug, Default)]
    struct Sink {
        room: usize,
        writes: Vec<Vec<u8>>,
        flushed: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.poll_write(cx, &bytes.iter().flat_map(|bytes| bytes.iter().copied()).collect::<Vec<_>>())
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(stream: &mut Gathered<Sink>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
    }

    fn flush(stream: &mut Gathered<Sink>) -> bool {
        Pin::new(stream).poll_flush(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn frames_that_are_ready_together_leave_together() {
        let mut stream = Gathered::new(Sink { room: usize::MAX, ..Sink::default() });
        for part in [b"head" as &[u8], b"body"] {
            assert!(write(&mut stream, part).is_ready());
            assert!(!flush(&mut stream), "there may be more");
        }
        assert!(flush(&mut stream));
        assert_eq!((stream.stream.writes, stream.stream.flushed), (vec![b"headbody".to_vec()], 1));
    }

    #[test]
    fn what_is_flushed_leaves_however_little_the_stream_takes() {
        let mut stream = Gathered::new(Sink { room: 3, ..Sink::default() });
        assert!(write(&mut stream, b"abcdefgh").is_ready());
        assert!(!flush(&mut stream) && !flush(&mut stream));
        assert_eq!(stream.stream.writes.concat(), b"abc");
        stream.stream.room = 100;
        assert!(write(&mut stream, b"ij").is_ready());
        assert!(flush(&mut stream));
        assert_eq!(stream.stream.writes.concat(), b"abcdefghij");
    }

    #[test]
    fn what_is_long_is_passed_on_after_what_waits() {
        let mut stream = Gathered::new(Sink { room: usize::MAX, ..Sink::default() });
        let long = vec![7; 2 * MOST_BYTES];
        assert!(matches!(write(&mut stream, &long), Poll::Ready(Ok(count)) if count == long.len()));
        assert_eq!(stream.stream.writes, std::slice::from_ref(&long));
        assert!(write(&mut stream, b"head").is_ready());
        stream.stream.room = 2;
        assert!(write(&mut stream, &long).is_pending());
        stream.stream.room = 2 + 10;
        assert!(matches!(write(&mut stream, &long), Poll::Ready(Ok(10))));
        assert_eq!(stream.stream.writes[1..], [b"he".to_vec(), [b"ad" as &[u8], &long[..10]].concat()]);
        assert!(flush(&mut stream), "nothing waits");
    }

    #[test]
    fn memory_is_kept_only_where_more_is_expected() {
        let mut stream = Gathered::new(Sink { room: usize::MAX, ..Sink::default() });
        for (bytes, kept) in [(LITTLE_BYTES, true), (10, false)] {
            assert!(write(&mut stream, &vec![7; bytes]).is_ready());
            assert!(!flush(&mut stream) && flush(&mut stream));
            assert_eq!(stream.waiting.capacity() > 0, kept);
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stream = Gathered::new(Sink::default());
        let bytes = vec![7; MOST_BYTES];
        assert!(write(&mut stream, &bytes).is_pending(), "it is long, and the stream takes nothing");
        assert!(matches!(write(&mut stream, &bytes[1..]), Poll::Ready(Ok(count)) if count == MOST_BYTES - 1));
        assert!(write(&mut stream, &bytes).is_pending());
        assert!(matches!(write(&mut stream, &bytes[1..]), Poll::Ready(Ok(1))));
        assert!(write(&mut stream, &bytes[1..]).is_pending());
        stream.stream.room = usize::MAX;
        assert!(write(&mut stream, &bytes[1..]).is_ready());
        assert_eq!(stream.stream.writes, vec![vec![7; MOST_BYTES]]);
    }
}
