//! The TCP ports that nodes listen on.

use ggen_marketplace::{Config, Mode, Registry};
use tempfile::TempDir;

use crate::support::nodes::Node;

fn port(node: &Node) -> String {
    let address = node.addresses()[0].clone();
    let (listening, _) = address.split_once("/p2p/").expect("it ends with the peer id");
    listening.to_owned()
}

async fn open(home: &TempDir, address: &str) -> Result<Registry, String> {
    let listen_addresses = vec![address.parse().unwrap()];
    let config = Config { listen_addresses, mdns: false, ..Config::default() };
    Registry::open(home.path(), config, Mode::Daemon).await.map_err(|failure| format!("{failure:?}"))
}

/// Otherwise both would listen, and peers would reach either of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_node_of_ours_listens_on_is_an_error() {
    let (alice, home) = (Node::start().await, TempDir::new().unwrap());
    let address = port(&alice);
    let Err(refused) = open(&home, &address).await else { panic!("two nodes share {address}") };
    assert!(refused.contains("in use") && refused.contains(&address), "{refused}");
    alice.registry.shutdown().await.unwrap();
    open(&home, &address).await.unwrap().shutdown().await.unwrap();
}

/// Connections of the stopped node are still closing at that time.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_listens_again_on_the_port_where_it_had_peers_a_moment_ago() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    bob.connect(&alice.addresses()).await;
    let address = port(&alice);
    alice.registry.shutdown().await.unwrap();
    open(&TempDir::new().unwrap(), &address).await.unwrap().shutdown().await.unwrap();
}
