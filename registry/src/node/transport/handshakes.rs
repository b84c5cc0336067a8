//! Limits inbound handshakes: their number, their number from one source, and their time.
//!
//! A peer that connects and says nothing keeps a handshake open. At the limit, the oldest handshake ends for the sake of
//! the new one, of the same source if that source has its share. An honest handshake takes a few round trips, so it is
//! over long before it is the oldest.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
};
use tokio::sync::oneshot;

use crate::node::connections::source::Source;

/// Maximum number of inbound handshakes under way.
const MAX_HANDSHAKES: usize = 256;
/// Maximum number of them from one source.
const MAX_HANDSHAKES_PER_SOURCE: usize = 32;
/// Time limit of an inbound handshake: some ten round trips on a path over satellites.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(6);

/// A transport that limits inbound handshakes.
pub(in crate::node) struct Handshakes<O> {
    inner: Boxed<O>,
    /// Handshakes under way, oldest first.
    open: VecDeque<Handshake>,
}

/// A handshake under way. Its channel is closed when it has ended.
struct Handshake {
    source: Option<Source>,
    end: oneshot::Sender<()>,
}

impl<O> Handshakes<O> {
    pub(in crate::node) fn new(inner: Boxed<O>) -> Self {
        Self { inner, open: VecDeque::new() }
    }

    /// Registers a handshake. Returns the signal that ends it.
    fn add(&mut self, source: Option<Source>) -> oneshot::Receiver<()> {
        self.open.retain(|handshake| !handshake.end.is_closed());
        let sources: Vec<_> = self.open.iter().map(|handshake| handshake.source).collect();
        if let Some(handshake) = displaced(&sources, source).and_then(|index| self.open.remove(index)) {
            // A handshake that has just ended needs no signal.
            let _ended = handshake.end.send(());
        }
        let (end, ended) = oneshot::channel();
        self.open.push_back(Handshake { source, end });
        ended
    }
}

/// The index of the handshake that a new one from `source` displaces. `sources`: those of the handshakes under way,
/// oldest first.
fn displaced(sources: &[Option<Source>], source: Option<Source>) -> Option<usize> {
    let of_source = || sources.iter().enumerate().filter(|(_, other)| **other == source).map(|(index, _)| index);
    if source.is_some() && of_source().count() >= MAX_HANDSHAKES_PER_SOURCE {
        return of_source().next();
    }
    (sources.len() >= MAX_HANDSHAKES).then_some(0)
}

impl<O: Send + 'static> Transport for Handshakes<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<O>>;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll(context).map(|event| {
            let ended = match &event {
                TransportEvent::Incoming { send_back_addr, .. } => Some(this.add(Source::of(send_back_addr))),
                _ => None,
            };
            event.map_upgrade(|upgrade| match ended {
                Some(ended) => limited(upgrade, ended).boxed(),
                None => upgrade,
            })
        })
    }
}

/// Runs a handshake until it succeeds or fails, its time is over, or `displaced` signals.
async fn limited<O>(handshake: impl Future<Output = io::Result<O>>, displaced: oneshot::Receiver<()>) -> io::Result<O> {
    tokio::select! {
        biased;
        outcome = tokio::time::timeout(HANDSHAKE_WITHIN, handshake) => {
            outcome.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long")))
        }
        _ = displaced => Err(io::Error::other("the handshake is displaced by newer ones")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::future::poll_fn;
    use libp2p::{
        PeerId,
        core::{Endpoint, muxing::StreamMuxerBox, transport::PortUse},
        identity::Keypair,
    };

    use super::*;
    use crate::node::transport::tests::of;

    fn source(number: usize) -> Option<Source> {
        let ip = Ipv4Addr::from_bits(0x0808_0000 + u32::try_from(number).unwrap());
        Source::of(&format!("/ip4/{ip}/tcp/1").parse().unwrap())
    }

    #[test]
    fn a_source_displaces_its_own_handshakes_before_those_of_others() {
        let mut sources = vec![source(0)];
        sources.resize(MAX_HANDSHAKES_PER_SOURCE, source(1));
        assert_eq!(displaced(&sources, source(1)), None);
        sources.push(source(1));
        assert_eq!(displaced(&sources, source(1)), Some(1));
        assert_eq!(displaced(&sources, source(2)), None);
    }

    #[test]
    fn without_room_the_oldest_handshake_ends() {
        let mut sources: Vec<_> = (1..MAX_HANDSHAKES).map(source).collect();
        assert_eq!(displaced(&sources, source(0)), None);
        sources.push(None);
        assert_eq!(displaced(&sources, source(0)), Some(0));
        assert_eq!(displaced(&sources, None), Some(0));
        assert_eq!(displaced(&vec![None; MAX_HANDSHAKES - 1], None), None, "private addresses share no limit");
    }

    /// Regression test: 256 sockets that said nothing kept every newcomer out.
    #[tokio::test]
    async fn a_peer_connects_while_more_sockets_than_there_is_room_for_say_nothing() {
        let mut listener = Handshakes::new(of(&Keypair::generate_ed25519()));
        listener.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let event = poll_fn(|context| Pin::new(&mut listener).poll(context)).await;
        let address = event.into_new_address().unwrap();
        let socket = crate::node::transport::direct::dialled_at(&address).unwrap();
        let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
        let listening = tokio::spawn(async move {
            loop {
                if let Some((upgrade, _)) =
                    poll_fn(|context| Pin::new(&mut listener).poll(context)).await.into_incoming()
                {
                    let ended = ended.clone();
                    tokio::spawn(async move { ended.send(upgrade.await.map(drop)) });
                }
            }
        });
        let mut silent = Vec::new();
        for _ in 0..=MAX_HANDSHAKES {
            silent.push(tokio::net::TcpStream::connect(socket).await.unwrap());
        }
        let key = Keypair::generate_ed25519();
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let connected: (PeerId, StreamMuxerBox) = of(&key).dial(address, options).unwrap().await.unwrap();
        let displaced = endings.recv().await.unwrap().unwrap_err();
        assert_eq!(displaced.to_string(), "the handshake is displaced by newer ones");
        listening.abort();
        drop((connected, silent));
    }
}
