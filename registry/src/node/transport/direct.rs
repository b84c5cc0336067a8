//! Streams with a TCP connection of their own, for blocks between peers on a short path.
//!
//! On a short path the processor limits a transfer, and half of its time is spent in the multiplexer and the swarm's
//! tasks. So a peer that this node has dialled over TCP is dialled once more for each stream of
//! [`blocks`](crate::node::exchange::bulk), at the same address. The connection is negotiated and secured like any
//! other of libp2p, but with [`PROTOCOL`] instead of `/tls/1.0.0`, which means that requests follow and no multiplexer.
//! The listener passes such a connection to the bulk protocol; to the swarm it looks like a failed one.
//!
//! The bulk protocol accepts it only from peers with an ordinary connection, where limits and access policies apply. On
//! a long path there is no gain: a new connection starts slowly.

use std::{io, net::SocketAddr, time::Duration};

use libp2p::{
    Multiaddr, PeerId,
    core::{
        Negotiated,
        upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _},
    },
    multiaddr::Protocol,
    tcp::tokio::TcpStream,
};
use multistream_select::{NegotiationError, Version, dialer_select_proto};
use tokio::{sync::mpsc, time::timeout};

use crate::node::transport::{
    tcp::{NEAR, Socket},
    tls::{Insecure, Secured, Tls},
};

/// Negotiated instead of a security protocol: the same TLS, and then [`blocks`](crate::node::exchange::bulk) only.
pub(in crate::node) const PROTOCOL: &str = "/ggen/blocks/1.0.0/tls";
/// Time limit for negotiation and TLS handshake, after TCP has connected.
const SECURED_WITHIN: Duration = Duration::from_secs(5);
/// Size of one read from a connection that delivers blocks, in bytes.
const READ_BYTES: usize = 256 << 10;
/// Capacity of the queue of inbound direct connections; further ones are closed.
const QUEUE: usize = 16;

/// A stream with a connection of its own.
pub(crate) type Direct = Box<Secured<Negotiated<Socket>>>;

/// Why a direct connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undialled {
    #[error("it is too far away to gain by it")]
    Far,
    #[error("it cannot be connected to")]
    Connect(#[from] io::Error),
    #[error("it does not speak {PROTOCOL}")]
    Negotiation(#[from] NegotiationError),
    #[error(transparent)]
    Insecure(#[from] Insecure),
    #[error("another peer answers: {0}")]
    Other(PeerId),
    #[error("it takes too long")]
    Slow,
}

/// Dials direct connections, and receives inbound ones.
#[derive(Debug)]
pub(crate) struct Directs {
    pub(in crate::node) dialer: Dialer,
    pub(in crate::node) taken: mpsc::Receiver<(PeerId, Direct)>,
}

/// Returns both ends: one for the transport, one for the bulk protocol.
pub(in crate::node) fn handover(tls: Tls) -> (Handover, Directs) {
    let (sender, taken) = mpsc::channel(QUEUE);
    let dialer = Dialer { tls: tls.clone().reading(READ_BYTES) };
    (Handover { tls, sender }, Directs { dialer, taken })
}

/// The address for a direct connection to a peer that was dialled at `address`. `None` unless that is plain TCP to an
/// IP address.
pub(in crate::node) fn dialled_at(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    parts.all(|part| matches!(part, Protocol::P2p(_))).then(|| SocketAddr::new(ip, port))
}

/// Dials direct connections.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    tls: Tls,
}

impl Dialer {
    /// Opens a stream to `peer`, which listens at `address`.
    pub(in crate::node) async fn dial(self, peer: PeerId, address: SocketAddr) -> Result<Direct, Undialled> {
        let connecting = timeout(NEAR, tokio::net::TcpStream::connect(address));
        let socket = connecting.await.map_err(|_| Undialled::Far)??;
        socket.set_nodelay(true)?;
        timeout(SECURED_WITHIN, self.secure(peer, Socket::new(TcpStream(socket)))).await.map_err(|_| Undialled::Slow)?
    }

    async fn secure(self, peer: PeerId, socket: Socket) -> Result<Direct, Undialled> {
        let (_, socket) = dialer_select_proto(socket, [PROTOCOL], Version::V1).await?;
        let (found, stream) = self.tls.upgrade_outbound(socket, PROTOCOL).await?;
        if found == peer { Ok(Box::new(stream)) } else { Err(Undialled::Other(found)) }
    }
}

/// Passes inbound direct connections from the transport to the bulk protocol.
#[derive(Clone, Debug)]
pub(in crate::node) struct Handover {
    tls: Tls,
    sender: mpsc::Sender<(PeerId, Direct)>,
}

impl Handover {
    /// Secures a connection and passes it on. Returns an error in any case, so that the swarm treats the connection as
    /// failed.
    pub(in crate::node) async fn take(self, socket: Negotiated<Socket>) -> Insecure {
        match self.tls.upgrade_inbound(socket, PROTOCOL).await {
            Ok((peer, stream)) => {
                if self.sender.try_send((peer, Box::new(stream))).is_err() {
                    tracing::debug!(%peer, "a stream is closed: too many wait");
                }
                Insecure::HandedOver
            }
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_dialled_straight_over_tcp_can_be_dialled_again() {
        let peer = PeerId::random();
        let at = |address: &str| dialled_at(&address.parse().unwrap());
        assert_eq!(at("/ip4/192.0.2.1/tcp/4001"), Some("192.0.2.1:4001".parse().unwrap()));
        assert_eq!(at(&format!("/ip6/2001:db8::1/tcp/4001/p2p/{peer}")), Some("[2001:db8::1]:4001".parse().unwrap()));
        assert_eq!(at("/ip4/192.0.2.1/udp/4001/quic-v1"), None);
        assert_eq!(at("/dns4/example.org/tcp/4001"), None);
        assert_eq!(at(&format!("/ip4/192.0.2.1/tcp/4001/p2p/{peer}/p2p-circuit")), None);
        assert_eq!(at("/ip4/192.0.2.1/tcp/443/tls/ws"), None);
    }
}
