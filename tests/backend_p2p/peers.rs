//! Category 8: the reputation of peers.

use std::{sync::Arc, time::Duration};

use ggen_marketplace::{PeerInfoRequest, TrustRemoveRequest, prelude::*};

use crate::support::{Liar, PATIENCE, Peer, loopback, package};

/// How long to wait for an event that must not happen.
const SHORT: Duration = Duration::from_secs(2);
/// Files of a package whose blocks, except the root, are all sent with wrong bytes.
const FILES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_which_nothing_is_known_is_trusted() {
    let alice = Peer::start(&[]).await;
    assert_eq!(alice.get_peer_reputation(&PeerId::random()).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_serves_well_keeps_its_reputation_and_one_that_lies_loses_it() {
    let out = tempfile::tempdir().unwrap();
    let alice = Peer::start(&[]).await;
    let mallory = Peer::quiet(loopback(&[])).await;
    let store = Liar::new(mallory.store.clone());
    let builder = P2PRegistry::builder(loopback(&alice.listen_addresses().unwrap())).patience(*PATIENCE);
    let mallory = Peer { registry: builder.store(Arc::new(store.clone())).build().await.unwrap(), ..mallory };
    mallory.enter().await;
    let bob = Peer::start(&[&alice, &mallory]).await;

    alice.release("good", "1.0.0").await;
    bob.fetch("tests/good", &out.path().join("good")).await.unwrap();
    assert_eq!(bob.get_peer_reputation(&alice.peer_id()).await, 1.0);

    // Mallory's package is in the same namespace, which bob would otherwise look up under alice only.
    let request = TrustRemoveRequest { namespace: "tests".to_owned() };
    bob.registry().trust_remove(request).await.unwrap();
    let content = mallory.import_many(FILES);
    mallory.publish(package("poisoned", "1.0.0", content.clone())).await.unwrap();
    store.lie_about(content.cid().unwrap());
    let poisoned = out.path().join("poisoned");
    bob.fetch_within("tests/poisoned", &poisoned, SHORT).await.unwrap_err();
    assert!(!poisoned.exists(), "nothing of it was written");
    let reputation = async || bob.get_peer_reputation(&mallory.peer_id()).await;
    bob.eventually("the reputation of a liar falls", async || reputation().await < 0.5).await;
    assert_eq!(bob.get_peer_reputation(&alice.peer_id()).await, 1.0, "she has not lied");

    let history = async || {
        let request = PeerInfoRequest { peer: mallory.peer_id().to_string(), full: true };
        bob.registry().peer_info(request).await.unwrap().history.unwrap().len()
    };
    let so_far = history().await;
    let refused = bob.fetch_from("tests/poisoned", &poisoned, SHORT, Some(0.5)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::TimedOut, "{refused:?}");
    assert!(refused.hint.as_ref().is_some_and(|hint| hint.to_string().contains("`min_reputation`")), "{refused:?}");
    assert_eq!(history().await, so_far, "she was not asked, and did nothing");

    // The same content, now also from an honest peer.
    let honest = package("healed", "1.0.0", alice.import_many(FILES));
    alice.publish(honest).await.unwrap();
    bob.fetch("tests/poisoned", &poisoned).await.unwrap();
    assert!(reputation().await < 0.5);
}
