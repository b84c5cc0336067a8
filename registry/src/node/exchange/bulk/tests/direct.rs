//! Two swarms with direct connections.

use std::{task::Poll, time::Duration};

use futures::{AsyncReadExt as _, StreamExt as _, future::poll_fn};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};

use crate::node::{
    discovery::identify,
    exchange::{
        self, BlockWant, ListSource, NoPriors, Place, SessionEvent, SessionSpec, bulk::tests::*, session_channel,
    },
    transport::{
        self,
        direct::{Directs, dialled_at, handover},
        tls::{Insecure, Tls},
    },
};

#[derive(NetworkBehaviour)]
struct Node {
    /// Reports which protocols a peer supports.
    identify: identify::Behaviour,
    exchange: exchange::Behaviour,
}

/// A node that accepts direct connections if `hands_over`, and does not support them otherwise.
fn swarm(key: Keypair, store: Arc<dyn Blockstore>, hands_over: bool) -> Swarm<Node> {
    let tls = Tls::new(&key).unwrap();
    let (handover, directs) = handover(tls.clone());
    let (config, priors) = (exchange::Config::default(), Arc::new(NoPriors));
    let setup = exchange::Setup { store, config, priors, directs: Some(directs) };
    let identify = identify::Behaviour::new(key.clone(), "test");
    let node = Node { identify, exchange: exchange::Behaviour::set_up(setup) };
    if hands_over {
        let tcp = transport::tcp(&key, tls, handover).unwrap();
        let builder = SwarmBuilder::with_existing_identity(key).with_tokio().with_other_transport(|_| tcp).unwrap();
        return builder.with_behaviour(|_| node).unwrap().build();
    }
    let security = move |_: &Keypair| Ok::<_, Insecure>(tls);
    let builder = SwarmBuilder::with_existing_identity(key).with_tokio();
    let builder = builder.with_tcp(tcp::Config::default().nodelay(true), security, yamux::Config::default).unwrap();
    builder.with_behaviour(|_| node).unwrap().build()
}

/// Runs both until `holds` returns true for an event or the state of the first.
async fn run_until(
    both: &mut [Swarm<Node>; 2],
    mut holds: impl FnMut(Option<&SwarmEvent<NodeEvent>>, &Swarm<Node>) -> bool,
) {
    let running = poll_fn(|cx| {
        let [first, second] = both;
        while second.poll_next_unpin(cx).is_ready() {}
        while let Poll::Ready(Some(event)) = first.poll_next_unpin(cx) {
            if holds(Some(&event), first) {
                return Poll::Ready(());
            }
        }
        if holds(None, first) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap();
}

/// Two connected nodes. The first has dialled, and knows what the other supports.
async fn connected(package: &Package, hands_over: bool) -> ([Swarm<Node>; 2], Multiaddr) {
    connected_as(Keypair::generate_ed25519(), package, hands_over).await
}

async fn connected_as(key: Keypair, package: &Package, hands_over: bool) -> ([Swarm<Node>; 2], Multiaddr) {
    let mut asker = swarm(key, listing(package), true);
    let mut answerer = swarm(Keypair::generate_ed25519(), store(&[package]), hands_over);
    answerer.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = answerer.select_next_some().await {
            break address.with(Protocol::P2p(*answerer.local_peer_id()));
        }
    };
    asker.dial(address.clone()).unwrap();
    let mut both = [asker, answerer];
    run_until(&mut both, |_, asker| connections(asker).supports() == 1).await;
    (both, address)
}

fn connections(node: &Swarm<Node>) -> &Connections {
    node.behaviour().exchange.bulk.connections()
}

/// Fetches all blocks in one session, which ends with this.
async fn fetched(both: &mut [Swarm<Node>; 2], package: &Package) -> Vec<Block> {
    let [asker, answerer] = both;
    let (output, mut events) = session_channel(64 << 20);
    let (peers, exchange) = (vec![*answerer.local_peer_id()], &mut asker.behaviour_mut().exchange);
    let id = exchange.open_session(SessionSpec { output, peers, least_reputation: 0.0 });
    let max_bytes = package.list_bytes;
    exchange.describe(id, ListSource { list: package.list, max_bytes, whole: false, references: Vec::new() });
    let want = |(index, block): (u32, &Block)| {
        let (cid, size) = (*block.cid(), Some(block.data().len() as u64));
        BlockWant { cid, size, place: Some(Place::Listed(index)) }
    };
    exchange.want(id, (0..).zip(&package.blocks).map(want));
    let mut arrived = Vec::new();
    run_until(both, |_, _| {
        while let Some(event) = events.try_recv() {
            match event {
                SessionEvent::Block { block, .. } => arrived.push(block),
                other => panic!("{other:?}"),
            }
        }
        arrived.len() == package.blocks.len()
    })
    .await;
    arrived
}

/// The blocks of two requests arrive in any sequence.
fn assert_same(mut arrived: Vec<Block>, package: &Package) {
    let at = |block: &Block| package.blocks.iter().position(|other| other == block);
    arrived.sort_by_key(at);
    assert_eq!(arrived, package.blocks);
}

#[tokio::test]
async fn a_near_peer_is_asked_on_a_connection_for_that_alone() {
    let package = package(&files(20, 100, "a"));
    let (mut both, _) = connected(&package, true).await;
    both[0].behaviour_mut().exchange.bulk.prepare();
    run_until(&mut both, |_, asker| connections(asker).idle() == [true, true]).await;
    assert_same(fetched(&mut both, &package).await, &package);
    run_until(&mut both, |_, asker| connections(asker).idle() == [true, true]).await;
    let [asker, _] = &both;
    assert_eq!(asker.network_info().num_peers(), 1);
    assert_eq!(asker.network_info().connection_counters().num_established(), 1, "the swarm knows nothing of it");
}

#[tokio::test]
async fn one_that_knows_no_such_connections_is_asked_as_ever() {
    let package = package(&files(20, 100, "a"));
    let (mut both, _) = connected(&package, false).await;
    both[0].behaviour_mut().exchange.bulk.prepare();
    run_until(&mut both, |_, asker| connections(asker).idle() == [false, false]).await;
    assert_same(fetched(&mut both, &package).await, &package);
}

#[tokio::test]
async fn a_stranger_who_asks_on_such_a_connection_is_not_answered() {
    let package = package(&files(1, 1, "a"));
    let (mut both, address) = connected(&package, true).await;
    let (_, Directs { dialer, .. }) = handover(Tls::new(&Keypair::generate_ed25519()).unwrap());
    let (peer, at) = (*both[1].local_peer_id(), dialled_at(&address).unwrap());
    let asking = async {
        let mut stream = dialer.dial(peer, at).await.unwrap();
        stream.read(&mut [0; 1]).await
    };
    let answer = tokio::select! {
        answer = asking => answer,
        () = run_until(&mut both, |_, _| false) => unreachable!("it goes on for ever"),
    };
    assert!(matches!(answer, Ok(0) | Err(_)), "{answer:?}");
}

#[tokio::test]
async fn who_is_disconnected_is_not_answered_on_such_a_connection_either() {
    let (package, key) = (package(&files(1, 1, "a")), Keypair::generate_ed25519());
    let (mut both, address) = connected_as(key.clone(), &package, true).await;
    let (_, Directs { dialer, .. }) = handover(Tls::new(&key).unwrap());
    let (peer, at) = (*both[1].local_peer_id(), dialled_at(&address).unwrap());
    let mut stream = tokio::select! {
        dialled = dialer.dial(peer, at) => dialled.unwrap(),
        () = run_until(&mut both, |_, _| false) => unreachable!("it goes on for ever"),
    };
    both.reverse();
    run_until(&mut both, |_, answerer| connections(answerer).answered() == 1).await;
    both[0].disconnect_peer_id(key.public().to_peer_id()).unwrap();
    let reading = async { stream.read(&mut [0; 1]).await };
    let answer = tokio::select! {
        answer = tokio::time::timeout(Duration::from_secs(10), reading) => answer.expect("long before patience ends"),
        () = run_until(&mut both, |_, _| false) => unreachable!("it goes on for ever"),
    };
    assert!(matches!(answer, Ok(0) | Err(_)), "{answer:?}");
}

#[tokio::test]
async fn somebody_else_at_the_address_is_not_taken_for_the_peer() {
    let (mut both, address) = connected(&package(&files(1, 1, "a")), true).await;
    let (_, Directs { dialer, .. }) = handover(Tls::new(&Keypair::generate_ed25519()).unwrap());
    let (other, at) = (PeerId::random(), dialled_at(&address).unwrap());
    let dialled = tokio::select! {
        dialled = dialer.dial(other, at) => dialled.map(|_| ()),
        () = run_until(&mut both, |_, _| false) => unreachable!("it goes on for ever"),
    };
    assert_eq!(dialled.unwrap_err().to_string(), format!("another peer answers: {}", both[1].local_peer_id()));
}
