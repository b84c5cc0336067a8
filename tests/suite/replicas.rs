//! `publish --min-replicas`: peers that confirm the blocks are counted, not peers that were notified.

use std::{path::Path, time::Duration};

use ggen_marketplace::{ErrorKind, MirrorRequest, MirrorRule};
use tempfile::TempDir;

use crate::support::{
    nodes::{Node, PATIENCE},
    trees::varied_package,
};

async fn mirroring(node: Node) -> Node {
    let rule = MirrorRule { what: "tests/*".parse().unwrap(), versions: None, max_bytes: None };
    node.registry.mirror_add(MirrorRequest { rule }).await.unwrap();
    node
}

fn package(work: &TempDir, version: &str) -> std::path::PathBuf {
    let root = work.path().join(version);
    varied_package(&root, "held", version);
    root
}

async fn publish(
    node: &Node,
    root: &Path,
    replicas: u32,
    patience: Duration,
) -> Result<u64, ggen_marketplace::Failure> {
    node.publish_in(root, Some("tests"), replicas, patience).await.map(|published| published.replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_returns_when_enough_peers_have_all_of_it() {
    let work = TempDir::new().unwrap();
    let meeting_point = Node::start().await;
    let first = mirroring(Node::start_with(&meeting_point.addresses()).await).await;
    let second = mirroring(Node::start_with(&meeting_point.addresses()).await).await;
    let alice = Node::start_with(&meeting_point.addresses()).await;
    for node in [&first, &second, &alice] {
        node.connect(&meeting_point.addresses()).await;
    }
    assert_eq!(publish(&alice, &package(&work, "1.0.0"), 2, PATIENCE).await.unwrap(), 2);
    // Both have it, so alice is no longer needed.
    alice.stop().await;
    for mirror in [first, second] {
        assert_eq!(mirror.holds("tests/held"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_too_few_peers_take_says_how_many_and_stays_published() {
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let bob = Node::start().await;
    bob.connect(&alice.addresses()).await;
    let root = package(&work, "1.0.0");
    let error = publish(&alice, &root, 1, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(error.message.contains("0 of 1 peers"), "{error:?}");
    // Bob has the record and the manifest, but not every block, so it does not count as a replica.
    let fetched = bob.fetch("tests/held", &work.path().join("bob")).await;
    assert_eq!(publish(&alice, &root, 1, PATIENCE).await.unwrap(), 1, "who fetched it has it too");
    let bob = mirroring(bob).await;
    bob.wait_until_mirrored(1).await;
    assert_eq!(publish(&alice, &root, 1, PATIENCE).await.unwrap(), 1);
    let error = publish(&alice, &root, 2, Duration::from_secs(1)).await.unwrap_err();
    assert!(error.message.contains("1 of 2 peers"), "{error:?}");
    assert!(fetched.files > 0);
}
