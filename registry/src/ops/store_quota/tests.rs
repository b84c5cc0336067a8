//! Stores with a limit.

use std::sync::atomic::{AtomicU64, Ordering};

use ggen_blockstore::{MemoryBlockstore, Pin, parse_cid};

use super::*;
use crate::{
    ErrorKind, GcRequest, PublishContentRequest,
    ops::loopback::{Call, PATIENCE, Watched, connect, fetch_request, publish, silent, start, try_publish},
    place::Place,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_that_found_nothing_but_pins_is_tried_again_when_something_has_changed() {
    let listed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&listed);
    let store = Arc::new(Watched::new(MemoryBlockstore::new(), move |_, call| {
        count.fetch_add(u64::from(call == Call::Cids), Ordering::Relaxed);
    }));
    let unlimited = start(Place::memory().with_store(store.clone()), 0).await;
    publish(&unlimited, "large", "1.0.0", 4, 20_000).await;
    unlimited.shutdown().await.unwrap();
    let alice = start(Place::memory().with_store(store.clone()), 10_000).await;
    alice.gc(GcRequest::default()).await.unwrap();
    let lists = async || {
        let before = listed.load(Ordering::Relaxed);
        alice.services().store_quota().tidy().await;
        listed.load(Ordering::Relaxed) - before
    };
    lists().await;
    assert_eq!(lists().await, 0, "everything is pinned, as it was before");
    let cache = ggen_blockstore::Block::raw(vec![7; 3000]).unwrap();
    store.put(&cache).unwrap();
    assert!(lists().await > 0, "a block is new");
    assert!(!store.has(cache.cid()).unwrap(), "and goes");
    lists().await;
    assert_eq!(lists().await, 0);
    let pin = store.pins().into_iter().find(|pin| pin.label.starts_with("release/")).unwrap();
    store.unpin(&pin.label, &pin.cid).unwrap();
    assert!(lists().await > 0, "a pin has gone");
    assert!(store.stats().stored_bytes <= 10_000, "{:?}", store.stats());
    alice.shutdown().await.unwrap();
}

/// Returns a registry with room for `room` bytes, connected to `from`, which has refused to fetch `target`.
async fn refuses(target: &str, from: &crate::Registry, room: u64) -> crate::Registry {
    let registry = start(Place::memory(), room).await;
    connect(&registry, from).await;
    let to = tempfile::tempdir().unwrap();
    let request =
        crate::FetchRequest { to: crate::FetchTo::Path(to.path().join("out")), ..fetch_request(target, false) };
    let refused = registry.fetch(request, silent()).await.unwrap_err();
    assert!(refused.message.contains("limits.store_bytes"), "{refused:?}");
    registry
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_fit_is_refused_however_it_is_asked_for() {
    let alice = start(Place::memory(), 0).await;
    let content = publish(&alice, "large", "1.0.0", 40, 20_000).await.cid;
    let bob = refuses(&content, &alice, 300_000).await;
    let request = PublishContentRequest {
        content: parse_cid(&content).unwrap(),
        package: "tests/mine".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        timeout: PATIENCE,
        executables: Vec::new(),
        metadata: crate::package::Metadata::default(),
        dependencies: Vec::new(),
        key: None,
        trust_clock: false,
        allow_secrets: false,
    };
    let refused = bob.publish_content(request, silent()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Failed, "{refused:?}");
    assert!(refused.causes.iter().any(|cause| cause.contains("limits.store_bytes")), "{refused:?}");
    assert!(bob.services().storage.store.stats().stored_bytes < 400_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_package_does_not_come_with_its_manifest_where_there_is_no_room_for_it() {
    let alice = start(Place::memory(), 0).await;
    let release = publish(&alice, "small", "1.0.0", 4, 10_000).await.release.unwrap();
    let bob = refuses(&release, &alice, 20_000).await;
    assert!(bob.services().storage.store.stats().stored_bytes < 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_dag_with_a_gap_hinders_an_eviction_and_no_fetch_that_fits() {
    let alice = start(Place::memory(), 0).await;
    let bob = start(Place::memory(), 300_000).await;
    connect(&bob, &alice).await;
    let gap = ggen_blockstore::Block::dag_pb(ggen_blockstore::PbNode::default().encode()).unwrap();
    let pin = Pin { label: "user".to_owned(), cid: *gap.cid(), mode: PinMode::Recursive };
    bob.services().storage.store.pin(pin).unwrap();
    let to = tempfile::tempdir().unwrap();
    let request = |name: &str, content: &str| crate::FetchRequest {
        to: crate::FetchTo::Path(to.path().join(name)),
        ..fetch_request(content, false)
    };
    // The size of a bare CID's DAG is unknown, so the fetch requests more room than there is.
    for name in ["one", "two"] {
        let content = publish(&alice, name, "1.0.0", 4, 20_000).await.cid;
        bob.fetch(request(name, &content), silent()).await.unwrap();
    }
    let large = publish(&alice, "large", "1.0.0", 40, 20_000).await.cid;
    let refused = bob.fetch(request("large", &large), silent()).await.unwrap_err();
    assert!(
        refused.hint.as_ref().is_some_and(|hint| hint.to_string().contains("`verify` with the setting `repair`")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_gives_way_to_a_publish_and_what_does_not_fit_is_refused_without_a_loss() {
    let limit = 500_000;
    let alice = start(Place::memory(), limit).await;
    let stored = || alice.services().storage.store.stats().stored_bytes;
    let cached = tempfile::tempdir().unwrap();
    for index in 0..15 {
        std::fs::write(cached.path().join(index.to_string()), format!("{index:02}").repeat(10_000)).unwrap();
    }
    alice.import(cached.path(), silent()).await.unwrap();
    assert!(stored() > 300_000);
    publish(&alice, "mine", "1.0.0", 12, 20_000).await;
    assert!(stored() <= limit, "{}", stored());

    let (pins, before) = (alice.pin_ls(), stored());
    let refused = try_publish(&alice, "large", "1.0.0", 20, 20_000).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Failed);
    assert!(refused.message.contains("limits.store_bytes") && refused.hint.is_some(), "{refused:?}");
    assert_eq!(alice.pin_ls(), pins, "nothing is lost, and nothing of it stays");
    assert!(stored() <= before.max(limit), "{}", stored());
    // A package that fits is published after the refused one, and publishing the same again needs no room.
    publish(&alice, "small", "1.0.0", 1, 100).await;
    assert!(publish(&alice, "mine", "1.0.0", 12, 20_000).await.unchanged);
    let report = alice.verify(crate::VerifyRequest { target: None, repair: false, timeout: PATIENCE }, silent()).await;
    assert_eq!(report.unwrap().bad, []);
}
