//! Category 7, republishing; 11, versions.

use ggen_marketplace::prelude::*;

use crate::support::{Peer, package};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_twice_is_there_once() {
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    alice.wait_for_followers(1).await;
    let once = package("once", "1.0.0", alice.import("once"));
    let first = alice.publish(once.clone()).await.unwrap();
    assert!(!first.unchanged);
    assert!(first.recovery.is_some_and(|recovery| recovery.is_new), "the first publish makes it");
    let again = alice.publish(once.clone()).await.unwrap();
    assert!(again.unchanged);
    assert_eq!((again.release, again.cid), (first.release, first.cid));
    bob.wait_for(&once).await;
    assert_eq!(bob.knows("once").await, ["tests/once@1.0.0"]);
    assert_eq!(bob.list_versions(&once.id).await.unwrap().len(), 1);
    assert_eq!(alice.metadata().await.unwrap().packages_published, 1);

    let other = package("once", "1.0.0", alice.import("something else"));
    let refused = alice.publish(other).await.unwrap_err();
    assert!(refused.message.contains("already published with other content"), "{refused}");
    let got = bob.get_package(&once.id).await.unwrap();
    assert_eq!(got.content_id.cid().unwrap(), once.content_id.cid().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_announced_found_and_fetched_and_the_old_ones_stay() {
    let out = tempfile::tempdir().unwrap();
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    alice.wait_for_followers(1).await;
    let first = alice.release("growing", "1.0.0").await;
    bob.wait_for(&first).await;
    bob.fetch("tests/growing", &out.path().join("first")).await.unwrap();
    let second = alice.release("growing", "1.1.0").await;
    alice.release("growing", "2.0.0-beta.1").await;
    bob.wait_for(&second).await;

    let newest = bob.get_package(&second.id).await.unwrap();
    assert_eq!(newest.version, Version::new(1, 1, 0), "a pre-release is not the newest");
    let versions = bob.list_versions(&second.id).await.unwrap();
    let texts: Vec<_> = versions.iter().map(|package| package.version.to_string()).collect();
    assert_eq!(texts, ["1.0.0", "1.1.0", "2.0.0-beta.1"]);
    assert_eq!(versions[0].metadata, first.metadata);
    let old = bob.get_package_version(&first.id, &first.version).await.unwrap();
    assert_eq!(old.content_id.cid().unwrap(), first.content_id.cid().unwrap());
    let beta = "2.0.0-beta.1".parse().unwrap();
    assert_eq!(bob.get_package_version(&first.id, &beta).await.unwrap().version, beta);
    let absent = bob.get_package_version(&first.id, &Version::new(3, 0, 0)).await.unwrap_err();
    assert_eq!(absent.kind, ErrorKind::NotFound);
    let fetched = bob.fetch("tests/growing", &out.path().join("second")).await.unwrap();
    assert_eq!(fetched.version.as_deref(), Some("1.1.0"));
    assert!(fetched.blocks_reused > 0, "what both versions have travels once: {fetched:?}");

    // A maintenance release needs no permission, and does not change which version is the newest.
    let lower = package("growing", "0.9.0", alice.import("lower"));
    assert!(!alice.publish(lower.clone()).await.unwrap().unchanged);
    assert_eq!(bob.get_package_version(&lower.id, &lower.version).await.unwrap().version, lower.version);
    assert_eq!(bob.get_package(&lower.id).await.unwrap().version, second.version);
    let build = package("growing", "1.1.0+again", alice.import("again"));
    let refused = alice.publish(build).await.unwrap_err();
    assert!(refused.message.contains("1.1.0+again"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_is_yanking() {
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    let first = alice.release("regretted", "1.0.0").await;
    let second = alice.release("regretted", "1.0.1").await;
    assert_eq!(bob.get_package(&first.id).await.unwrap().version, second.version);
    let yanked = alice.delete(&second.id, &second.version).await.unwrap();
    assert!(yanked.yanked && !yanked.unchanged);
    assert!(alice.delete(&second.id, &second.version).await.unwrap().unchanged);
    assert_eq!(bob.get_package(&first.id).await.unwrap().version, first.version);
    let named = bob.get_package_version(&second.id, &second.version).await.unwrap();
    assert!(named.yanked, "who names it exactly still gets it");
    let others = bob.delete(&first.id, &first.version).await.unwrap_err();
    assert_eq!(others.kind, ErrorKind::NotFound, "only its publisher can: {others}");
}
