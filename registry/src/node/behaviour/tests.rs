use futures::StreamExt as _;
use ggen_blockstore::MemoryBlockstore;
use libp2p::{Multiaddr, swarm::SwarmEvent};

use crate::node::{behaviour::*, exchange::NoPriors};

/// Far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn node(idle: Duration) -> Swarm<Behaviour> {
    let config = Config { mdns: false, ..Config::default() };
    let knowledge = Knowledge { store: Arc::new(MemoryBlockstore::new()), priors: Arc::new(NoPriors) };
    idling(Keypair::generate_ed25519(), &config, knowledge, true, &DialPolicy::new(), idle).unwrap()
}

/// Runs another node, which dials `address`, until the test ends.
fn visitor(address: &Multiaddr, topic: Option<&gossipsub::IdentTopic>) -> PeerId {
    let mut swarm = node(IDLE_CONNECTION);
    if let Some(topic) = topic {
        swarm.behaviour_mut().gossip.subscribe(topic).unwrap();
    }
    swarm.dial(address.clone()).unwrap();
    let id = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            swarm.next().await;
        }
    });
    id
}

/// Regression test: the streams of gossip, which live as long as the connection, kept every connection open.
#[tokio::test]
async fn a_connection_that_nothing_uses_is_closed_and_those_of_the_mesh_and_of_kept_peers_stay() {
    let mut alice = node(Duration::from_secs(1));
    let topic = gossipsub::IdentTopic::new("packages");
    alice.behaviour_mut().gossip.subscribe(&topic).unwrap();
    alice.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let watched = async {
        let mut visitors: Option<[PeerId; 3]> = None;
        loop {
            match (alice.next().await.unwrap(), visitors) {
                (SwarmEvent::NewListenAddr { address, .. }, None) => {
                    let [kept, follower] = [None, Some(&topic)].map(|topic| visitor(&address, topic));
                    alice.behaviour_mut().connections.name(kept);
                    visitors = Some([kept, follower, visitor(&address, None)]);
                }
                (SwarmEvent::ConnectionClosed { peer_id, .. }, Some([kept, follower, idle])) => {
                    assert_eq!(peer_id, idle);
                    let was_long_idle = [kept, follower];
                    return was_long_idle.map(|peer| alice.is_connected(&peer));
                }
                _ => {}
            }
        }
    };
    let connected = tokio::time::timeout(PATIENCE, watched).await.expect("an idle connection is closed");
    assert_eq!(connected, [true, true]);
}

/// Regression test: nodes of two networks that met on an IPFS DHT shared one ggen DHT.
#[test]
fn each_topic_has_a_dht_of_packages_of_its_own() {
    let name = |topic: &str| Dht::Ggen.protocol(topic).to_string();
    assert_eq!(name("/ggen/packages/v1"), "/ggen/kad/1.0.0");
    assert_eq!(name("/acme/packages"), "/ggen/kad/1.0.0/f6460d716438d582");
    assert_ne!(name("/acme/packages"), name("/acme/packages2"));
    assert_eq!(Dht::Ipfs.protocol("/acme/packages"), Dht::Ipfs.protocol("/ggen/packages/v1"));
}
