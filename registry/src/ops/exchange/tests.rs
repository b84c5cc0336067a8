use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    index::{
        Catalog, CatalogAnswer, CatalogQuestion, Page,
        actor::{Actor, now},
    },
    node::Protocol,
    ops::testing::{Peer, address, connect, eventually, fetch, open, publish, search},
};

const TOPIC: &str = "/ggen/packages/v1";

/// Waits until the local catalog of a registry knows all of these.
async fn knows(registry: &crate::Registry, names: &[String]) {
    for name in names {
        let package = format!("tests/{name}");
        eventually(registry, name, async || search(registry, name, true).await.first() == Some(&package)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_meet_learn_what_the_other_published_before() {
    let (homes, work) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
    let (alice, bob) = (open(homes[0].path()).await, open(homes[1].path()).await);
    let names: Vec<String> = (0..8).map(|number| format!("lamp{number}")).collect();
    for name in &names {
        publish(&alice, work.path(), name, "1.0.0").await;
    }
    publish(&bob, work.path(), "bottle", "1.0.0").await;
    connect(&bob, address(&alice)).await;
    knows(&bob, &names).await;
    knows(&alice, &["bottle".to_owned()]).await;
    alice.shutdown().await.unwrap();
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_from_a_third_one_when_the_publisher_is_gone() {
    let homes: Vec<_> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let work = TempDir::new().unwrap();
    let (alice, bob, carol) = (open(homes[0].path()).await, open(homes[1].path()).await, open(homes[2].path()).await);
    connect(&bob, address(&alice)).await;
    connect(&carol, address(&alice)).await;
    publish(&alice, work.path(), "lantern", "1.0.0").await;
    fetch(&bob, "tests/lantern", &work.path().join("out")).await;
    bob.shutdown().await.unwrap();
    let names: Vec<String> = (0..5).map(|number| format!("lamp{number}")).collect();
    for name in &names {
        publish(&alice, work.path(), name, "1.0.0").await;
    }
    publish(&alice, work.path(), "lantern", "1.1.0").await;
    knows(&carol, &names).await;
    knows_new_lantern(&carol).await;
    alice.shutdown().await.unwrap();

    let bob = open(homes[1].path()).await;
    connect(&bob, address(&carol)).await;
    knows(&bob, &names).await;
    knows_new_lantern(&bob).await;
    bob.shutdown().await.unwrap();
    carol.shutdown().await.unwrap();
}

/// Waits until a registry knows the second version of the lantern.
async fn knows_new_lantern(registry: &crate::Registry) {
    let lantern = "tests/lantern".parse().unwrap();
    let catalog = &registry.services().storage.catalog;
    let is_new = |entry: &crate::index::ReleaseEntry| entry.release.record().version.minor == 1;
    eventually(registry, "the new version", async || catalog.releases(&lantern).unwrap().iter().any(is_new)).await;
}

/// A peer that responds to comparisons with one publisher's summary, and to every pull with `page`.
async fn offering(catalog: Catalog, publisher: crate::PublisherId, page: Vec<u8>) -> Peer {
    Peer::answering(move |protocol, question| {
        assert_eq!(protocol, Protocol::Catalog);
        match CatalogQuestion::decode(question, TOPIC).unwrap() {
            CatalogQuestion::Known { .. } => {
                let summary = catalog.summary(&publisher).unwrap().unwrap();
                Some(CatalogAnswer::known(&[summary]).unwrap())
            }
            CatalogQuestion::Pull(_) => Some(page.clone()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_were_not_asked_for_are_refused_and_counted() {
    let (mut alice, mut bob) = (Actor::new(1), Actor::new(2));
    alice.publish("evil/lamp", "1.0.0");
    bob.publish("evil/bottle", "1.0.0");
    let everything = |actor: &Actor| crate::index::Pull {
        publisher: actor.chain.publisher(),
        after: Default::default(),
        until: None,
        have: HashSet::new(),
    };
    let catalog = || {
        let catalog = Catalog::in_memory().unwrap();
        catalog.accept_claim(&alice.claim("evil/lamp"), "peer", now()).unwrap();
        catalog.accept_claim(&bob.claim("evil/bottle"), "peer", now()).unwrap();
        catalog
    };
    let page = |actor: &Actor| catalog().page(&everything(actor), 1 << 20).unwrap().unwrap();
    let forged = crate::identity::Signed::sign(alice.release("evil/lamp", "6.6.6", "x"), &[&bob.key]).unwrap();
    let unsigned = Page { releases: vec![forged], ..page(&alice) };
    for (what, bytes) in [
        ("nonsense", b"nonsense".to_vec()),
        ("too large", vec![0; Protocol::Catalog.max_answer_bytes() + 1]),
        ("another publisher's", CatalogAnswer::page(Some(&page(&bob))).unwrap()),
        ("unsigned", CatalogAnswer::page(Some(&unsigned)).unwrap()),
        ("a summary", CatalogAnswer::known(&[]).unwrap()),
    ] {
        let home = TempDir::new().unwrap();
        let carol = open(home.path()).await;
        let mallory = offering(catalog(), alice.chain.publisher(), bytes).await;
        connect(&carol, mallory.address()).await;
        let failed = || carol.services().peers.get(&mallory.id()).map_or(0, |record| record.failed);
        eventually(&carol, what, async || failed() == 1).await;
        assert_eq!(search(&carol, "evil", true).await, [""; 0], "{what}");
        carol.shutdown().await.unwrap();
    }
    // A valid page is accepted.
    let home = TempDir::new().unwrap();
    let carol = open(home.path()).await;
    let honest = CatalogAnswer::page(Some(&page(&alice))).unwrap();
    let peer = offering(catalog(), alice.chain.publisher(), honest).await;
    connect(&carol, peer.address()).await;
    eventually(&carol, "the release", async || search(&carol, "evil", true).await == ["evil/lamp"]).await;
    carol.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_an_older_head_still_leads_to_the_package() {
    let homes: Vec<_> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let work = TempDir::new().unwrap();
    let (hub, alice, bob) = (open(homes[0].path()).await, open(homes[1].path()).await, open(homes[2].path()).await);
    connect(&alice, address(&hub)).await;
    publish(&alice, work.path(), "first", "1.0.0").await;
    let known = |registry: &crate::Registry| {
        let publishers = registry.services().storage.catalog.publishers().unwrap();
        let publisher = publishers.first().copied()?;
        Some(registry.services().storage.catalog.publisher(&publisher).unwrap()?.head?.order().log_seq)
    };
    // The announcement of the first package is unchanged: only the second package is announced under the second head.
    publish(&alice, work.path(), "second", "1.0.0").await;
    connect(&bob, address(&hub)).await;
    eventually(&bob, "the newer head", async || known(&bob) == Some(2)).await;
    let fetched = fetch(&bob, "tests/first", &work.path().join("first")).await;
    assert_eq!(fetched.version.as_deref(), Some("1.0.0"));
    let key = crate::index::package_key(&"tests/first".parse().unwrap());
    let node = bob.services().node.as_ref().unwrap();
    let mut values = node.find_record(key.clone()).await.unwrap();
    let value = values.recv().await.expect("the claim stands in the DHT").value;
    let claims = crate::index::ClaimSet::verify(&key, &value, crate::Timestamp::MAX).unwrap();
    let orders: Vec<_> = claims.claims().map(|claim| claim.head().order().log_seq).collect();
    assert_eq!(orders, [1], "the claim is as old as the package");
    for registry in [hub, alice, bob] {
        registry.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gossip_lost_is_learned_soon_after_other_news() {
    let (homes, work) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
    let (alice, bob) = (open(homes[0].path()).await, open(homes[1].path()).await);
    connect(&bob, address(&alice)).await;
    publish(&alice, work.path(), "lantern", "1.0.0").await;
    knows(&bob, &["lantern".to_owned()]).await;
    // The record is in Alice's catalog but was never announced.
    let mut carol = Actor::new(1);
    carol.publish("quiet/lamp", "1.0.0");
    alice.services().storage.catalog.accept_claim(&carol.claim("quiet/lamp"), "peer", now()).unwrap();
    let asked_at = Instant::now();
    eventually(&bob, "the lamp", async || search(&bob, "quiet", true).await == ["quiet/lamp"]).await;
    assert!(asked_at.elapsed() < Duration::from_secs(30), "sooner than in the next minute");
    alice.shutdown().await.unwrap();
    bob.shutdown().await.unwrap();
}
