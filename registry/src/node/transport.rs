//! How a node talks over TCP: secured by TLS or Noise, many streams in one connection by yamux; or a connection that is
//! for blocks alone ([`direct`](super::direct)).

use futures::{
    FutureExt, TryFutureExt,
    future::{self, BoxFuture, Either},
};
use libp2p::{
    PeerId, Transport,
    core::{
        Negotiated, UpgradeInfo,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, Version},
    },
    identity::Keypair,
    noise, tcp, yamux,
};

use super::{
    direct::{self, Handover},
    secure::{self, Insecure, Secured, Tls},
    socket::Socket,
};

const NOISE: &str = "/noise";

type Stream = Either<Secured<Negotiated<Socket>>, noise::Output<Negotiated<Socket>>>;
type Connection = yamux::Muxer<Negotiated<Stream>>;

/// The TCP transport of a node.
pub(super) fn tcp(
    identity: &Keypair,
    tls: Tls,
    handover: Handover,
) -> Result<
    impl Transport<Output = (PeerId, Connection), Dial: Send, ListenerUpgrade: Send, Error: Send + Sync>
    + Send
    + Unpin
    + use<>,
    noise::Error,
> {
    let security = Security { tls, noise: noise::Config::new(identity)?, handover };
    let sockets = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(sockets
        .map(|stream, _| Socket::new(stream))
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(yamux::Config::default()))
}

/// The ways to secure a connection, the best first.
#[derive(Clone)]
struct Security {
    tls: Tls,
    noise: noise::Config,
    handover: Handover,
}

type Upgraded = (PeerId, Stream);
type Upgrading = BoxFuture<'static, Result<Upgraded, Insecure>>;

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = [Self::Info; 3];

    fn protocol_info(&self) -> Self::InfoIter {
        [secure::PROTOCOL, NOISE, direct::PROTOCOL]
    }
}

impl InboundConnectionUpgrade<Negotiated<Socket>> for Security {
    type Output = Upgraded;
    type Error = Insecure;
    type Future = Upgrading;

    fn upgrade_inbound(self, socket: Negotiated<Socket>, info: Self::Info) -> Self::Future {
        match info {
            secure::PROTOCOL => self.tls.upgrade_inbound(socket, info).map_ok(with_tls).boxed(),
            direct::PROTOCOL => self.handover.take(socket).map(Err).boxed(),
            _ => self.noise.upgrade_inbound(socket, NOISE).map_ok(with_noise).err_into().boxed(),
        }
    }
}

/// The swarm itself dials for connections with a multiplexer only.
impl OutboundConnectionUpgrade<Negotiated<Socket>> for Security {
    type Output = Upgraded;
    type Error = Insecure;
    type Future = Upgrading;

    fn upgrade_outbound(self, socket: Negotiated<Socket>, info: Self::Info) -> Self::Future {
        match info {
            secure::PROTOCOL => self.tls.upgrade_outbound(socket, info).map_ok(with_tls).boxed(),
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
