//! Connections that break during a fetch: the source is dialled again, and the fetch continues.

use std::{fs, path::Path, sync::Arc, time::Duration};

use ggen_marketplace::{ErrorKind, Failure, FetchRequest, FetchTo, Fetched, Progress};
use tempfile::TempDir;

use crate::support::{
    helia::{Helia, Profile, Security},
    kubo::{Kubo, Options},
    nodes::{Node, PATIENCE},
    proxy::Proxy,
    trees::{assert_same, assert_same_contents, noise},
};

const MB: u64 = 1_000_000;
/// Bytes of a package, in files of 1 MB.
const PACKAGE_BYTES: u64 = 24 * MB;
/// How often the connection is cut, and after how many bytes each time.
const CUTS: [(u64, u32); 3] = [(5 * MB, 1), (5 * MB, 2), (3 * MB, 7)];

fn package(root: &Path, name: &str) {
    fs::create_dir_all(root.join("data")).unwrap();
    for index in 0..PACKAGE_BYTES / MB {
        fs::write(root.join(format!("data/{index}")), noise(MB as usize, &format!("{name} {index}"))).unwrap();
    }
    let text = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"a test package\"\n");
    fs::write(root.join("gpack.toml"), text).unwrap();
}

async fn fetch(
    node: &Node,
    target: &str,
    to: &Path,
    providers: Vec<String>,
    timeout: Duration,
) -> Result<Fetched, Failure> {
    let (target, to) = (target.to_owned(), FetchTo::Path(to.to_owned()));
    let request = FetchRequest { target, to, timeout, offline: false, providers, min_reputation: None };
    node.registry.fetch(request, Arc::new(|_: Progress| {})).await
}

/// Fetches content that only the peer at `address` has, through a proxy that cuts the connection: once, twice, every 3
/// MB.
async fn arrives_through_cuts(address: &str, cid: &str, tree: &Path) {
    let work = TempDir::new().unwrap();
    for (bytes, times) in CUTS {
        let proxy = Proxy::to(address, None).await;
        proxy.cut_every(bytes, times);
        let bob = Node::start_silent().await;
        let out = work.path().join(format!("out-{times}"));
        let fetched = fetch(&bob, cid, &out, vec![proxy.address()], PATIENCE).await.unwrap();
        assert_same_contents(tree, &out);
        assert_eq!(fetched.providers.len(), 1);
        assert_eq!(proxy.cuts(), times, "all came through the proxy");
        bob.stop().await;
    }
}

/// The fetch must not wait for its timeout after the first cut, nor suggest to name the peer that was named.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_from_kubo_goes_on_after_its_connection_was_cut() {
    let work = TempDir::new().unwrap();
    let tree = work.path().join("tree");
    package(&tree, "kubo");
    let adding = tree.clone();
    let (kubo, cid) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let cid = kubo.add_tree(&adding, &[]);
        (kubo, cid)
    })
    .await
    .unwrap();
    arrives_through_cuts(kubo.tcp_addr(), &cid, &tree).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_from_helia_goes_on_after_its_connection_was_cut() {
    let work = TempDir::new().unwrap();
    let tree = work.path().join("tree");
    package(&tree, "helia");
    for (security, profile) in [(Security::Noise, Profile::UnixfsV1), (Security::Tls, Profile::UnixfsV0)] {
        let adding = tree.clone();
        let (helia, cid) = tokio::task::spawn_blocking(move || {
            let mut helia = Helia::start(security);
            let cid = helia.add(&adding, profile);
            (helia, cid)
        })
        .await
        .unwrap();
        arrives_through_cuts(helia.address(), &cid, &tree).await;
    }
}

/// By block lists, on separate connections in addition to that of the swarm; all of them are cut at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_from_a_node_of_ours_goes_on_after_its_connections_were_cut() {
    let work = TempDir::new().unwrap();
    let tree = work.path().join("tree");
    package(&tree, "ours");
    let alice = Node::start().await;
    let published = alice.publish(&tree).await;
    for (bytes, times) in CUTS {
        let proxy = Proxy::to(&alice.addresses()[0], None).await;
        let bob = Node::start_silent().await;
        bob.connect(&[proxy.address()]).await;
        proxy.cut_every(bytes, times);
        let out = work.path().join(format!("out-{times}"));
        let release = published.release.clone().unwrap();
        // No provider is named: the peer that has sent blocks is dialled again.
        fetch(&bob, &release, &out, Vec::new(), PATIENCE).await.unwrap();
        assert_same(&tree, &out);
        assert!(proxy.cuts() > 0);
        bob.stop().await;
    }
    let proxy = Proxy::to(&alice.addresses()[0], None).await;
    proxy.cut_every(3 * MB, 7);
    let bob = Node::start_silent().await;
    let out = work.path().join("out-named");
    fetch(&bob, "tests/ours", &out, vec![proxy.address()], PATIENCE).await.unwrap();
    assert_same(&tree, &out);
    assert!(proxy.cuts() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_named_a_peer_that_is_gone_for_good_is_told_of_it_and_not_advised_to_name_it() {
    let work = TempDir::new().unwrap();
    let tree = work.path().join("tree");
    package(&tree, "vanishes");
    let adding = tree.clone();
    let (kubo, cid) = tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        let cid = kubo.add_tree(&adding, &[]);
        (kubo, cid)
    })
    .await
    .unwrap();
    let proxy = Proxy::to(kubo.tcp_addr(), None).await;
    proxy.cut_every(5 * MB, 1);
    let address = proxy.address();
    let vanishing = tokio::spawn(async move {
        proxy.wait_for_cuts(1).await;
        drop(proxy);
        tokio::task::spawn_blocking(move || drop(kubo)).await.unwrap();
    });
    let bob = Node::start_silent().await;
    let out = work.path().join("out");
    let failure = fetch(&bob, &cid, &out, vec![address.clone()], Duration::from_secs(3)).await.unwrap_err();
    vanishing.await.unwrap();
    assert_eq!(failure.kind, ErrorKind::TimedOut);
    let peer = address.rsplit('/').next().unwrap();
    let cause = failure.causes.join(": ");
    assert!(cause.contains(&format!("the connection to {peer} was lost")), "{failure:?}");
    assert!(cause.contains("cannot be made again: "), "{failure:?}");
    let hint = failure.hint.unwrap().to_string();
    assert!(hint.contains("still runs") && hint.contains("name another"), "{hint}");
}
