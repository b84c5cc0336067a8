//! Networks with more nodes than one node has room for, and peers that hold connections.

use std::path::{Path, PathBuf};

use ggen_marketplace::{BootstrapRequest, Config, Limits};
use tempfile::TempDir;

use crate::support::{
    nodes::{Node, PATIENCE, until},
    trees::{assert_same, noise},
};

/// Nodes of the network, all of which enter by the first one.
const NODES: usize = 14;
/// Connections that each of them has room for.
const ROOM: u32 = 8;

fn package(work: &Path, name: &str) -> PathBuf {
    let root = work.join(name);
    std::fs::create_dir_all(&root).unwrap();
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"a test package\"\n");
    std::fs::write(root.join("gpack.toml"), gpack).unwrap();
    std::fs::write(root.join("data"), noise(50_000, name)).unwrap();
    root
}

/// A node with room for so many connections, which enters the network through `entry`.
async fn node(connections: u32, entry: Option<&Node>) -> Node {
    let bootstrap_nodes = entry.iter().map(|node| node.addresses()[0].parse().unwrap()).collect();
    let limits = Limits { connections, ..Limits::default() };
    Node::start_as(Config { bootstrap_nodes, limits, ..Config::default() }).await
}

async fn connected(node: &Node) -> usize {
    node.registry.status().await.unwrap().connected_peers
}

/// Regression test: of 36 nodes with room for 16 connections, 23 never had a peer, and a latecomer found none.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_network_with_more_nodes_than_one_has_room_for_none_is_alone_and_all_fetch_a_latecomer_too() {
    let work = TempDir::new().unwrap();
    let mut nodes = vec![node(ROOM, None).await];
    for _ in 1..NODES {
        let next = node(ROOM, Some(&nodes[0])).await;
        nodes.push(next);
    }
    let root = package(work.path(), "crowded");
    let fetched_by = async |node: &Node, out: String| {
        until("each node has peers", async || connected(node).await >= 2).await;
        let fetched = node.fetch("tests/crowded", &work.path().join(out)).await;
        assert_same(&root, &fetched.path);
        // A quarter more are being told that the node is full.
        assert!(connected(node).await <= (ROOM + ROOM / 4) as usize);
    };
    until("the publisher has peers", async || connected(&nodes[NODES - 1]).await >= 2).await;
    nodes[NODES - 1].publish(&root).await;
    for (index, node) in nodes.iter().take(NODES - 1).enumerate() {
        fetched_by(node, format!("out-{index}")).await;
    }
    let late = node(ROOM, Some(&nodes[0])).await;
    fetched_by(&late, "out-late".to_owned()).await;
}

/// Regression test: 192 connections that did nothing kept every newcomer out.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_in_and_fetches_while_others_hold_every_connection() {
    let work = TempDir::new().unwrap();
    let alice = node(ROOM, None).await;
    let root = package(work.path(), "held");
    alice.publish(&root).await;
    // Without listeners and bootstrap nodes they stay where they are.
    let mut holders = Vec::new();
    for _ in 0..ROOM {
        let holder = Node::start_silent().await;
        holder.connect(&alice.addresses()).await;
        holders.push(holder);
    }
    let newcomer = Node::start_silent().await;
    newcomer.connect(&alice.addresses()).await;
    let fetched = newcomer.fetch("tests/held", &work.path().join("out")).await;
    assert_same(&root, &fetched.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_full_says_so() {
    let (alice, bob) = (node(1, None).await, Node::start().await);
    // Alice keeps the connection that she made herself.
    alice.connect(&bob.addresses()).await;
    let carol = Node::start_silent().await;
    let request = || BootstrapRequest { nodes: alice.addresses()[..1].to_vec(), timeout: PATIENCE };
    let report = carol.registry.bootstrap(request()).await.unwrap();
    assert_eq!(report.connected, Vec::<String>::new());
    assert_eq!(report.failed[0].reason, "the node is full: it has no room for another connection");
    assert!(report.failed[0].hint.as_ref().unwrap().to_string().contains("try again later"), "{report:?}");
    assert!(alice.knows(&bob).await);
}
