//! Category 3, announcement; 4, search; 10, topics.

use ggen_marketplace::prelude::*;

use crate::support::{Peer, loopback, package};

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_announced_to_all_who_follow_also_through_others() {
    let hub = Peer::start(&[]).await;
    let alice = Peer::start(&[&hub]).await;
    let bob = Peer::start(&[&hub]).await;
    alice.wait_for_followers(1).await;
    let package = package("announced", "1.0.0", alice.import("announced"));
    let published = alice.publish(package.clone()).await.unwrap();
    assert!(published.announced_to >= 1, "{published:?}");
    for peer in [&hub, &bob] {
        peer.wait_for(&package).await;
        let known = peer.search(&Query::new("announced").local()).await.unwrap().remove(0);
        assert_eq!(known.metadata.description, package.metadata.description);
        assert_eq!(known.publisher.unwrap().to_string(), published.publisher.clone().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_others_published_by_words_tags_and_category() {
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    alice.wait_for_followers(1).await;
    let build = |name: &str, description: &str, tag: &str, category: &str| {
        Package::builder(PackageId::new("tests", name), Version::new(1, 0, 0))
            .description(description)
            .tag(tag)
            .category(category)
            .content_id(alice.import(name))
            .build()
            .unwrap()
    };
    let packages = [
        build("web", "Serves pages", "http", "network"),
        build("web-client", "Gets pages for you", "http", "network"),
        build("crawler", "Follows links through the web", "robots", "network"),
        build("notes", "Keeps what you write down", "http", "desktop"),
    ];
    for package in &packages {
        alice.publish(package.clone()).await.unwrap();
    }
    for package in &packages {
        bob.wait_for(package).await;
    }
    let find = async |query: Query| bob.names(query.local()).await;
    let found = find(Query::new("web")).await;
    assert_eq!(found[0], "tests/web@1.0.0", "the exact name comes first");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(find(Query::new("web").limit(1)).await.len(), 1);
    assert_eq!(find(Query::new("web").tag("robots")).await, ["tests/crawler@1.0.0"]);
    assert_eq!(find(Query::new("").tag("http").category("desktop")).await, ["tests/notes@1.0.0"]);
    assert_eq!(find(Query::new("submarine")).await, [] as [&str; 0]);
    let refused = bob.search(&Query::new("x".repeat(10_000))).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_asks_peers_for_what_was_never_announced_here() {
    let hub = Peer::start_deaf(&[]).await;
    let alice = Peer::start_deaf(&[&hub]).await;
    let bob = Peer::start_deaf(&[&hub]).await;
    let package = alice.release("submarine", "1.0.0").await;
    alice.settle().await.unwrap();
    assert_eq!(bob.knows("submarine").await, [] as [&str; 0], "he follows nothing");
    assert_eq!(bob.names(Query::new("submarine")).await, ["tests/submarine@1.0.0"]);
    let found = bob.search(&Query::new("good for").tag("tested")).await.unwrap().remove(0);
    assert_eq!((found.id, found.version), (package.id, package.version));
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_reach_those_who_follow_that_topic_and_nobody_else() {
    let on_topic = async |topic: &str, others: &[&Peer]| {
        let bootstrap: Vec<_> = others.iter().flat_map(|peer| peer.listen_addresses().unwrap()).collect();
        let peer = Peer::quiet(P2PConfig { packages_topic: topic.to_owned(), ..loopback(&bootstrap) }).await;
        peer.enter().await;
        peer
    };
    let alice = on_topic("/tests/one", &[]).await;
    let bob = on_topic("/tests/one", &[&alice]).await;
    let deaf = on_topic("/tests/one", &[&alice]).await;
    let elsewhere = on_topic("/tests/other", &[&alice]).await;
    bob.subscribe_to_packages().await.unwrap();
    elsewhere.subscribe_to_packages().await.unwrap();
    alice.wait_for_followers(1).await;
    let first = alice.release("first", "1.0.0").await;
    bob.wait_for(&first).await;
    assert_eq!(alice.metadata().await.unwrap().followers, 1);
    for other in [&deaf, &elsewhere] {
        assert_eq!(other.knows("first").await, [] as [&str; 0]);
    }
    deaf.subscribe_to_packages().await.unwrap();
    alice.wait_for_followers(2).await;
    let second = alice.release("second", "1.0.0").await;
    deaf.wait_for(&second).await;
    bob.wait_for(&second).await;
    assert_eq!(elsewhere.knows("second").await, [] as [&str; 0]);
}
