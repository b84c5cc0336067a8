//! Garbage collection concurrently with other operations.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ggen_marketplace::{GcRequest, MirrorRequest, MirrorRule, VerifyRequest};
use tempfile::TempDir;

use crate::support::{
    nodes::{Node, PATIENCE},
    trees::{assert_same, varied_package},
};

#[tokio::test(flavor = "multi_thread")]
async fn publishes_fetches_and_mirrors_go_on_while_garbage_is_collected_without_a_pause() {
    let work = TempDir::new().unwrap();
    let (alice, bob, mirror) = (Node::start().await, Node::start().await, Node::start().await);
    bob.connect(&alice.addresses()).await;
    mirror.connect(&alice.addresses()).await;
    let rule = MirrorRule { what: "tests/*".parse().unwrap(), versions: Some(2), max_bytes: None };
    mirror.registry.mirror_add(MirrorRequest { rule }).await.unwrap();
    let (done, removed) = (AtomicBool::new(false), AtomicU64::new(0));
    let collect = |node: &Node| {
        let registry = node.registry.clone();
        let (done, removed) = (&done, &removed);
        async move {
            while !done.load(Ordering::Acquire) {
                let report = registry.gc(GcRequest::default()).await.unwrap();
                removed.fetch_add(report.removed_blocks, Ordering::Relaxed);
            }
        }
    };
    let traffic = async {
        for round in 0..6 {
            let version = format!("1.{round}.0");
            let package = work.path().join(&version);
            varied_package(&package, "busy", &version);
            let published = alice.publish(&package).await;
            let release = published.release.expect("a publish makes a release");
            let fetched = bob.fetch(&release, &work.path().join(format!("{version}-release"))).await;
            assert_same(&package, &fetched.path);
            bob.fetch(&published.cid, &work.path().join(format!("{version}-content"))).await;
        }
        mirror.wait_until(|| async { mirror.holds("tests/busy") == 2 }).await;
        done.store(true, Ordering::Release);
    };
    tokio::join!(traffic, collect(&alice), collect(&bob), collect(&mirror));
    assert!(removed.load(Ordering::Relaxed) > 0, "there was nothing to collect: this proves nothing");
    for node in [&alice, &bob, &mirror] {
        let request = VerifyRequest { target: None, repair: false, timeout: PATIENCE };
        assert_eq!(node.registry.verify(request, std::sync::Arc::new(|_| {})).await.unwrap().bad, []);
    }
    let fetched = alice.fetch("tests/busy@=1.0.0", &work.path().join("first")).await;
    assert_same(&work.path().join("1.0.0"), &fetched.path);
}
