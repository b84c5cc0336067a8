//! Swarms that identify each other.

use std::{convert::Infallible, pin::Pin, time::Duration};

use futures::{AsyncRead as _, StreamExt as _, future::poll_fn};
use libp2p::{
    Stream, StreamProtocol, Swarm, SwarmBuilder,
    core::upgrade::ReadyUpgrade,
    noise,
    swarm::{OneShotHandler, SubstreamProtocol, SwarmEvent},
    tcp, yamux,
};

use crate::node::discovery::identify::{handler::MAX_INBOUND_STREAMS, *};

/// Far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_secs(50);
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// A swarm with `idle` as the timeout of idle connections.
fn swarm<B: NetworkBehaviour>(idle: Duration, make: impl FnOnce(&Keypair) -> B) -> Swarm<B> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default).unwrap();
    let builder = builder.with_behaviour(make).unwrap();
    builder.with_swarm_config(|config| config.with_idle_connection_timeout(idle)).build()
}

async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr {
    swarm.listen_on(LOOPBACK.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

/// The next identify result at `one`, while both swarms run.
async fn next_info(one: &mut Swarm<Behaviour>, other: &mut Swarm<Behaviour>) -> Info {
    let next = async {
        loop {
            tokio::select! {
                event = one.select_next_some() => {
                    if let SwarmEvent::Behaviour(Event { outcome, .. }) = event {
                        return outcome.unwrap();
                    }
                }
                _ = other.select_next_some() => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.unwrap()
}

#[tokio::test]
async fn peers_are_identified_once_connected_and_send_what_changes() {
    let [mut alice, mut bob] = ["alice", "bob"].map(|agent| swarm(PATIENCE, |key| Behaviour::new(key.clone(), agent)));
    let first = listen(&mut bob).await;
    alice.dial(first.clone()).unwrap();
    let info = next_info(&mut alice, &mut bob).await;
    assert_eq!((info.agent.as_str(), &info.addresses), ("bob", &vec![first.clone()]));
    assert_eq!(info.observed.map(|address| address.to_string().starts_with("/ip4/127.0.0.1/tcp/")), Some(true));
    assert_eq!(next_info(&mut bob, &mut alice).await.agent, "alice");

    bob.listen_on(LOOPBACK.parse().unwrap()).unwrap();
    let moved = next_info(&mut alice, &mut bob).await;
    assert_eq!(moved.addresses.len(), 2, "{:?}", moved.addresses);
    assert!(moved.addresses.contains(&first));
    assert_eq!(moved.agent, "bob");
    // The addresses are used to dial it again.
    let behaviour = alice.behaviour_mut();
    let known = behaviour.handle_pending_outbound_connection(
        ConnectionId::new_unchecked(9),
        Some(*bob.local_peer_id()),
        &[],
        Endpoint::Dialer,
    );
    assert_eq!(known.unwrap().len(), 2);
}

/// Opens push streams and writes nothing on them.
struct Hostile {
    target: Option<PeerId>,
    /// Streams still to be opened.
    left: usize,
    /// Streams that were opened, or refused.
    negotiated: usize,
    open: Vec<Stream>,
}

impl Hostile {
    fn new(streams: usize) -> Self {
        Self { target: None, left: streams, negotiated: 0, open: Vec::new() }
    }

    fn handler() -> <Self as NetworkBehaviour>::ConnectionHandler {
        let inbound = ReadyUpgrade::new(StreamProtocol::new("/none"));
        OneShotHandler::new(SubstreamProtocol::new(inbound, ()), Default::default())
    }
}

impl NetworkBehaviour for Hostile {
    type ConnectionHandler = OneShotHandler<ReadyUpgrade<StreamProtocol>, ReadyUpgrade<StreamProtocol>, Stream>;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Self::handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.target = Some(peer);
        Ok(Self::handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        self.negotiated += 1;
        self.open.extend(event);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let Some(peer_id) = self.target.filter(|_| self.left > 0) else { return Poll::Pending };
        self.left -= 1;
        let event = ReadyUpgrade::new(StreamProtocol::new("/ipfs/id/push/1.0.0"));
        Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event })
    }
}

/// Runs both swarms until `holds` returns true for the second one.
async fn run_until(alice: &mut Swarm<Behaviour>, mallory: &mut Swarm<Hostile>, holds: impl Fn(&Hostile) -> bool) {
    let running = poll_fn(|cx| {
        while alice.poll_next_unpin(cx).is_ready() {}
        while mallory.poll_next_unpin(cx).is_ready() {}
        let behaviour = mallory.behaviour_mut();
        // Nothing is written to such a stream: one that becomes readable has ended.
        behaviour.open.retain_mut(|stream| Pin::new(stream).poll_read(cx, &mut [0]).is_pending());
        if holds(behaviour) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::time::timeout(PATIENCE, running).await.unwrap();
}

#[tokio::test]
async fn of_the_streams_that_a_peer_opens_no_more_than_some_are_read() {
    let streams = 3 * MAX_INBOUND_STREAMS;
    let mut alice = swarm(PATIENCE, |key| Behaviour::new(key.clone(), "alice"));
    let mut mallory = swarm(PATIENCE, |_| Hostile::new(streams));
    mallory.dial(listen(&mut alice).await).unwrap();
    run_until(&mut alice, &mut mallory, |hostile| {
        hostile.negotiated == streams && hostile.open.len() == MAX_INBOUND_STREAMS
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_waits_keeps_no_connection() {
    let mut alice = swarm(Duration::from_millis(500), |key| Behaviour::new(key.clone(), "alice"));
    let mut mallory = swarm(PATIENCE, |_| Hostile::new(1));
    mallory.dial(listen(&mut alice).await).unwrap();
    run_until(&mut alice, &mut mallory, |hostile| hostile.negotiated == 1).await;
    run_until(&mut alice, &mut mallory, |hostile| hostile.open.is_empty()).await;
    assert_eq!(alice.network_info().num_peers(), 0);
}
