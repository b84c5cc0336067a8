//! The log under the targets that the guide documents.

use std::{
    fs,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use ggen_marketplace::prelude::*;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::support::{Peer, package};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Collects the events that pass a filter on this thread, until the guard is dropped.
    fn collect(filter: &str) -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// The filters in the guide's lines `RUST_LOG=<filter> cargo run ...`, in sequence.
fn documented_filters() -> Vec<String> {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/registry/README.md")).unwrap();
    let lines = guide.lines().filter(|line| line.contains(" cargo run "));
    lines.filter_map(|line| Some(line.strip_prefix("RUST_LOG=")?.split(' ').next()?.to_owned())).collect()
}

// One thread, because the subscriber applies to the thread.
#[tokio::test(flavor = "current_thread")]
async fn the_first_documented_filter_shows_the_life_of_a_node() {
    let filter = &documented_filters()[0];
    assert_eq!(filter, "ggen_marketplace::backend::p2p=debug");
    let (lines, guard) = Lines::collect(filter);
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    alice.wait_for_followers(1).await;
    let package = package("logged", "1.0.0", alice.import("logged"));
    alice.publish(package.clone()).await.unwrap();
    bob.wait_for(&package).await;
    let peer_id = alice.peer_id();
    bob.registry.shutdown().await.unwrap();
    alice.registry.shutdown().await.unwrap();
    drop(guard);
    let text = lines.text();
    for event in ["the node has started", "listening", "following announcements", "connected", "published", "searched"]
    {
        let seen = text.lines().any(|line| line.contains("ggen_marketplace::backend::p2p") && line.contains(event));
        assert!(seen, "no line says `{event}`:\n{text}");
    }
    assert!(text.contains(&peer_id.to_string()), "{text}");
    assert!(text.lines().any(|line| line.contains("tests/logged")), "{text}");
    assert!(text.contains("the node has stopped"), "{text}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_second_documented_filter_shows_libp2p_itself() {
    let filter = &documented_filters()[1];
    assert_eq!(filter, "libp2p=debug");
    let (lines, guard) = Lines::collect(filter);
    let alice = Peer::start(&[]).await;
    let _bob = Peer::start(&[&alice]).await;
    drop(guard);
    let text = lines.text();
    assert!(text.lines().any(|line| line.contains(" libp2p_swarm")), "{text}");
    assert!(!text.contains("ggen_marketplace"), "{text}");
}
