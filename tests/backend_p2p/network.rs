//! Category 1, network initialisation; 2, discovery of peers by the DHT; 6, discovery among many.

use std::collections::BTreeSet;

use futures::future::join_all;
use ggen_marketplace::{KeyPair, prelude::*};

use crate::support::{Peer, loopback};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_needs_nothing_but_a_configuration_and_listens_when_it_is_told_to() {
    let alice = P2PRegistry::new(loopback(&[])).await.unwrap();
    assert_eq!(alice.listen_addresses().unwrap(), []);
    let before = alice.metadata().await.unwrap();
    assert_eq!((before.backend.as_str(), before.peer_id), ("p2p", alice.peer_id()));
    assert_eq!((before.connected_peers, before.packages_known), (0, 0));
    assert_eq!(before.packages_topic, "/ggen/packages/v1");

    let listening = alice.start_listening().await.unwrap();
    assert!(listening[0].to_string().starts_with("/ip4/127.0.0.1/tcp/"), "{listening:?}");
    assert!(listening[0].to_string().ends_with(&alice.peer_id().to_string()), "{listening:?}");
    assert_eq!(alice.start_listening().await.unwrap(), listening, "twice is as once");

    let bob = P2PRegistry::new(loopback(&listening)).await.unwrap();
    assert_ne!(bob.peer_id(), alice.peer_id(), "each has a key of its own");
    let report = bob.bootstrap().await.unwrap();
    assert_eq!(report.connected, [alice.peer_id().to_string()]);
    assert_eq!(report.routing_table_peers, 1);
    assert_eq!(alice.metadata().await.unwrap().connected_peers, 1);
    bob.shutdown().await.unwrap();
    alice.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let unnamed = P2PConfig { packages_topic: String::new(), ..loopback(&[]) };
    let refused = P2PRegistry::new(unnamed).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage);
    assert!(refused.message.contains("packages_topic"), "{refused}");

    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("/ip4/127.0.0.1/tcp/{}", holder.local_addr().unwrap().port());
    let config = P2PConfig { listen_addresses: vec![taken.parse().unwrap()], ..Default::default() };
    let refused = P2PRegistry::new(config).await.unwrap().start_listening().await.unwrap_err();
    assert!(refused.message.contains(&taken), "{refused}");

    // Either all of the addresses, or none.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let both = [format!("/ip4/127.0.0.1/tcp/{}", free.port()), taken.clone()];
    let listen_addresses = both.iter().map(|address| address.parse().unwrap()).collect();
    let alice = P2PRegistry::new(P2PConfig { listen_addresses, ..Default::default() }).await.unwrap();
    let refused = alice.start_listening().await.unwrap_err();
    assert!(refused.message.contains(&taken) && !refused.message.contains(&both[0]), "{refused}");
    assert_eq!(alice.listen_addresses().unwrap(), []);
    assert_eq!(alice.registry().status().await.unwrap().listen_addresses, [] as [String; 0]);
    std::net::TcpStream::connect(free).unwrap_err();

    drop(holder);
    let nobody: Multiaddr = format!("{taken}/p2p/{}", PeerId::random()).parse().unwrap();
    let refused = P2PRegistry::new(loopback(&[nobody])).await.unwrap().bootstrap().await.unwrap_err();
    assert!(refused.message.contains("none of the bootstrap nodes"), "{refused}");
    assert!(refused.causes[0].contains(&taken), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_and_a_key_make_the_same_peer_again() {
    let home = tempfile::tempdir().unwrap();
    let in_home = async || P2PRegistry::builder(loopback(&[])).home(home.path()).build().await.unwrap();
    let first = in_home().await;
    let peer = first.peer_id();
    first.shutdown().await.unwrap();
    assert_eq!(in_home().await.peer_id(), peer);
    let key = KeyPair::from_seed(&[3; 32]);
    let brought = P2PRegistry::builder(loopback(&[])).key(key.clone()).build().await.unwrap();
    assert_eq!(brought.peer_id().to_string(), key.public().peer_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn test_discover_peers_via_dht() {
    let hub = Peer::start(&[]).await;
    let alice = Peer::start(&[&hub]).await;
    let bob = Peer::start(&[&hub]).await;
    // Alice and Bob are connected only to the hub, and no other peer exists.
    bob.wait_for_peers(2).await;
    alice.wait_for_peers(2).await;
    let carol = Peer::start(&[&bob]).await;
    carol.wait_for_peers(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_peers_find_each_other_and_all_of_their_packages() {
    let hub = Peer::start_deaf(&[]).await;
    let peers = join_all((0..6).map(async |_| Peer::start_deaf(&[&hub]).await)).await;
    join_all(peers.iter().map(|peer| peer.wait_for_peers(peers.len()))).await;
    let names = (0..peers.len()).map(|number| format!("of-peer-{number}")).collect::<Vec<_>>();
    join_all(peers.iter().zip(&names).map(|(peer, name)| peer.release(name, "1.0.0"))).await;
    join_all(peers.iter().map(|peer| peer.settle())).await;
    for peer in &peers {
        let found = join_all(names.iter().map(async |name| {
            let found = peer.get_package(&PackageId::new("tests", name)).await.unwrap();
            assert_eq!(found.metadata.title, Some(format!("Title of {name}")));
            found.publisher.unwrap()
        }));
        let publishers: BTreeSet<_> = found.await.into_iter().collect();
        assert_eq!(publishers.len(), peers.len(), "each package has a publisher of its own");
    }
}
