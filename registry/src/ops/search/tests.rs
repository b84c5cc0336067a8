use std::time::Instant;

use serde_bytes::ByteBuf;
use tempfile::TempDir;

use super::patience::{PATIENCE as DEADLINE, TAIL};
use crate::{
    Registry,
    identity::Timestamp,
    index::{
        Claim, OfferedHit, SearchAnswer, SearchQuestion,
        actor::{Actor, now},
        search_mark, word_bucket, word_key, words_of,
    },
    node::Protocol,
    ops::testing::{Peer, connect, eventually, open, search},
    package::Metadata,
};

/// The default topic, which the registries of these tests use.
const TOPIC: &str = "/ggen/packages/v1";

/// Creates a claim on a package by a publisher of its own.
fn claim(seed: u8, package: &str) -> Claim {
    let mut actor = Actor::new(seed);
    let mut release = actor.release(package, "1.0.0", package);
    release.metadata = Metadata { description: "Something nice".to_owned(), ..Metadata::default() };
    actor.publish_release(release);
    actor.claim(package)
}

fn hit(claim: &Claim) -> OfferedHit {
    OfferedHit(ByteBuf::from(claim.encoded()), true)
}

fn answer(hits: Vec<OfferedHit>) -> Vec<u8> {
    SearchAnswer::new(hits, &[]).encode().unwrap()
}

/// A peer that sends this response to every search request, and never responds to other requests.
async fn peer(answer: Option<Vec<u8>>) -> Peer {
    Peer::answering(move |protocol, _| answer.clone().filter(|_| protocol == Protocol::Search)).await
}

fn failures(registry: &Registry, peer: &Peer) -> u64 {
    registry.services().peers.get(&peer.id()).map_or(0, |record| record.failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_connected_peer_knows_is_found_verified_and_kept() {
    let home = TempDir::new().unwrap();
    let bob = open(home.path()).await;
    let claim = claim(1, "acme/http");
    let alice = Peer::answering({
        let answer = answer(vec![hit(&claim)]);
        move |_, question| {
            let question = SearchQuestion::decode(question).ok()?;
            assert_eq!((question.topic.as_str(), question.query.as_str(), question.limit), (TOPIC, "http", 20));
            Some(answer.clone())
        }
    })
    .await;
    connect(&bob, alice.address()).await;
    assert_eq!(search(&bob, "http", true).await, [""; 0], "`local` asks nobody");
    assert_eq!(search(&bob, "http", false).await, ["acme/http"]);
    assert_eq!(search(&bob, "http", true).await, ["acme/http"], "and it is known from now on");
    assert_eq!(failures(&bob, &alice), 0);
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_told_what_is_known_and_says_what_of_it_it_has() {
    let home = TempDir::new().unwrap();
    let bob = open(home.path()).await;
    let claim = claim(1, "acme/http");
    bob.services().storage.catalog.accept_claim(&claim, "test", now()).unwrap();
    let mark = search_mark(claim.entry().unwrap().release.cid());
    let alice = Peer::answering(move |_, question| {
        let question = SearchQuestion::decode(question).ok()?;
        assert_eq!(question.have().into_iter().collect::<Vec<_>>(), [mark]);
        Some(SearchAnswer::new(Vec::new(), &[mark]).encode().unwrap())
    })
    .await;
    connect(&bob, alice.address()).await;
    assert_eq!(search(&bob, "http", false).await, ["acme/http"]);
    let packages = || {
        bob.services().peers.flush().unwrap();
        bob.services().peers.get(&alice.id()).map_or(0, |record| record.packages)
    };
    eventually(&bob, "what it has", async || packages() == 1).await;
    assert_eq!(failures(&bob, &alice), 0);
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stands_under_a_word_is_found_through_the_dht() {
    let home = TempDir::new().unwrap();
    let bob = open(home.path()).await;
    let hub = peer(None).await;
    let alice = peer(Some(answer(vec![hit(&claim(1, "acme/http"))]))).await;
    alice.connect(&hub).await;
    let bucket = word_bucket(&alice.id().to_bytes(), "http");
    alice.handle.provide_word(word_key(TOPIC, "http", bucket)).await.unwrap();
    // The keyword is announced after more urgent announcements.
    alice.handle.settle().await.unwrap();
    connect(&bob, hub.address()).await;
    assert_eq!(search(&bob, "http", false).await, ["acme/http"]);
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn part_of_a_run_and_an_emoji_are_found_through_the_dht() {
    let home = TempDir::new().unwrap();
    let bob = open(home.path()).await;
    let hub = peer(None).await;
    let mut actor = Actor::new(1);
    let mut release = actor.release("acme/search", "1.0.0", "content");
    let tags = vec!["\u{1f680}".to_owned()];
    release.metadata = Metadata { title: Some("全文検索".to_owned()), tags, ..release.metadata };
    let words = words_of(&release, 16);
    actor.publish_release(release);
    let claim = actor.claim("acme/search");
    let alice = peer(Some(answer(vec![hit(&claim)]))).await;
    alice.connect(&hub).await;
    for word in &words {
        let bucket = word_bucket(&alice.id().to_bytes(), word);
        alice.handle.provide_word(word_key(TOPIC, word, bucket)).await.unwrap();
    }
    alice.handle.settle().await.unwrap();
    connect(&bob, hub.address()).await;
    assert_eq!(search(&bob, "検索", false).await, ["acme/search"]);
    assert_eq!(search(&bob, "\u{1f680}", false).await, ["acme/search"]);
    assert_eq!(failures(&bob, &alice), 0);
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn false_answers_are_refused_as_a_whole_and_counted_against_who_gave_them() {
    let good = hit(&claim(1, "good/http"));
    let unsigned = {
        let claim = claim(2, "evil/http");
        // A byte in the middle of the release's envelope: payload or signature.
        let mut bytes = claim.encoded().to_vec();
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
        assert!(Claim::verify(&bytes, now()).is_err());
        OfferedHit(ByteBuf::from(bytes), true)
    };
    let mut actor = Actor::new(3);
    actor.publish("evil/http", "1.0.0");
    let head_only = Claim::for_publisher(&actor.chain, actor.head(), now()).unwrap();
    let many = (0..21).map(|seed| hit(&claim(100 + seed, "evil/http"))).collect();
    for (what, bytes) in [
        ("too large", vec![0; Protocol::Search.max_answer_bytes() + 1]),
        ("malformed", b"nonsense".to_vec()),
        ("unsigned", answer(vec![hit(&claim(4, "evil/http")), unsigned])),
        ("for another query", answer(vec![hit(&claim(4, "evil/http")), hit(&claim(5, "evil/other"))])),
        ("of no package", answer(vec![hit(&head_only)])),
        ("more than asked for", answer(many)),
        ("of what it was not told", SearchAnswer::new(Vec::new(), &[7]).encode().unwrap()),
    ] {
        let home = TempDir::new().unwrap();
        let bob = open(home.path()).await;
        let (alice, mallory) = (peer(Some(answer(vec![good.clone()]))).await, peer(Some(bytes)).await);
        connect(&bob, mallory.address()).await;
        connect(&bob, alice.address()).await;
        // Only a prefix of the name, because a search for the whole name does not wait for all peers.
        assert_eq!(search(&bob, "htt", false).await, ["good/http"], "{what}");
        assert_eq!(search(&bob, "evil", true).await, [""; 0], "{what}: something was kept");
        assert_eq!((failures(&bob, &mallory), failures(&bob, &alice)), (1, 0), "{what}");
        bob.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_peer_holds_a_search_up_no_longer_than_the_deadline() {
    let home = TempDir::new().unwrap();
    let bob = open(home.path()).await;
    let (alice, sloth) = (peer(Some(answer(vec![hit(&claim(1, "acme/http"))]))).await, peer(None).await);
    connect(&bob, sloth.address()).await;
    connect(&bob, alice.address()).await;
    let started = Instant::now();
    assert_eq!(search(&bob, "htt", false).await, ["acme/http"]);
    let took = started.elapsed();
    assert!(took >= DEADLINE && took < 3 * DEADLINE, "{took:?}");
    // A search for a known name ends soon, even if a peer does not respond.
    let started = Instant::now();
    assert_eq!(search(&bob, "http", false).await, ["acme/http"]);
    let took = started.elapsed();
    assert!(took >= TAIL && took < DEADLINE, "{took:?}");
    // The missing response is recorded a little later.
    eventually(&bob, "blame", async || failures(&bob, &sloth) > 0).await;
    assert_eq!(failures(&bob, &alice), 0);
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_with_claims_that_anybody_can_check() {
    let (home, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let alice = open(home.path()).await;
    let published = crate::ops::testing::publish(&alice, work.path(), "lantern", "1.0.0").await;
    let bob = peer(None).await;
    bob.handle.connect(crate::ops::testing::address(&alice).parse().unwrap()).await.unwrap();
    let alice_id = alice.listening().peer_id.parse().unwrap();
    let ask = async |query: &str, topic: &str, have: &[u64]| {
        let question = SearchQuestion::new(topic, query, &Default::default(), 5, have).encode().unwrap();
        bob.handle.ask(alice_id, Protocol::Search, question).await
    };
    let found = SearchAnswer::decode(&ask("lantern", TOPIC, &[]).await.unwrap(), 5).unwrap();
    let [OfferedHit(claim, holds)] = &found.hits[..] else { panic!("{found:?}") };
    let claim = Claim::verify(claim, Timestamp::MAX).unwrap();
    let release = claim.entry().unwrap().release.record();
    assert_eq!((release.content.to_string(), *holds), (published.cid, true));
    let mark = search_mark(claim.entry().unwrap().release.cid());
    let known = SearchAnswer::decode(&ask("lantern", TOPIC, &[mark, 7]).await.unwrap(), 5).unwrap();
    assert_eq!((known.hits.len(), known.held()), (0, vec![mark]), "what the asker knows is not sent again");
    let nothing = SearchAnswer::decode(&ask("something else", TOPIC, &[]).await.unwrap(), 5).unwrap();
    assert_eq!(nothing.hits, []);
    assert!(ask("lantern", "/another/network", &[]).await.is_err(), "another network's question has no answer");
    let nonsense = bob.handle.ask(alice_id, Protocol::Search, b"nonsense".to_vec()).await;
    assert!(nonsense.is_err());
    assert_eq!(failures(&alice, &bob), 1);
    alice.shutdown().await.unwrap();
}
