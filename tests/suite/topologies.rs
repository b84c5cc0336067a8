//! The topologies of `examples/topologies`, from their own configuration files: which node leaves, and which nodes then
//! serve.

use std::path::{Path, PathBuf};

use ggen_marketplace::Config;
use tempfile::TempDir;

use crate::support::{
    nodes::Node,
    trees::{assert_same, noise},
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies").join(name)
}

/// The configuration of an example.
fn example(name: &str) -> Config {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let config: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    config.validate().unwrap();
    assert!(!config.bootstrap_nodes.is_empty(), "{name} names the nodes to enter by");
    config
}

/// A node with an example's configuration, in which the addresses are replaced by those of nodes in this test.
async fn node(name: &str, known: &[&Node]) -> Node {
    let bootstrap_nodes = known.iter().map(|node| node.addresses()[0].parse().unwrap()).collect();
    // Rendezvous is for nodes that know no ggen node, and uses public IPFS nodes.
    let node = Node::start_as(Config { bootstrap_nodes, ..example(name) }).await;
    for other in known {
        node.connect(&other.addresses()).await;
    }
    node
}

fn package(work: &TempDir, name: &str) -> PathBuf {
    let root = work.path().join(name);
    std::fs::create_dir_all(&root).unwrap();
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"a test package\"\n");
    std::fs::write(root.join("gpack.toml"), gpack).unwrap();
    std::fs::write(root.join("data"), noise(50_000, name)).unwrap();
    root
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_mesh_any_node_may_leave_the_publisher_among_them() {
    let work = TempDir::new().unwrap();
    let one = node("mesh/node.toml", &[]).await;
    let two = node("mesh/node.toml", &[&one]).await;
    let three = node("mesh/node.toml", &[&one, &two]).await;
    let root = package(&work, "meshed");
    one.publish_as(&root, "team").await;
    two.fetch("team/meshed", &work.path().join("two")).await;
    two.pin("team/meshed").await;
    one.stop().await;
    let fetched = three.fetch("team/meshed", &work.path().join("three")).await;
    assert_same(&root, &fetched.path);
    let late = node("mesh/node.toml", &[&three]).await;
    assert_same(&root, &late.fetch("team/meshed", &work.path().join("late")).await.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn spokes_are_served_by_the_other_hub_when_one_hub_and_the_publisher_have_left() {
    let work = TempDir::new().unwrap();
    let hub = node("hub-and-spoke/hub.toml", &[]).await;
    let second = node("hub-and-spoke/hub.toml", &[&hub]).await;
    let laptop = node("hub-and-spoke/spoke.toml", &[&hub, &second]).await;
    let root = package(&work, "spoken");
    // The request names no namespace, so the team's namespace in the file applies.
    let published = laptop.publish_in(&root, None, 0, crate::support::nodes::PATIENCE).await.unwrap();
    assert_eq!(published.package, "team/spoken");
    hub.wait_until_mirrored(1).await;
    second.wait_until_mirrored(1).await;
    laptop.stop().await;
    hub.stop().await;
    let spoke = node("hub-and-spoke/spoke.toml", &[&second]).await;
    let fetched = spoke.fetch("team/spoken", &work.path().join("spoke")).await;
    assert_same(&root, &fetched.path);
    assert_eq!(fetched.publisher, published.publisher);
    assert_eq!(fetched.providers[0].peer_id, second.peer_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_hybrid_the_mesh_still_serves_when_the_hub_has_left_and_the_hub_when_the_publisher_has() {
    let work = TempDir::new().unwrap();
    let hub = node("hybrid/hub.toml", &[]).await;
    let one = node("hybrid/node.toml", &[&hub]).await;
    let two = node("hybrid/node.toml", &[&hub, &one]).await;
    let publisher = node("hybrid/node.toml", &[&hub, &one]).await;
    let (kept, foreign) = (package(&work, "kept"), package(&work, "foreign"));
    publisher.publish_as(&kept, "team").await;
    publisher.publish_as(&foreign, "others").await;
    hub.wait_until_mirrored(1).await;
    assert_eq!(hub.holds("others/foreign"), 0, "no rule of the hub is about it");
    publisher.stop().await;
    assert_same(&kept, &one.fetch("team/kept", &work.path().join("one")).await.path);
    one.pin("team/kept").await;
    hub.stop().await;
    let fetched = two.fetch("team/kept", &work.path().join("two")).await;
    assert_same(&kept, &fetched.path);
    assert_eq!(fetched.providers[0].peer_id, one.peer_id());
}
