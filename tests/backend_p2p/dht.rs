//! Category 9: records stored in the DHT are read from the peers that store them.

use ggen_marketplace::prelude::*;

use crate::support::{Peer, package};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_put_into_the_dht_is_got_from_it_after_the_publisher_has_gone() {
    let hub = Peer::start_deaf(&[]).await;
    let alice = Peer::start_deaf(&[&hub]).await;
    let built = package("kept", "1.0.0", alice.import("kept"));
    let published = alice.publish(built.clone()).await.unwrap();
    assert_eq!(published.announced_to, 0, "nobody follows: only the DHT can tell");
    alice.settle().await.unwrap();
    alice.registry.shutdown().await.unwrap();

    let bob = Peer::start_deaf(&[&hub]).await;
    assert_eq!(bob.knows("kept").await, [] as [&str; 0]);
    assert!(bob.exists(&built.id).await.unwrap());
    let got = bob.get_package(&built.id).await.unwrap();
    assert_eq!(got.metadata, built.metadata);
    assert_eq!(got.publisher.unwrap().to_string(), published.publisher.unwrap());
    assert_eq!(got.release.unwrap().to_string(), published.release.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_put_is_not_there() {
    let hub = Peer::start_deaf(&[]).await;
    let bob = Peer::start_deaf(&[&hub]).await;
    let id = PackageId::new("tests", "never-published");
    assert!(!bob.exists(&id).await.unwrap());
    assert_eq!(bob.get_package(&id).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(bob.list_versions(&id).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_two_publishers_stand_side_by_side() {
    let hub = Peer::start_deaf(&[]).await;
    let alice = Peer::start_deaf(&[&hub]).await;
    let mallory = Peer::start_deaf(&[&hub]).await;
    let id = alice.release("contested", "1.0.0").await.id;
    mallory.release("contested", "6.6.6").await;
    alice.settle().await.unwrap();
    mallory.settle().await.unwrap();
    let bob = Peer::start_deaf(&[&hub]).await;
    assert!(bob.exists(&id).await.unwrap());
    let refused = bob.get_package(&id).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Verification);
    assert_eq!(refused.causes.len(), 2, "both are named: {refused:?}");
}
