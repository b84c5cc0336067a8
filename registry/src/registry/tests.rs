//! Registries in memory, on loopback.

use std::{fs, time::Duration};

use super::*;
use crate::{FetchTo, Progress};

const PATIENCE: Duration = Duration::from_secs(60);

fn loopback() -> Config {
    let listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Config { listen_addresses, mdns: false, ..Config::default() }
}

async fn in_memory(mode: Mode) -> Registry {
    Registry::open_in(Place::memory(), loopback(), mode).await.unwrap()
}

async fn connect(from: &Registry, to: &Registry) -> BootstrapReport {
    let request = BootstrapRequest { nodes: to.listening().listen_addresses, timeout: PATIENCE };
    from.bootstrap(request).await.unwrap()
}

fn silent() -> Arc<dyn Reporter> {
    Arc::new(|_: Progress| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_in_memory_publishes_is_fetched_by_name() {
    let work = tempfile::tempdir().unwrap();
    let package = work.path().join("package");
    fs::create_dir(&package).unwrap();
    let gpack = "[package]\nname = \"kept\"\nversion = \"1.0.0\"\ndescription = \"Nowhere\"\nnamespace = \"tests\"\n";
    fs::write(package.join("gpack.toml"), gpack).unwrap();
    let (alice, bob) = (in_memory(Mode::Daemon).await, in_memory(Mode::Daemon).await);
    connect(&bob, &alice).await;
    let request = PublishRequest {
        path: package,
        version: None,
        namespace: None,
        key: None,
        trust_clock: false,
        allow_secrets: false,
        user_ignore_file: None,
        skip_verify: false,
        dry_run: false,
        min_replicas: 0,
        timeout: PATIENCE,
    };
    let published = alice.publish(request, silent()).await.unwrap();
    let to = work.path().join("copy");
    let request = FetchRequest {
        target: "tests/kept".to_owned(),
        to: FetchTo::Path(to.clone()),
        timeout: PATIENCE,
        offline: false,
        providers: Vec::new(),
        min_reputation: None,
    };
    let fetched = bob.fetch(request, silent()).await.unwrap();
    assert_eq!(fetched.publisher, published.publisher);
    assert_eq!(fs::read_to_string(to.join("gpack.toml")).unwrap(), gpack);
    assert_ne!(alice.keys().await.unwrap(), bob.keys().await.unwrap(), "each has keys of its own");
    alice.shutdown().await.unwrap();
    bob.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_listens_once_it_is_told_to() {
    let (alice, bob) = (in_memory(Mode::Embedded).await, in_memory(Mode::Embedded).await);
    assert_eq!(alice.listening().listen_addresses, [] as [&str; 0]);
    let told = alice.listen().await.unwrap();
    assert!(told.listen_addresses[0].ends_with(&format!("/p2p/{}", told.peer_id)), "{told:?}");
    assert_eq!(alice.listen().await.unwrap(), told, "twice is as once");
    assert_eq!(alice.listening(), told);
    let report = connect(&bob, &alice).await;
    assert_eq!(report.connected, [told.peer_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named_and_can_be_tried_again() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", holder.local_addr().unwrap().port()).parse().unwrap();
    let config = Config { listen_addresses: vec![taken.clone()], ..loopback() };
    let bob = Registry::open_in(Place::memory(), config, Mode::Embedded).await.unwrap();
    let refused = bob.listen().await.unwrap_err();
    assert!(refused.message.contains(&taken.to_string()), "{refused:?}");
    drop(holder);
    bob.listen().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_key_that_was_brought_is_the_peer_id() {
    let key = crate::KeyPair::from_seed(&[9; 32]);
    let place = Place::memory().with_node_key(key.clone());
    let registry = Registry::open_in(place, loopback(), Mode::Embedded).await.unwrap();
    assert_eq!(registry.listening().peer_id, key.public().peer_id());
}
