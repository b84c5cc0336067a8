//! Prevents connections and DNS lookups while the clock is before 1970: no certificate is valid then, and the
//! underlying libraries panic. Existing connections continue, and new ones are possible once the clock is set.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
};
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use tokio::time::{Instant, Sleep, sleep};

/// How often a clock that stands before 1970 is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Source of the current time.
pub(crate) type Clock = fn() -> SystemTime;

/// The time since 1970 for TLS; `None` before.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Since1970(pub(in crate::node) Clock);

impl Since1970 {
    fn elapsed(self) -> Option<Duration> {
        (self.0)().duration_since(SystemTime::UNIX_EPOCH).ok()
    }

    pub(in crate::node) fn refusal(self) -> Option<io::Error> {
        let message = "the clock of this machine is set to a time before 1970, when no certificate is valid";
        self.elapsed().is_none().then(|| io::Error::other(message))
    }
}

impl TimeProvider for Since1970 {
    fn current_time(&self) -> Option<UnixTime> {
        self.elapsed().map(UnixTime::since_unix_epoch)
    }
}

/// A transport that refuses connections while the clock is before 1970.
pub(in crate::node) struct Dated<O> {
    inner: Boxed<O>,
    clock: Since1970,
    /// Runs while the clock stands before 1970.
    look_again: Option<Pin<Box<Sleep>>>,
}

impl<O> Dated<O> {
    pub(in crate::node) fn new(inner: Boxed<O>, clock: Clock) -> Self {
        Self { inner, clock: Since1970(clock), look_again: None }
    }

    /// Whether the clock stands before 1970; then the task is woken to look again.
    fn waits_for_the_clock(&mut self, context: &mut Context<'_>) -> bool {
        if self.clock.elapsed().is_some() {
            self.look_again = None;
            return false;
        }
        let look_again = self.look_again.get_or_insert_with(|| Box::pin(sleep(LOOK_AGAIN)));
        while look_again.as_mut().poll(context).is_ready() {
            look_again.as_mut().reset(Instant::now() + LOOK_AGAIN);
        }
        true
    }
}

impl<O: Send + 'static> Transport for Dated<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<O> as Transport>::ListenerUpgrade;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        match self.clock.refusal() {
            Some(error) => Err(TransportError::Other(error)),
            None => self.inner.dial(address, options),
        }
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = self.get_mut();
        // What comes in meanwhile waits outside, or gives up.
        if this.waits_for_the_clock(context) {
            return Poll::Pending;
        }
        Pin::new(&mut this.inner).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::poll_fn;
    use libp2p::{
        PeerId,
        core::{Endpoint, muxing::StreamMuxerBox, transport::PortUse},
        identity::Keypair,
    };

    use super::*;
    use crate::node::transport;

    type Node = Dated<(PeerId, StreamMuxerBox)>;

    fn before_1970() -> SystemTime {
        SystemTime::UNIX_EPOCH - Duration::from_secs(1)
    }

    async fn next(transport: &mut Node) -> TransportEvent<<Node as Transport>::ListenerUpgrade, io::Error> {
        poll_fn(|context| Pin::new(&mut *transport).poll(context)).await
    }

    fn dial(transport: &mut Node, address: &Multiaddr) -> Result<<Node as Transport>::Dial, TransportError<io::Error>> {
        transport.dial(address.clone(), DialOpts { role: Endpoint::Dialer, port_use: PortUse::New })
    }

    #[tokio::test]
    async fn no_connection_is_made_in_either_direction_before_1970_and_they_are_again_once_the_clock_is_set() {
        for address in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
            let transport = |clock| Dated::new(transport::tests::of(&Keypair::generate_ed25519()), clock);
            let (mut dialler, mut listener) = (transport(SystemTime::now), transport(SystemTime::now));
            listener.listen_on(ListenerId::next(), address.parse().unwrap()).unwrap();
            let address = next(&mut listener).await.into_new_address().unwrap();

            dialler.clock = Since1970(before_1970);
            let Err(TransportError::Other(refused)) = dial(&mut dialler, &address) else { panic!("{address}") };
            assert!(refused.to_string().contains("before 1970"), "{refused}");
            dialler.clock = Since1970(SystemTime::now);

            listener.clock = Since1970(before_1970);
            let dialling = tokio::spawn(dial(&mut dialler, &address).unwrap());
            let taken_in = tokio::time::timeout(Duration::from_millis(200), next(&mut listener)).await;
            assert!(taken_in.is_err(), "{address}");
            dialling.abort();

            listener.clock = Since1970(SystemTime::now);
            let listening = tokio::spawn(async move {
                loop {
                    if let Some((upgrade, _)) = next(&mut listener).await.into_incoming() {
                        tokio::spawn(upgrade);
                    }
                }
            });
            dial(&mut dialler, &address).unwrap().await.unwrap();
            listening.abort();
        }
    }
}
