//! IPNS with ggen nodes as the only servers of the IPFS DHT: one Kubo publishes a name, and another resolves it.

use crate::support::{
    kubo::{Kubo, Options, Routing, wait_until},
    nodes::Node,
};

const FIRST: &str = "/ipfs/bafkqablgnfzhg5a";
const SECOND: &str = "/ipfs/bafkqabttmvrw63te";

/// Publishes under a key of this Kubo, and returns the name.
fn publish(kubo: &Kubo, key: &str, path: &str) -> String {
    kubo.cmd(&["name", "publish", "--quieter", "--key", key, path])
}

fn resolve(kubo: &Kubo, name: &str) -> String {
    kubo.cmd(&["name", "resolve", "--nocache", name])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_one_kubo_publishes_resolves_on_another_that_it_never_met() {
    let hub = Node::start().await;
    let other = Node::start_with(&hub.addresses()).await;
    other.connect(&hub.addresses()).await;
    let bootstrap: Vec<String> = [&hub, &other].iter().flat_map(|node| node.addresses()).collect();
    let kubos = tokio::task::spawn_blocking(move || {
        let options = || {
            let routing = Routing::AminoClient { bootstrap: bootstrap.clone() };
            Kubo::start(&Options { routing, ..Options::default() })
        };
        let (alice, bob) = (options(), options());
        wait_until("both know the servers", || [&alice, &bob].iter().all(|kubo| kubo.swarm_peers().len() >= 2));
        alice.cmd(&["key", "gen", "--type=rsa", "--size=2048", "long"]);
        for key in ["self", "long"] {
            let name = publish(&alice, key, FIRST);
            assert_eq!(resolve(&bob, &name), FIRST, "{key}");
            assert_eq!(publish(&alice, key, SECOND), name);
            assert_eq!(resolve(&bob, &name), SECOND, "{key}: the higher sequence takes the place of the first");
        }
        let never = bob.cmd(&["key", "gen", "never-published"]);
        let missing = bob.try_cmd(&["name", "resolve", "--nocache", "--dht-timeout=5s", &never]);
        assert!(!missing.status.success());
        assert!(!alice.swarm_peers().contains(&bob.peer_id().to_owned()), "they have met");
    });
    kubos.await.unwrap();
    other.stop().await;
    hub.stop().await;
}
