use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Meaning, Wanted, choose};
use crate::{
    ErrorKind, Progress, Registry, TrustRemoveRequest,
    identity::RecordCid,
    index::{ClaimQuestion, VersionEntry, actor::Actor},
    node::Protocol,
    ops::testing::{address, connect, eventually, fetch, fetch_request, open, publish},
};

const TOPIC: &str = "/ggen/packages/v1";

async fn dht_walks(registry: &Registry) -> u64 {
    registry.services().node().unwrap().snapshot().await.unwrap().dht_walks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_package_of_a_publisher_that_is_named_costs_no_walk_through_the_dht() {
    let (homes, work) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
    let (alice, bob) = (open(homes[0].path()).await, open(homes[1].path()).await);
    connect(&bob, address(&alice)).await;
    let publisher = publish(&alice, work.path(), "lamp", "1.0.0").await.publisher.unwrap();
    publish(&alice, work.path(), "bottle", "1.0.0").await;
    fetch(&bob, "tests/lamp", &work.path().join("lamp")).await;
    let before = dht_walks(&bob).await;
    assert!(before > 0, "the first one is looked up");
    let bottle = format!("{publisher}/tests/bottle");
    let fetched = fetch(&bob, &bottle, &work.path().join("bottle")).await;
    assert_eq!(fetched.version.as_deref(), Some("1.0.0"));
    assert_eq!(dht_walks(&bob).await, before);

    // A version published since then: the remembered peer returns it.
    publish(&alice, work.path(), "bottle", "1.1.0").await;
    let fetched = fetch(&bob, &bottle, &work.path().join("newer")).await;
    assert_eq!(fetched.version.as_deref(), Some("1.1.0"));
    assert_eq!(dht_walks(&bob).await, before);

    // The name means the publisher of the first fetch. Without a trusted publisher, the DHT is queried for claimants.
    fetch(&bob, "tests/bottle", &work.path().join("trusted")).await;
    assert_eq!(dht_walks(&bob).await, before);
    bob.trust_remove(TrustRemoveRequest { namespace: "tests".to_owned() }).await.unwrap();
    fetch(&bob, "tests/bottle", &work.path().join("claimed")).await;
    assert!(dht_walks(&bob).await > before);
    alice.shutdown().await.unwrap();
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_publisher_has_just_announced_costs_no_walk_through_the_dht() {
    let (homes, work) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
    let (alice, bob) = (open(homes[0].path()).await, open(homes[1].path()).await);
    connect(&bob, address(&alice)).await;
    let followed = async || alice.services().node().unwrap().snapshot().await.unwrap().followers > 0;
    eventually(&alice, "gossip", followed).await;
    let publisher = publish(&alice, work.path(), "lamp", "1.0.0").await.publisher.unwrap();
    let (id, lamp): (crate::PublisherId, _) = (publisher.parse().unwrap(), "tests/lamp".parse().unwrap());
    let heard = async || bob.services().sources.heard_of(&id, &lamp, Instant::now()).is_some();
    eventually(&bob, "the announcement", heard).await;
    let before = dht_walks(&bob).await;
    let fetched = fetch(&bob, &format!("{publisher}/tests/lamp"), &work.path().join("lamp")).await;
    assert_eq!(fetched.version.as_deref(), Some("1.0.0"));
    assert_eq!(dht_walks(&bob).await, before);

    // A version that was not announced may exist nevertheless.
    let request = fetch_request(&format!("{publisher}/tests/lamp@=1.0.1"), &work.path().join("unannounced"));
    let failure = bob.fetch(request, Arc::new(|_: Progress| {})).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NotFound);
    let walked = dht_walks(&bob).await;
    assert!(walked > before);

    // Without the publisher, the DHT is queried for other claimants.
    fetch(&bob, "tests/lamp", &work.path().join("anybody's")).await;
    assert!(dht_walks(&bob).await > walked);
    alice.shutdown().await.unwrap();
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_is_not_waited_for() {
    let homes: Vec<_> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let work = TempDir::new().unwrap();
    let (alice, bob, carol) = (open(homes[0].path()).await, open(homes[1].path()).await, open(homes[2].path()).await);
    connect(&bob, address(&alice)).await;
    connect(&carol, address(&alice)).await;
    connect(&bob, address(&carol)).await;
    let publisher = publish(&alice, work.path(), "lamp", "1.0.0").await.publisher.unwrap();
    publish(&alice, work.path(), "bottle", "1.0.0").await;
    let bottle = format!("{publisher}/tests/bottle");
    fetch(&carol, &bottle, &work.path().join("carol's")).await;
    fetch(&bob, &format!("{publisher}/tests/lamp"), &work.path().join("lamp")).await;
    alice.shutdown().await.unwrap();
    let before = dht_walks(&bob).await;
    let fetched = fetch(&bob, &bottle, &work.path().join("bob's")).await;
    assert_eq!(fetched.package.as_deref(), Some("tests/bottle"));
    assert!(dht_walks(&bob).await > before);
    bob.shutdown().await.unwrap();
    carol.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_a_claim_is_answered_with_one_or_with_nothing() {
    let (homes, work) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
    let (alice, bob) = (open(homes[0].path()).await, open(homes[1].path()).await);
    connect(&bob, address(&alice)).await;
    let published = publish(&alice, work.path(), "lamp", "1.0.0").await;
    let (node, peer) = (bob.services().node().unwrap(), alice.services().node().unwrap().peer_id());
    let ask = async |publisher: crate::PublisherId, package: &str| {
        let question = ClaimQuestion::new(TOPIC, publisher, package.parse().unwrap()).encode().unwrap();
        node.ask(peer, Protocol::Claim, question).await.unwrap()
    };
    let publisher: crate::PublisherId = published.publisher.as_deref().unwrap().parse().unwrap();
    let claim = crate::index::Claim::verify(&ask(publisher, "tests/lamp").await, crate::ops::clock::now()).unwrap();
    assert_eq!(claim.package().unwrap().as_str(), "tests/lamp");
    assert_eq!(ask(publisher, "tests/bottle").await, b"");
    assert_eq!(ask(Actor::new(1).chain.publisher(), "tests/lamp").await, b"");
    // A malformed request gets no response, and counts against its sender.
    node.ask(peer, Protocol::Claim, b"nonsense".to_vec()).await.unwrap_err();
    let book = &alice.services().peers;
    assert_eq!(book.get(&bob.services().node().unwrap().peer_id()).map(|record| record.failed), Some(1));
    alice.shutdown().await.unwrap();
    bob.shutdown().await.unwrap();
}

/// Versions as a catalog lists them. A trailing `-` marks a yanked one.
fn entries(versions: &[&str]) -> Vec<VersionEntry> {
    let entry = |text: &&str| {
        let block = ggen_blockstore::Block::dag_cbor(text.as_bytes().to_vec()).unwrap();
        VersionEntry {
            version: text.trim_end_matches('-').parse().unwrap(),
            release: RecordCid::new(*block.cid()).unwrap(),
            yanked: text.ends_with('-'),
            reason: None,
            signatures: Vec::new(),
        }
    };
    versions.iter().map(entry).collect()
}

#[track_caller]
fn chosen(requirement: &str, versions: &[&str], expected: Option<&str>) {
    let (package, requirement) = ("acme/http".parse().unwrap(), requirement.parse().unwrap());
    let wanted = Wanted { meaning: Meaning::OPEN, package: &package, requirement: &requirement, yanked_too: false };
    let entries = entries(versions);
    let chosen = choose(&entries, &wanted).ok().map(|entry| entry.version.to_string());
    assert_eq!(chosen.as_deref(), expected, "{requirement} of {versions:?}");
}

/// This program refuses to publish a second build of a version, but other catalogs may contain several.
#[test]
fn builds_of_one_version_are_told_apart_and_yanked_ones_are_chosen_only_by_name() {
    for versions in [&["1.0.0", "1.0.0+a", "1.0.0+b-"][..], &["1.0.0", "1.0.0+a-", "1.0.0+b-"], &["1.0.0"]] {
        chosen("=1.0.0", versions, Some("1.0.0"));
        chosen("latest", versions, Some("1.0.0"));
    }
    chosen("=1.0.0", &["1.0.0-", "1.0.0+a-", "1.0.0+b"], Some("1.0.0+b"));
    chosen("=1.0.0", &["1.0.0-", "1.0.0+a-"], Some("1.0.0"));
    chosen("=1.0.0+a", &["1.0.0", "1.0.0+a-", "1.0.0+b"], Some("1.0.0+a"));
    chosen("=1.0.0+c", &["1.0.0", "1.0.0+a"], None);
    chosen("^1", &["1.0.0-", "1.0.0+a-"], None);
}

/// A registry on a thread of its own that can be stopped as a process is by SIGSTOP: its connections stay, and it answers
/// nothing. It ends when this is dropped.
struct Stoppable {
    address: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    is_stopped: mpsc::Receiver<()>,
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stoppable {
    fn open(home: &Path) -> Self {
        let home = home.to_owned();
        let (opened, is_open) = mpsc::channel();
        let (stop, is_to_stop) = tokio::sync::oneshot::channel();
        let (stopped, is_stopped) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let registry = open(&home).await;
                opened.send(address(&registry)).unwrap();
                is_to_stop.await.unwrap();
                stopped.send(()).unwrap();
                // The only thread of the runtime waits here until the sender is dropped.
                ends.recv().unwrap_err();
                registry.shutdown().await.unwrap();
            });
        });
        let address = is_open.recv().unwrap();
        Self { address, stop: Some(stop), is_stopped, end: Some(end), thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.is_stopped.recv().unwrap();
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// The name was said not to be found, as if the peer had answered; and `--timeout` was not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_only_peer_does_not_answer_for_is_no_name_without_a_claim() {
    let (homes, work) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], TempDir::new().unwrap());
    let (mut alice, bob) = (Stoppable::open(homes[0].path()), open(homes[1].path()).await);
    connect(&bob, alice.address.clone()).await;
    let knows = async || bob.services().node().unwrap().snapshot().await.unwrap().ggen_routing_peers > 0;
    eventually(&bob, "the routing table", knows).await;
    let within = Duration::from_secs(2);
    let request =
        |target: &str| crate::FetchRequest { timeout: within, ..fetch_request(target, &work.path().join("lamp")) };
    // As long as it answers, there is none.
    let failure = bob.fetch(request("tests/lamp"), Arc::new(|_: Progress| {})).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::NotFound, "{failure}");

    alice.stop();
    let publisher = Actor::new(1).chain.publisher();
    for target in ["tests/lamp".to_owned(), format!("{publisher}/tests/lamp")] {
        let begun = Instant::now();
        let failure = bob.fetch(request(&target), Arc::new(|_: Progress| {})).await.unwrap_err();
        let took = begun.elapsed();
        assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure}");
        assert!(failure.in_one_line().contains("have not all answered within 2 s"), "{}", failure.in_one_line());
        assert!(took < within * 3, "{took:?}");
    }
    let info = crate::InfoRequest {
        target: "tests/lamp".to_owned(),
        versions: false,
        providers: true,
        timeout: within,
        offline: false,
    };
    let failure = bob.info(info, Arc::new(|_: Progress| {})).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure}");
    let claimed = bob.is_claimed(&"tests/lamp".parse().unwrap(), within).await;
    assert_eq!(claimed.unwrap_err().kind, ErrorKind::TimedOut);
    drop(alice);
    bob.shutdown().await.unwrap();
}
