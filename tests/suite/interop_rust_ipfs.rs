//! ggen nodes and rust-ipfs, a second independent implementation, in this process.

use std::fs;

use tempfile::TempDir;

use crate::support::{
    nodes::Node,
    rust_ipfs::RustIpfs,
    trees::{noise, varied_package},
};

#[tokio::test(flavor = "multi_thread")]
async fn single_files_pass_both_ways() {
    let work = TempDir::new().unwrap();
    let theirs = work.path().join("theirs.bin");
    fs::write(&theirs, noise(900_000, "theirs")).unwrap();
    let peer = RustIpfs::start().await;
    let cid = peer.add_file(&theirs).await;
    let alice = Node::start().await;
    alice.connect(&peer.addrs()).await;
    let fetched = alice.fetch(&cid, &work.path().join("fetched.bin")).await;
    assert!(fs::read(&fetched.path).unwrap() == fs::read(&theirs).unwrap());

    let package = work.path().join("package");
    varied_package(&package, "for-rust-ipfs", "1.0.0");
    let published = alice.publish(&package).await;
    let path = format!("/ipfs/{}/src/deep/er/big.bin", published.cid);
    let file = alice.fetch(&path, &work.path().join("big.bin")).await;
    assert!(peer.cat(&file.cid).await == fs::read(package.join("src/deep/er/big.bin")).unwrap());
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_ipfs_walks_our_tree_block_by_block() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "walked", "1.0.0");
    let alice = Node::start().await;
    let published = alice.publish(&package).await;
    let peer = RustIpfs::start().await;
    peer.connect(&alice.addresses()[0]).await;
    let mut open = vec![ggen_blockstore::parse_cid(&published.cid).unwrap()];
    let mut blocks = 0;
    while let Some(cid) = open.pop() {
        let bytes = peer.block(&cid.to_string()).await;
        let block = ggen_blockstore::Block::verify(cid, bytes).unwrap();
        open.extend(ggen_blockstore::links(&cid, block.data()).unwrap());
        blocks += 1;
    }
    assert_eq!(blocks, published.blocks);
    peer.stop().await;
}
