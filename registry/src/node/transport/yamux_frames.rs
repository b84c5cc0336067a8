//! Yamux for peers that send frames of more than 1 MiB.
//!
//! The yamux specification bounds a frame only by the receiver's window. rust-yamux lets the window of a busy stream
//! grow beyond 1 MiB, depending on bandwidth and delay of the connection, but refuses every frame of more than 1 MiB:
//! the connection fails with `FrameTooLarge`. The yamux of JavaScript (Helia) fills a window with one frame. So
//! [`Split`] sits between the connection and rust-yamux and divides a frame that is too long into several. The windows,
//! and with them the memory that a peer may use, are unchanged: a piece that exceeds the window ends the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    core::{
        UpgradeInfo,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    yamux,
};

/// Longest body that rust-yamux accepts, in bytes.
const MAX_BODY_BYTES: u32 = 1 << 20;
/// Version, type, flags (2 bytes), stream (4 bytes), length (4 bytes); big endian.
const HEADER_BYTES: usize = 12;
/// Type of data frames. Only they have a body: in other frames the length field is a value.
const DATA: u8 = 0;
/// Flag of the last frame of a stream.
const FIN: u16 = 4;

/// The multiplexer of a connection.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Multiplexer(yamux::Config);

impl UpgradeInfo for Multiplexer {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Multiplexer {
    type Output = yamux::Muxer<Split<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<Split<C>>>::Future;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(Split::new(connection), info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Multiplexer {
    type Output = yamux::Muxer<Split<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<Split<C>>>::Future;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(Split::new(connection), info)
    }
}

/// Wraps a connection and divides inbound frames whose body is too long.
#[derive(Debug)]
pub(in crate::node) struct Split<C> {
    connection: C,
    header: [u8; HEADER_BYTES],
    next: Next,
    /// Bytes of the same frame that remain after the current piece.
    rest: u32,
}

/// The state of the reader.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Reading a header; this many of its bytes have arrived.
    Header { come: usize },
    /// Passing on a header of `len` bytes, `given` of which were passed on. A shorter `len` means that the connection
    /// has ended.
    Pass { len: usize, given: usize },
    /// Passing on a body, of which this many bytes remain.
    Body { left: u32 },
}

impl<C> Split<C> {
    fn new(connection: C) -> Self {
        Self { connection, header: [0; HEADER_BYTES], next: Next::Header { come: 0 }, rest: 0 }
    }

    fn flags(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    fn set_flags(&mut self, flags: u16) {
        self.header[2..4].copy_from_slice(&flags.to_be_bytes());
    }

    fn len(&self) -> u32 {
        let [.., a, b, c, d] = self.header;
        u32::from_be_bytes([a, b, c, d])
    }

    fn set_len(&mut self, len: u32) {
        self.header[8..].copy_from_slice(&len.to_be_bytes());
    }

    /// Handles a complete header: the header of a frame that is too long becomes that of its first piece. Only the last
    /// piece ends the stream.
    fn on_header(&mut self) {
        if self.header[1] == DATA && self.len() > MAX_BODY_BYTES {
            self.rest = self.len() - MAX_BODY_BYTES;
            self.set_len(MAX_BODY_BYTES);
        }
        self.next = Next::Pass { len: HEADER_BYTES, given: 0 };
    }

    /// Copies the header into `buffer`, as far as there is room. Clears the FIN flag, except in the last piece.
    fn pass_header(&mut self, len: usize, given: usize, buffer: &mut [u8]) -> usize {
        let flags = self.flags();
        if self.rest > 0 {
            self.set_flags(flags & !FIN);
        }
        let count = buffer.len().min(len - given);
        buffer[..count].copy_from_slice(&self.header[given..given + count]);
        self.set_flags(flags);
        self.next = match given + count {
            given if given < len || len < HEADER_BYTES => Next::Pass { len, given },
            _ if self.header[1] == DATA => Next::Body { left: self.len() },
            _ => Next::Header { come: 0 },
        };
        count
    }

    /// Handles the end of a body: starts the next piece of the same frame, without the SYN flag, or another frame.
    fn on_body(&mut self) {
        if self.rest == 0 {
            self.next = Next::Header { come: 0 };
            return;
        }
        let len = self.rest.min(MAX_BODY_BYTES);
        self.rest -= len;
        self.set_len(len);
        self.set_flags(self.flags() & FIN);
        self.next = Next::Pass { len: HEADER_BYTES, given: 0 };
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Split<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            match this.next {
                Next::Header { come: HEADER_BYTES } => this.on_header(),
                Next::Header { come } => {
                    match ready!(Pin::new(&mut this.connection).poll_read(cx, &mut this.header[come..]))? {
                        // The end of the connection, maybe within a header: rust-yamux gets the bytes that have
                        // arrived.
                        0 => this.next = Next::Pass { len: come, given: 0 },
                        count => this.next = Next::Header { come: come + count },
                    }
                }
                Next::Pass { len, given } => return Poll::Ready(Ok(this.pass_header(len, given, buffer))),
                Next::Body { left: 0 } => this.on_body(),
                Next::Body { left } => {
                    let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let count = ready!(Pin::new(&mut this.connection).poll_read(cx, &mut buffer[..most]))?;
                    // At most `left` bytes were requested.
                    this.next = Next::Body { left: left - u32::try_from(count).unwrap_or(left) };
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Split<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt as _, executor::block_on, io::Cursor};

    use super::*;

    const SYN: u16 = 1;
    const WINDOW_UPDATE: u8 = 1;

    fn header(kind: u8, flags: u16, len: u32) -> Vec<u8> {
        [&[0, kind], &flags.to_be_bytes()[..], &7_u32.to_be_bytes(), &len.to_be_bytes()].concat()
    }

    fn frame(flags: u16, body: &[u8]) -> Vec<u8> {
        [header(DATA, flags, body.len() as u32), body.to_vec()].concat()
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index % 251) as u8).collect()
    }

    /// Reads to the end, at most `most` bytes at once.
    fn read(sent: Vec<u8>, most: usize) -> Vec<u8> {
        let mut split = Split::new(Cursor::new(sent));
        let (mut read, mut buffer) = (Vec::new(), vec![0; most]);
        loop {
            match block_on(split.read(&mut buffer)).unwrap() {
                0 => return read,
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn a_frame_that_is_too_long_becomes_several_and_the_last_one_ends_the_stream() {
        let most = MAX_BODY_BYTES as usize;
        let body = bytes(2 * most + 5);
        let sent = [frame(SYN, b"before"), frame(SYN | FIN, &body), frame(0, b"after")].concat();
        let expected = [
            frame(SYN, b"before"),
            frame(SYN, &body[..most]),
            frame(0, &body[most..2 * most]),
            frame(FIN, &body[2 * most..]),
            frame(0, b"after"),
        ]
        .concat();
        for at_once in [1, 11, 12, 13, 4096, 3 * most] {
            assert!(read(sent.clone(), at_once) == expected, "{at_once} bytes at once");
        }
    }

    #[test]
    fn what_is_not_too_long_passes_as_it_is() {
        let longest = frame(FIN, &bytes(MAX_BODY_BYTES as usize));
        // The length of a window update is a value; no body follows.
        let update = header(WINDOW_UPDATE, SYN, 16 << 20);
        let sent = [frame(0, b""), longest, update, frame(0, b"after")].concat();
        assert!(read(sent.clone(), 5000) == sent);
    }

    #[test]
    fn a_connection_that_ends_within_a_header_shows_what_came_of_it() {
        let cut = [frame(0, b"whole"), header(DATA, 0, 9)[..7].to_vec()].concat();
        assert_eq!(read(cut.clone(), 100), cut);
        let cut = [header(DATA, 0, 9), b"half".to_vec()].concat();
        assert_eq!(read(cut.clone(), 100), cut);
    }
}
