//! A pinned target is kept, and the same target removes the pin.

use super::*;
use crate::{
    FetchTo, GcRequest, Registry,
    ops::loopback::{PATIENCE, connect, fetch_request, pair, publish, silent, start},
    place::Place,
};

async fn add(registry: &Registry, target: &str) -> Vec<PinReport> {
    let request = PinRequest { target: target.to_owned(), timeout: PATIENCE, offline: false };
    registry.pin_add(request, silent()).await.unwrap()
}

async fn rm(registry: &Registry, target: &str) -> Result<Vec<PinReport>, Failure> {
    registry.pin_rm(PinRequest { target: target.to_owned(), timeout: PATIENCE, offline: true }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pinned_by_name_is_found_by_name_offline_after_a_collection() {
    let (alice, bob) = pair().await;
    // The catalog tree contains more than the package.
    for index in 0..20 {
        publish(&alice, &format!("other-{index}"), "1.0.0", 1, 100).await;
    }
    publish(&alice, "kept", "1.2.0", 3, 1000).await;
    let pinned = add(&bob, "tests/kept@^1").await;
    assert!(pinned.len() > 1, "release and proof: {pinned:?}");
    alice.shutdown().await.unwrap();
    bob.gc(GcRequest::default()).await.unwrap();
    let to = tempfile::tempdir().unwrap();
    let request = FetchRequest { to: FetchTo::Path(to.path().join("kept")), ..fetch_request("tests/kept", true) };
    bob.fetch(request, silent()).await.unwrap();
    assert_eq!(rm(&bob, "tests/kept@^2").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(rm(&bob, "tests/kept@^1").await.unwrap().len(), pinned.len());
    assert_eq!(bob.pin_ls(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_that_pinned_something_take_it_away() {
    let (alice, bob) = pair().await;
    let carol = start(Place::memory(), 0).await;
    connect(&bob, &carol).await;
    let mut names = Vec::new();
    let mut published = Vec::new();
    for publisher in [&alice, &carol] {
        let of_one = publish(publisher, "same", "1.0.0", 3, 1000).await;
        names.push(format!("{}/tests/same", of_one.publisher.clone().unwrap()));
        add(&bob, names.last().unwrap()).await;
        published.push(of_one);
    }
    let ambiguous = rm(&bob, "tests/same").await.unwrap_err();
    assert_eq!(ambiguous.kind, ErrorKind::Usage, "{ambiguous:?}");
    let mut causes = names.clone();
    causes.sort();
    assert_eq!(ambiguous.causes, causes);
    rm(&bob, &names[0]).await.unwrap();
    assert!(bob.pin_ls().iter().all(|pin| pin.label == format!("user/{}@1.0.0", names[1])), "{:?}", bob.pin_ls());
    assert!(!bob.pin_ls().is_empty());
    // The CID of the release selects all pins of the release.
    rm(&bob, published[1].release.as_ref().unwrap()).await.unwrap();
    assert_eq!(bob.pin_ls(), []);

    let path = format!("/ipfs/{}/file-1", published[0].cid);
    let file = add(&bob, &path).await;
    assert_eq!(file[0].label, format!("user{path}"));
    add(&bob, &published[0].cid).await;
    assert_eq!(rm(&bob, &path).await.unwrap(), file);
    assert_eq!(rm(&bob, &path).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(rm(&bob, &published[0].cid).await.unwrap()[0].label, "user");
    // The CID that a path resolved to removes the pin of the path.
    let file = add(&bob, &path).await;
    assert_eq!(rm(&bob, &file[0].cid).await.unwrap(), file);
    assert_eq!(bob.pin_ls(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_of_a_former_version_goes_by_its_name_and_by_what_the_list_shows() {
    let (alice, bob) = pair().await;
    let published = publish(&alice, "kept", "1.2.0", 1, 100).await;
    let publisher = published.publisher.unwrap();
    let pinned = add(&bob, &published.cid).await;
    let old = |cid: &str| Pin {
        label: "user/tests/kept@1.2.0".to_owned(),
        cid: cid.parse().unwrap(),
        mode: PinMode::Recursive,
    };
    let store = &bob.services().storage.store;
    for words in ["tests/kept", "tests/kept@^1", "user/tests/kept@1.2.0"] {
        store.pin(old(&pinned[0].cid)).unwrap();
        assert_eq!(rm(&bob, words).await.unwrap()[0].label, "user/tests/kept@1.2.0", "{words}");
        assert_eq!(bob.pin_ls(), pinned);
    }
    // The old label has no publisher: a target with a publisher does not select it, and next to a pin with a publisher
    // the bare name is ambiguous.
    store.pin(old(&pinned[0].cid)).unwrap();
    let named = format!("{publisher}/tests/kept");
    assert_eq!(rm(&bob, &named).await.unwrap_err().kind, ErrorKind::NotFound);
    add(&bob, &named).await;
    let ambiguous = rm(&bob, "tests/kept").await.unwrap_err();
    assert_eq!((ambiguous.kind, ambiguous.causes.len()), (ErrorKind::Usage, 2), "{ambiguous:?}");
    rm(&bob, "user/tests/kept@1.2.0").await.unwrap();
    rm(&bob, &named).await.unwrap();
    assert_eq!(bob.pin_ls(), pinned);
    // All pins by CID share the label `user`, so it does not select one.
    assert!(rm(&bob, "user").await.is_err());
}
