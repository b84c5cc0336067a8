//! The TCP sockets of a node.
//!
//! BBR paces what a socket sends: between two pieces a timer runs. Where the way is short, those timers cost the processor
//! more than the bytes they hold back (a tenth of a transfer over loopback). So once a peer has shown that it is near, its
//! socket is given the algorithm that paces nothing and that Linux lets everybody choose. On a long way the system's
//! choice stands.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::tcp::tokio::TcpStream;

/// A peer that answers sooner is near: the processor is what limits a transfer, not the way.
pub(crate) const NEAR: Duration = Duration::from_millis(5);
/// Answers after which a peer that was not near yet is far. The first ones are part of negotiation, which takes the peer
/// little time.
const ANSWERS: u8 = 4;

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// None once it is known.
    nearness: Option<Nearness>,
    /// Whether an algorithm of congestion control is to be replaced on a short way.
    paces: fn(&str) -> bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self::replacing(stream, paces)
    }

    fn replacing(stream: TcpStream, paces: fn(&str) -> bool) -> Self {
        Self { stream, nearness: Some(Nearness::default()), paces }
    }

    fn answered(&mut self, now: Instant) {
        match self.nearness.as_mut().and_then(|nearness| nearness.on_read(now)) {
            Some(true) => self.is_near(),
            Some(false) => self.nearness = None,
            None => {}
        }
    }

    fn is_near(&mut self) {
        self.nearness = None;
        if let Err(error) = unpace(&self.stream.0, self.paces) {
            tracing::debug!(%error, "a socket to a near peer stays as it is");
        }
    }
}

/// Whether an algorithm of Linux sends by a timer.
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

/// How soon a peer answers.
#[derive(Debug, Default)]
struct Nearness {
    /// When something was written to which nothing has come yet.
    asked: Option<Instant>,
    answers: u8,
}

impl Nearness {
    fn on_write(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Whether the peer is near, once that shows.
    fn on_read(&mut self, now: Instant) -> Option<bool> {
        let asked = self.asked.take()?;
        self.answers += 1;
        if now.saturating_duration_since(asked) < NEAR {
            return Some(true);
        }
        (self.answers == ANSWERS).then_some(false)
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
    fn who_answers_soon_is_near_and_who_never_did_is_far() {
        let (now, far) = (Instant::now(), NEAR * 2);
        let mut nearness = Nearness::default();
        assert_eq!(nearness.on_read(now), None, "that was no answer");
        nearness.on_write(now);
        nearness.on_write(now + far);
        assert_eq!(nearness.on_read(now + far), None, "the answer may be to what was written first");
        nearness.on_write(now + far);
        assert_eq!(nearness.on_read(now + far + NEAR / 2), Some(true));

        let mut nearness = Nearness::default();
        let answers: Vec<_> = (0..ANSWERS)
            .map(|_| {
                nearness.on_write(now);
                nearness.on_read(now + NEAR)
            })
            .collect();
        assert_eq!(answers, [None, None, None, Some(false)]);
    }

    #[test]
    fn bbr_is_what_paces() {
        assert!(paces("bbr") && paces("bbr3") && !paces("cubic") && !paces("reno"));
    }

    #[cfg(target_os = "linux")]
    mod linux {
        use futures::{AsyncReadExt as _, AsyncWriteExt as _};
        use rustix::net::sockopt::tcp_congestion;
        use tokio::net::{TcpListener, TcpStream as Tcp};

        use super::*;

        /// What the socket of one who asks has at the end, when the answer takes so long.
        async fn algorithm_after(answers_after: Duration, paces: fn(&str) -> bool) -> (String, String) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (dialled, accepted) = tokio::join!(Tcp::connect(address), listener.accept());
            let (dialled, mut answerer) = (dialled.unwrap(), Socket::new(TcpStream(accepted.unwrap().0)));
            let before = tcp_congestion(&dialled).unwrap();
            let mut asker = Socket::replacing(TcpStream(dialled), paces);
            let asking = async {
                for _ in 0..ANSWERS {
                    asker.write_all(b"?").await.unwrap();
                    asker.read_exact(&mut [0]).await.unwrap();
                }
                asker
            };
            let answering = async {
                for _ in 0..ANSWERS {
                    answerer.read_exact(&mut [0]).await.unwrap();
                    tokio::time::sleep(answers_after).await;
                    answerer.write_all(b"!").await.unwrap();
                }
            };
            let (asker, ()) = tokio::join!(asking, answering);
            (before, tcp_congestion(&asker.stream.0).unwrap())
        }

        #[tokio::test]
        async fn a_near_socket_is_not_paced() {
            let (_, after) = algorithm_after(Duration::ZERO, |_| true).await;
            assert_eq!(after, "reno");
        }

        #[tokio::test]
        async fn a_far_one_and_one_that_does_not_pace_stay_as_they_are() {
            let (before, after) = algorithm_after(NEAR * 2, |_| true).await;
            assert_eq!(before, after);
            let (before, after) = algorithm_after(Duration::ZERO, |_| false).await;
            assert_eq!(before, after);
        }
    }
}
