//! Block transfers between ggen nodes: compressed, as updates, from several peers at once, and together with Kubo.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_marketplace::{Config, FetchRequest, FetchTo, Fetched, Progress};
use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    kubo::{Kubo, Options},
    nodes::{Node, PATIENCE},
    proxy::Proxy,
    trees::{assert_same, noise},
};

/// A package with this number of text files, in directories of ten. `edited` files differ from those of another
/// edition.
fn text_package(root: &Path, version: &str, files: usize, edited: usize) -> u64 {
    let mut total = 0;
    for index in 0..files {
        let directory = root.join(format!("src/part-{}", index / 10));
        fs::create_dir_all(&directory).unwrap();
        let salt = noise(400 * 8, &format!("file {index}"));
        let mut text = String::new();
        for (line, word) in salt.chunks(8).enumerate() {
            let word = word.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            writeln!(text, "fn function_{line}() -> u64 {{ let value = {word}; value }}").unwrap();
        }
        if index < edited {
            writeln!(text, "// what is new in {version}").unwrap();
        }
        total += text.len() as u64;
        fs::write(directory.join(format!("file-{index}.rs")), text).unwrap();
    }
    gpack(root, "text", version);
    total
}

/// A package of incompressible files.
fn noise_package(root: &Path, name: &str, files: usize, bytes: usize) {
    fs::create_dir_all(root).unwrap();
    for index in 0..files {
        fs::write(root.join(format!("file-{index}")), noise(bytes, &format!("{name} {index}"))).unwrap();
    }
    gpack(root, name, "1.0.0");
}

fn gpack(root: &Path, name: &str, version: &str) {
    let text = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"a test package\"\n");
    fs::write(root.join("gpack.toml"), text).unwrap();
}

async fn fetch_from(node: &Node, target: &str, to: &Path, providers: Vec<String>) -> Fetched {
    let to = FetchTo::Path(to.to_owned());
    let request = FetchRequest {
        target: target.to_owned(),
        to,
        timeout: PATIENCE,
        offline: false,
        providers,
        min_reputation: None,
    };
    node.registry.fetch(request, Arc::new(|_: Progress| {})).await.unwrap()
}

fn bytes_of(fetched: &Fetched, peer: &str) -> u64 {
    fetched.providers.iter().find(|provider| provider.peer_id == peer).map_or(0, |provider| provider.bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_travels_compressed_and_its_next_version_as_what_is_new() {
    let work = TempDir::new().unwrap();
    let (old, new) = (work.path().join("old"), work.path().join("new"));
    let raw = text_package(&old, "1.0.0", 150, 0);
    text_package(&new, "1.0.1", 150, 15);
    let alice = Node::start().await;
    let bob = Node::start().await;
    // On a faster link, the peer would send uncompressed bytes.
    let proxy = Proxy::to(&alice.addresses()[0], Some(2_000_000)).await;
    bob.connect(&[proxy.address()]).await;
    alice.publish(&old).await;
    proxy.take_bytes();
    let fetched = bob.fetch("tests/text", &work.path().join("out-old")).await;
    let whole = proxy.take_bytes();
    assert_same(&old, &fetched.path);
    assert!(fetched.bytes_fetched > raw && whole < raw / 2, "{whole} bytes for {raw}");

    alice.publish(&new).await;
    proxy.take_bytes();
    let fetched = bob.fetch("tests/text@1.0.1", &work.path().join("out-new")).await;
    let update = proxy.take_bytes();
    assert_same(&new, &fetched.path);
    assert!(fetched.blocks_fetched > 15 && fetched.bytes_fetched > raw / 10, "{fetched:?}");
    assert!(update < whole / 20 && update < fetched.bytes_fetched / 10, "{update} bytes after {whole}");
}

/// A node that no other node finds: a node that connects to it needs its address.
async fn hidden() -> Node {
    Node::start_as(Config { dht_server_mode: false, ..Config::default() }).await
}

/// With incompressible content over slow links, the shares show which peers were used: three equally slow peers share
/// the work.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_shared_by_three_and_ends_without_the_one_that_stops() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    noise_package(&package, "shared", 60, 100_000);
    let publisher = hidden().await;
    let published = publisher.publish(&package).await;
    let release = published.release.expect("a publish makes a release");
    let mut providers = vec![publisher];
    for index in 0..2 {
        let (mirror, from) = (hidden().await, providers[0].addresses()[..1].to_vec());
        fetch_from(&mirror, &release, &work.path().join(format!("mirror-{index}")), from).await;
        providers.push(mirror);
    }
    for stops in [false, true] {
        let bob = hidden().await;
        let mut ways = Vec::new();
        for provider in &providers {
            let way = Proxy::to(&provider.addresses()[0], Some(2_000_000)).await;
            ways.push(way);
        }
        if stops {
            ways[1].take_bytes();
            ways[1].stop_after(1_000_000);
        }
        let addresses = ways.iter().map(Proxy::address).collect();
        let started = Instant::now();
        let fetched = fetch_from(&bob, &release, &work.path().join(format!("out-{stops}")), addresses).await;
        assert_same(&package, &fetched.path);
        let shares: Vec<_> = providers.iter().map(|provider| bytes_of(&fetched, &provider.peer_id())).collect();
        let least = shares.iter().min().copied().unwrap_or_default();
        assert_eq!(ways[1].has_stopped(), stops, "{shares:?}");
        if stops {
            assert!(shares[0].min(shares[2]) > 1_500_000, "{shares:?}");
            // Two peers alone would need a second and a half.
            assert!(started.elapsed() < Duration::from_secs(10), "{:?}, {shares:?}", started.elapsed());
        } else {
            assert!(least > 1_000_000, "{shares:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_and_one_of_ours_serve_one_fetch_together() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    noise_package(&package, "mixed", 40, 100_000);
    let alice = Node::start().await;
    let published = alice.publish(&package).await;
    let tree = package.clone();
    let (kubo, cid) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let cid = kubo.add_tree(&tree, &[]);
        (kubo, cid)
    })
    .await
    .unwrap();
    assert_eq!(cid, published.cid);
    let bob = Node::start().await;
    let ways =
        [Proxy::to(&alice.addresses()[0], Some(1_000_000)).await, Proxy::to(kubo.tcp_addr(), Some(1_000_000)).await];
    let release = published.release.expect("a publish makes a release");
    let addresses = ways.iter().map(Proxy::address).collect();
    let fetched = fetch_from(&bob, &release, &work.path().join("out"), addresses).await;
    assert_same(&package, &fetched.path);
    let shares = [bytes_of(&fetched, &alice.peer_id()), bytes_of(&fetched, kubo.peer_id())];
    assert!(shares.iter().all(|share| *share > 800_000), "{shares:?}");
}
