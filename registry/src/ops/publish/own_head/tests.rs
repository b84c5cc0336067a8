//! What a publish waits for where no peer answers.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use libp2p::PeerId;
use tempfile::TempDir;

use crate::{Config, Mode, Registry, ops::testing::publish};

/// A publish waited eight seconds for bootstrap nodes that take connections and say nothing.
#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_nodes_that_do_not_answer_hold_a_publish_up_for_two_seconds() {
    let (home, work) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = || {
        let listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        Config { listen_addresses, mdns: false, ..Config::default() }
    };
    // The first publish makes the key.
    let registry = Registry::open(home.path(), config(), Mode::Daemon).await.unwrap();
    publish(&registry, work.path(), "lamp", "1.0.0").await;
    registry.shutdown().await.unwrap();

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let node = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", PeerId::random()).parse().unwrap();
    let config = Config { bootstrap_nodes: vec![node], ..config() };
    let registry = Registry::open(home.path(), config, Mode::Daemon).await.unwrap();
    let begun = Instant::now();
    registry.services().publisher().own_head.hear_own_head("default").await.unwrap();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    registry.shutdown().await.unwrap();
}
