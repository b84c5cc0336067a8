//! Fetches of unavailable content: the message, and the time until it appears.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ggen_marketplace::{ErrorKind, FetchRequest, FetchTo, PeerRule, PeerRuleRequest, Progress};
use tempfile::TempDir;

use crate::support::{
    nodes::{Node, PATIENCE},
    trees::varied_package,
};

/// A CID that no node has.
const NOBODYS: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
/// The timeout of a fetch: providers are searched for at once, and no peer is waited for longer.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_package_whose_publisher_is_gone_is_named_with_the_time_when_that_was_last_seen() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "orphan", "1.2.3");
    let hub = Node::start().await;
    let alice = Node::start_with(&hub.addresses()).await;
    alice.connect(&hub.addresses()).await;
    let bob = Node::start_with(&hub.addresses()).await;
    bob.connect(&hub.addresses()).await;
    bob.connect(&alice.addresses()).await;
    alice.publish(&package).await;
    bob.wait_until_known("tests/orphan").await;
    let publisher = alice.peer_id();
    alice.stop().await;

    let to = FetchTo::Path(work.path().join("out"));
    let failure = bob.try_fetch("tests/orphan", to, SHORT).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure:?}");
    let expected = "cannot fetch tests/orphan@1.2.3: no connected peer and no provider has it; ";
    assert!(failure.message.starts_with(expected), "{failure:?}");
    assert!(failure.message.contains(&format!("{publisher}, which had it, was last seen 20")), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_a_publisher_that_was_never_met_is_named_with_the_date_of_its_records() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "orphan", "1.2.3");
    let hub = Node::start().await;
    let alice = Node::start_with(&hub.addresses()).await;
    alice.connect(&hub.addresses()).await;
    alice.publish(&package).await;
    hub.wait_until_known("tests/orphan").await;
    alice.stop().await;
    let carol = Node::start_with(&hub.addresses()).await;
    carol.connect(&hub.addresses()).await;
    carol.wait_until_known("tests/orphan").await;
    let to = FetchTo::Path(work.path().join("out"));
    let failure = carol.try_fetch("tests/orphan@=1.2.3", to, SHORT).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TimedOut, "{failure:?}");
    assert!(failure.message.starts_with("cannot fetch tests/orphan@1.2.3: no connected peer"), "{failure:?}");
    assert!(failure.message.contains("the newest record of its publisher is from 20"), "{failure:?}");
}

/// The fetch must fail at once and not wait for its timeout.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_peer_to_ask_a_cid_is_not_waited_for() {
    let work = TempDir::new().unwrap();
    let to = || FetchTo::Path(work.path().join("out"));
    let alice = Node::start().await;
    let bob = Node::start().await;
    let alone = bob.try_fetch(NOBODYS, to(), PATIENCE).await.unwrap_err();
    assert_eq!(alone.kind, ErrorKind::TimedOut, "{alone:?}");
    assert!(alone.message.ends_with("no peer is connected that could be asked"), "{alone:?}");
    assert!(alone.hint.as_ref().is_some_and(|hint| hint.to_string().contains("`bootstrap` on `ADDRESS`")), "{alone:?}");

    bob.connect(&alice.addresses()).await;
    let deny = PeerRuleRequest { peer: alice.peer_id(), rule: PeerRule::Deny };
    bob.registry.peer_rule(deny).await.unwrap();
    bob.wait_until(|| async { bob.registry.status().await.unwrap().connected_peers == 0 }).await;
    let denied = bob.try_fetch(NOBODYS, to(), PATIENCE).await.unwrap_err();
    assert_eq!((denied.kind, denied.message), (alone.kind, alone.message));

    // Content in the local store needs no peer.
    let package = work.path().join("package");
    varied_package(&package, "here", "1.0.0");
    let published = bob.publish(&package).await;
    bob.try_fetch(&published.cid, to(), PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_node_that_is_not_connected_yet_is_waited_for() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "entered", "1.0.0");
    let alice = Node::start().await;
    let published = alice.publish(&package).await;
    let bob = Node::start_with(&alice.addresses()).await;
    bob.fetch(&published.cid, &work.path().join("out")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_providers_are_looked_for_is_told() {
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let bob = Node::start().await;
    bob.connect(&alice.addresses()).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let request = FetchRequest {
        target: NOBODYS.to_owned(),
        to: FetchTo::Path(work.path().join("out")),
        timeout: SHORT,
        offline: false,
        providers: Vec::new(),
        min_reputation: None,
    };
    let reporter = Arc::new(move |progress: Progress| heard.lock().unwrap().push(progress));
    let failure = bob.registry.fetch(request, reporter).await.unwrap_err();
    assert!(failure.message.contains("no connected peer and no provider has it"), "{failure:?}");
    assert!(told.lock().unwrap().contains(&Progress::FindingProviders { peers_asked: 1 }));
}
