//! The DHT of a local network (`/ipfs/lan/kad/1.0.0`): ggen nodes and stock Kubos find each other's records.

use std::fs;

use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    kubo::{Kubo, Options, Routing, wait_until},
    nodes::Node,
    trees::{assert_same_contents, varied_package},
};

fn lan_kubo() -> Kubo {
    Kubo::start(&Options { routing: Routing::Lan, ..Options::default() })
}

/// Announces `cid` as soon as the DHT has a peer that accepts the record.
fn provide(kubo: &Kubo, cid: &str) {
    wait_until("Kubo announces", || kubo.try_cmd(&["routing", "provide", cid]).status.success());
}

/// ggen nodes must serve the local DHT, so that Kubos that know only ggen nodes find records.
#[tokio::test(flavor = "multi_thread")]
async fn two_kubos_that_know_only_our_node_find_each_other_s_content_and_ours() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "on-the-lan", "1.0.0");
    let hub = Node::start().await;
    let published = hub.publish(&package).await;
    fs::write(package.join("only-at-kubo"), "new").unwrap();
    let (address, hub_id) = (hub.addresses()[0].clone(), hub.peer_id());
    let (tree, out) = (package.clone(), work.path().join("out"));
    let to = out.clone();
    tokio::task::spawn_blocking(move || {
        let (alice, bob) = (lan_kubo(), lan_kubo());
        for kubo in [&alice, &bob] {
            kubo.swarm_connect(&address);
        }
        let cid = alice.add_tree(&tree, &[]);
        provide(&alice, &cid);
        wait_until("Bob finds what Alice provides", || bob.findprovs(&cid).iter().any(|id| id == alice.peer_id()));
        bob.get(&cid, &to);
        wait_until("Bob finds what our node provides", || bob.findprovs(&published.cid).contains(&hub_id));
    })
    .await
    .unwrap();
    assert_same_contents(&package, &out);
}

#[tokio::test(flavor = "multi_thread")]
async fn we_find_at_a_kubo_what_another_of_its_network_provides() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "found-on-the-lan", "1.0.0");
    let tree = package.clone();
    let (alice, bob, cid) = tokio::task::spawn_blocking(move || {
        let (alice, bob) = (lan_kubo(), lan_kubo());
        bob.swarm_connect(alice.tcp_addr());
        let cid = alice.add_tree(&tree, &[]);
        provide(&alice, &cid);
        (alice, bob, cid)
    })
    .await
    .unwrap();
    let carol = Node::start().await;
    carol.connect(&[bob.tcp_addr().to_owned()]).await;
    let fetched = carol.fetch(&cid, &work.path().join("out")).await;
    assert_same_contents(&package, &fetched.path);
    assert_eq!(
        fetched.providers.iter().map(|provider| provider.peer_id.as_str()).collect::<Vec<_>>(),
        [alice.peer_id()]
    );
}
