//! Nodes whose only bootstrap node is a plain IPFS node find each other, and no node of another network.

use ggen_marketplace::{
    Config, ErrorKind, FetchRequest, FetchTo, Fetched, Mode, Progress, Registry, node::rendezvous_cid,
};
use std::{path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    kubo::{Kubo, Options, Routing, wait_until},
    nodes::{Node, until},
    trees::{assert_same, varied_package},
};

const TOPIC: &str = "/ggen/packages/met-by-chance";
const OTHER_TOPIC: &str = "/ggen/packages/next-door";

/// A node of the network `topic` that enters through one Kubo. Its second bootstrap node, which no DNS server resolves,
/// makes it a node of the public network that does not know its own external address: a mere client of the IPFS DHT,
/// which is in no routing table.
async fn behind(kubo: &str, topic: &str) -> Node {
    Node::start_as(entering_by(kubo, topic)).await
}

fn entering_by(kubo: &str, topic: &str) -> Config {
    let nobody = format!("/dns4/nobody.invalid/tcp/4001/p2p/{}", kubo.rsplit('/').next().unwrap());
    Config {
        bootstrap_nodes: vec![kubo.parse().unwrap(), nobody.parse().unwrap()],
        dns_servers: vec!["127.0.0.1:9".parse().unwrap()],
        packages_topic: topic.to_owned(),
        ..Config::default()
    }
}

/// Fetches with a node that runs only for this command and has no known peers.
async fn fetch_in_passing(config: Config, work: &Path) -> Fetched {
    let config = Config { mdns: false, ..config };
    let registry = Registry::open(&work.join("passing"), config, Mode::Ephemeral).await.unwrap();
    let request = FetchRequest {
        target: "tests/met".to_owned(),
        to: FetchTo::Path(work.join("in-passing")),
        timeout: Duration::from_secs(30),
        offline: false,
        providers: Vec::new(),
        min_reputation: None,
    };
    let fetched = registry.fetch(request, Arc::new(|_: Progress| {})).await.unwrap();
    registry.shutdown().await.unwrap();
    fetched
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_only_kubos_publish_and_fetch_by_name() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "met", "1.0.0");
    let (east, west) = tokio::task::spawn_blocking(|| {
        let amino = |bootstrap| Options { routing: Routing::Amino { bootstrap }, ..Options::default() };
        let east = Kubo::start(&amino(Vec::new()));
        let west = Kubo::start(&amino(vec![east.tcp_addr().to_owned()]));
        west.swarm_connect(east.tcp_addr());
        (east, west)
    })
    .await
    .unwrap();
    let alice = behind(east.tcp_addr(), TOPIC).await;
    let published = alice.publish(&package).await;
    let bob = behind(west.tcp_addr(), TOPIC).await;
    let carol = behind(west.tcp_addr(), OTHER_TOPIC).await;

    let names = [alice.peer_id(), bob.peer_id(), carol.peer_id()];
    let kubo = tokio::task::spawn_blocking(move || {
        let [alice, bob, carol] = &names;
        let (ours, theirs) = (rendezvous_cid(TOPIC).to_string(), rendezvous_cid(OTHER_TOPIC).to_string());
        wait_until("the nodes of one network provide one CID", || {
            let found = west.findprovs(&ours);
            found.contains(alice) && found.contains(bob)
        });
        assert!(!west.findprovs(&ours).contains(carol));
        wait_until("another network has another CID", || west.findprovs(&theirs) == [carol.as_str()]);
        (east, west)
    });
    let (_east, west) = kubo.await.unwrap();
    until("bob has met alice", async || bob.knows(&alice).await).await;

    let fetched = bob.fetch("tests/met", &work.path().join("out")).await;
    assert_same(&package, &fetched.path);
    assert_eq!(fetched.publisher, published.publisher);
    assert_eq!(fetched.providers[0].peer_id, alice.peer_id());

    let in_passing = fetch_in_passing(entering_by(west.tcp_addr(), TOPIC), work.path()).await;
    assert_same(&package, &in_passing.path);

    let to = FetchTo::Path(work.path().join("none"));
    let stranger = carol.try_fetch("tests/met", to, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(stranger.kind, ErrorKind::NotFound, "{stranger:?}");
}
