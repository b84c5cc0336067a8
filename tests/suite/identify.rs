//! What ggen nodes and other implementations learn from each other by identify: addresses, protocols, the agent
//! version.

use ggen_marketplace::PeerInfoRequest;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    helia::{Helia, Security},
    kubo::{Kubo, Options, Routing, wait_until},
    nodes::Node,
    trees::{assert_same_contents, varied_package},
};

/// Number of addresses: enough that the first part of Kubo's message exceeds 4 KiB, and few enough that Kubo sends them
/// all.
const ANNOUNCED: u16 = 400;

fn lan_kubo(announce: Vec<String>) -> Kubo {
    Kubo::start(&Options { routing: Routing::Lan, announce, ..Options::default() })
}

/// Identify must succeed for such a Kubo, so that its DHT is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_kubo_with_hundreds_of_addresses_is_identified_and_its_dht_is_used() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "behind-many-addresses", "1.0.0");
    let tree = package.clone();
    let (alice, bob, cid) = tokio::task::spawn_blocking(move || {
        let announce = (0..ANNOUNCED).map(|index| format!("/ip4/8.8.{}.8/tcp/{}", index % 250, 4000 + index));
        let (alice, bob) = (lan_kubo(Vec::new()), lan_kubo(announce.collect()));
        bob.swarm_connect(alice.tcp_addr());
        let cid = alice.add_tree(&tree, &[]);
        wait_until("Kubo announces", || alice.try_cmd(&["routing", "provide", &cid]).status.success());
        (alice, bob, cid)
    })
    .await
    .unwrap();
    let carol = Node::start().await;
    carol.connect(&[bob.tcp_addr().to_owned()]).await;
    let info = PeerInfoRequest { peer: bob.peer_id().to_owned(), full: false };
    let report = carol.registry.peer_info(info).await.unwrap();
    assert_eq!(report.agent.map(|agent| agent.starts_with("kubo/")), Some(true));
    let address = bob.tcp_addr().split("/p2p/").next().unwrap();
    assert!(report.addresses.iter().any(|known| known.starts_with(address)), "{:?}", report.addresses);

    let fetched = carol.fetch(&cid, &work.path().join("out")).await;
    assert_same_contents(&package, &fetched.path);
    assert_eq!(fetched.providers[0].peer_id, alice.peer_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_knows_our_program_protocols_and_addresses() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let alice = Node::start().await;
    let (id, addresses) = (alice.peer_id(), alice.addresses());
    tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        kubo.cmd(&["log", "level", "net/identify", "debug"]);
        kubo.swarm_connect(&addresses[0]);
        wait_until("Kubo identifies us", || kubo.cmd(&["id", &id]).contains("ggen/"));
        let known: Value = serde_json::from_str(&kubo.cmd(&["id", &id])).unwrap();
        let list = |name: &str| known[name].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned());
        assert_eq!(list("Addresses").collect::<Vec<_>>(), addresses);
        for protocol in ["/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/lan/kad/1.0.0"] {
            assert!(list("Protocols").any(|known| known == protocol), "{protocol}: {known}");
        }
        let peers = kubo.cmd(&["swarm", "peers", "--identify", "--enc=json"]);
        assert!(peers.contains("\"AgentVersion\":\"ggen/"), "{peers}");
        let log = kubo.log();
        assert!(log.contains("received identify message"), "the log tells of identify\n{log}");
        assert!(!log.contains("error getting peer record") && !log.contains("failed to consume"), "{log}");
    })
    .await
    .unwrap();
}

/// The message must contain a signed peer record in the form that Helia accepts, which differs from libp2p's default.
#[tokio::test(flavor = "multi_thread")]
async fn helia_accepts_the_record_that_we_have_signed() {
    let alice = Node::start().await;
    let (id, addresses) = (alice.peer_id(), alice.addresses());
    tokio::task::spawn_blocking(move || {
        let mut helia = Helia::start(Security::Noise);
        helia.connect(&addresses[0]);
        let mut signed = None;
        wait_until("Helia identifies us", || {
            signed = helia.signed_addresses(&id);
            signed.is_some()
        });
        let bare: Vec<_> = addresses.iter().map(|address| address.split("/p2p/").next().unwrap().to_owned()).collect();
        assert_eq!(signed.unwrap(), bare);
    })
    .await
    .unwrap();
}
