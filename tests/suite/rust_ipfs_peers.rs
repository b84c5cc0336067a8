//! The rust-ipfs test harness itself: files are transferred between two such nodes, and between such a node and Kubo,
//! in both directions.

use std::fs;

use tempfile::TempDir;

use crate::support::kubo::{Kubo, Options};
use crate::support::rust_ipfs::RustIpfs;

fn sample(seed: u32) -> Vec<u8> {
    (0..700_000_u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rust_ipfs_nodes_exchange_a_file() {
    let work = TempDir::new().unwrap();
    let file = work.path().join("file");
    fs::write(&file, sample(1)).unwrap();
    let alice = RustIpfs::start().await;
    let bob = RustIpfs::start().await;
    for address in alice.addrs() {
        assert!(address.starts_with("/ip4/127.0.0.1/tcp/"), "{address}");
    }
    let cid = alice.add_file(&file).await;
    bob.connect(&alice.addrs()[0]).await;
    assert!(bob.cat(&cid).await == sample(1));
    assert_eq!(bob.block(&cid).await, alice.block(&cid).await);
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_ipfs_and_kubo_exchange_files_both_ways() {
    let work = TempDir::new().unwrap();
    let (theirs, ours) = (work.path().join("theirs"), work.path().join("ours"));
    fs::write(&theirs, sample(2)).unwrap();
    fs::write(&ours, sample(3)).unwrap();
    let kubo = Kubo::start(&Options::default());
    let rust = RustIpfs::start().await;
    rust.connect(kubo.tcp_addr()).await;

    let cid = kubo.add_tree(&theirs, &[]);
    assert!(rust.cat(&cid).await == sample(2));
    let cid = rust.add_file(&ours).await;
    assert!(kubo.cat(&cid) == sample(3));
    assert_eq!(kubo.swarm_peers(), [rust.peer_id()]);
    rust.stop().await;
}
