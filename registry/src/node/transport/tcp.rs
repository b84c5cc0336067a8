//! The TCP sockets of a node.
//!
//! BBR paces a socket: a timer runs between two bursts. On a short path these timers cost more processor time than the
//! bytes they delay (a tenth of a transfer over loopback). So once a peer has proved to be near, its socket switches to
//! reno, which Linux permits without privileges. The kernel continues to pace the socket, but by reno's window, which
//! takes fewer timers and saves two fifths of their cost. On a long path the system's choice stays.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::tcp::tokio::TcpStream;

/// A peer that answers sooner is near: the processor limits a transfer, not the path.
pub(crate) const NEAR: Duration = Duration::from_millis(5);
/// Number of fast answers required, without a slow one. Data that arrives after a write need not be an answer to it,
/// since peers send several messages in a row. But among the first three at least one is, in every handshake: a TLS
/// client finishes after it has the server's certificate, and noise has as many round trips.
const ANSWERS: u8 = 3;

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// `None` once it is known whether the peer is near.
    nearness: Option<Nearness>,
    /// Whether a congestion control algorithm is to be replaced on a short path.
    paces: fn(&str) -> bool,
}

impl Socket {
    pub(in crate::node) fn new(stream: TcpStream) -> Self {
        Self::replacing(stream, paces)
    }

    fn replacing(stream: TcpStream, paces: fn(&str) -> bool) -> Self {
        Self { stream, nearness: Some(Nearness::default()), paces }
    }

    fn answered(&mut self, now: Instant) {
        match self.nearness.as_mut().and_then(|nearness| nearness.on_read(now)) {
            Some(true) => self.on_near(),
            Some(false) => self.nearness = None,
            None => {}
        }
    }

    fn on_near(&mut self) {
        self.nearness = None;
        if let Err(error) = unpace(&self.stream.0, self.paces) {
            tracing::debug!(%error, "a socket to a near peer stays as it is");
        }
    }
}

/// Whether a congestion control algorithm of Linux paces with timers.
fn paces(algorithm: &str) -> bool {
    algorithm.starts_with("bbr")
}

#[cfg(target_os = "linux")]
fn unpace(socket: &tokio::net::TcpStream, paces: fn(&str) -> bool) -> io::Result<()> {
    use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
    if paces(&tcp_congestion(socket)?) {
        set_tcp_congestion(socket, "reno")?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn unpace(_: &tokio::net::TcpStream, _: fn(&str) -> bool) -> io::Result<()> {
    Ok(())
}

/// Measures how fast a peer answers.
#[derive(Debug, Default)]
struct Nearness {
    /// When the first byte was written that has no answer yet.
    asked: Option<Instant>,
    soon: u8,
}

impl Nearness {
    fn on_write(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Returns whether the peer is near, as soon as that is known.
    fn on_read(&mut self, now: Instant) -> Option<bool> {
        let asked = self.asked.take()?;
        if now.saturating_duration_since(asked) >= NEAR {
            return Some(false);
        }
        self.soon += 1;
        (self.soon == ANSWERS).then_some(true)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_read(cx, bytes))?;
        if self.nearness.is_some() && count > 0 {
            self.answered(Instant::now());
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(nearness) = &mut self.nearness {
            nearness.on_write(Instant::now());
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(nearness) = &mut self.nearness {
            nearness.on_write(Instant::now());
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_soon_each_time_is_near_and_who_does_not_once_is_far() {
        let now = Instant::now();
        let mut nearness = Nearness::default();
        assert_eq!(nearness.on_read(now), None, "that was no answer");
        for at in 1..=ANSWERS {
            nearness.on_write(now);
            nearness.on_write(now + NEAR);
            assert_eq!(nearness.on_read(now + NEAR / 2), (at == ANSWERS).then_some(true));
            assert_eq!(nearness.on_read(now + NEAR), None, "more of the same answer");
        }

        let mut nearness = Nearness::default();
        nearness.on_write(now);
        assert_eq!(nearness.on_read(now), None);
        nearness.on_write(now);
        nearness.on_write(now + NEAR);
        assert_eq!(nearness.on_read(now + NEAR), Some(false), "the answer may be to what was written first");
    }

    #[test]
    fn bbr_is_what_paces() {
        assert!(paces("bbr") && paces("bbr3") && !paces("cubic") && !paces("reno"));
    }

    #[cfg(target_os = "linux")]
    mod linux;
}
