//! The transports of a node: QUIC, or TCP secured by TLS or Noise and multiplexed by yamux. Connections for blocks only
//! have no multiplexer ([`direct`](crate::node::transport::direct)).

pub(super) mod clock_guard;
pub(super) mod direct;
pub(super) mod handshakes;
pub(super) mod idle_streams;
pub(super) mod port;
pub(super) mod tcp;
pub(super) mod tls;
pub(super) mod yamux_frames;

use std::time::{Duration, SystemTime};

use futures::{
    FutureExt, TryFutureExt,
    future::{self, BoxFuture, Either},
};
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use libp2p::{
    PeerId, Transport as _,
    core::{
        Negotiated, UpgradeInfo,
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, Version},
    },
    dns,
    identity::Keypair,
    noise, quic,
};

use self::{
    clock_guard::Dated,
    direct::Handover,
    handshakes::Handshakes,
    tcp::Socket,
    tls::{Insecure, Secured, Tls},
    yamux_frames::Multiplexer,
};

const NOISE: &str = "/noise";

/// The transport of a node: dials an address, returns the peer ID and the multiplexed connection.
pub(super) type Transport = Boxed<(PeerId, StreamMuxerBox)>;

/// All transports of a node. A dial that does not succeed `within` this time fails; inbound handshakes have
/// [limits of their own](handshakes).
pub(super) fn all(
    identity: &Keypair,
    tls: Tls,
    handover: Handover,
    (resolver, options): (ResolverConfig, ResolverOpts),
    within: Duration,
) -> Result<Transport, noise::Error> {
    let quic = quic::tokio::Transport::new(quic::Config::new(identity));
    let quic = quic.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection))).boxed();
    let either = tcp(identity, tls, handover)?.or_transport(quic).map(|connected, _| connected.into_inner()).boxed();
    let named = dns::tokio::Transport::custom(either, resolver, options);
    let timed = TransportTimeout::with_outgoing_timeout(named, within).boxed();
    let limited = Handshakes::new(timed).boxed();
    Ok(Dated::new(limited, SystemTime::now).boxed())
}

/// TCP alone. Boxed, because libp2p logs the composed types.
pub(super) fn tcp(identity: &Keypair, tls: Tls, handover: Handover) -> Result<Transport, noise::Error> {
    let security = Security { tls, noise: noise::Config::new(identity)?, handover };
    let sockets = libp2p::tcp::tokio::Transport::new(libp2p::tcp::Config::default().nodelay(true));
    Ok(sockets
        .map(|stream, _| Socket::new(stream))
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(Multiplexer::default())
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .boxed())
}

/// The security protocols, most preferred first.
#[derive(Clone)]
struct Security {
    tls: Tls,
    noise: noise::Config,
    handover: Handover,
}

type Upgraded = (PeerId, Either<Secured<Negotiated<Socket>>, noise::Output<Negotiated<Socket>>>);
type Upgrading = BoxFuture<'static, Result<Upgraded, Insecure>>;

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = [Self::Info; 3];

    fn protocol_info(&self) -> Self::InfoIter {
        [tls::PROTOCOL, NOISE, direct::PROTOCOL]
    }
}

impl InboundConnectionUpgrade<Negotiated<Socket>> for Security {
    type Output = Upgraded;
    type Error = Insecure;
    type Future = Upgrading;

    fn upgrade_inbound(self, socket: Negotiated<Socket>, info: Self::Info) -> Self::Future {
        match info {
            tls::PROTOCOL => self.tls.upgrade_inbound(socket, info).map_ok(with_tls).boxed(),
            direct::PROTOCOL => self.handover.take(socket).map(Err).boxed(),
            _ => self.noise.upgrade_inbound(socket, NOISE).map_ok(with_noise).err_into().boxed(),
        }
    }
}

/// The swarm dials only multiplexed connections.
impl OutboundConnectionUpgrade<Negotiated<Socket>> for Security {
    type Output = Upgraded;
    type Error = Insecure;
    type Future = Upgrading;

    fn upgrade_outbound(self, socket: Negotiated<Socket>, info: Self::Info) -> Self::Future {
        match info {
            tls::PROTOCOL => self.tls.upgrade_outbound(socket, info).map_ok(with_tls).boxed(),
            direct::PROTOCOL => future::ready(Err(Insecure::HandedOver)).boxed(),
            _ => self.noise.upgrade_outbound(socket, NOISE).map_ok(with_noise).err_into().boxed(),
        }
    }
}

fn with_tls((peer, stream): (PeerId, Secured<Negotiated<Socket>>)) -> Upgraded {
    (peer, Either::Left(stream))
}

fn with_noise((peer, stream): (PeerId, noise::Output<Negotiated<Socket>>)) -> Upgraded {
    (peer, Either::Right(stream))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::node::discovery::dnsaddr;

    /// A node's transport whose direct connections are dropped, because they need a swarm.
    pub(in crate::node) fn of(identity: &Keypair) -> Transport {
        let tls = Tls::new(identity).unwrap();
        let (handover, _) = direct::handover(tls.clone());
        all(identity, tls, handover, dnsaddr::configuration(&[]), Duration::from_secs(60)).unwrap()
    }
}
