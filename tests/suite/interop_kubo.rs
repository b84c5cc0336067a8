//! ggen nodes and stock Kubo: the four directions of a package transfer.

use std::fs;

use tempfile::TempDir;

use crate::support::{
    ONE_KUBO_FETCHES,
    kubo::{Import, Kubo, Options, Routing, wait_until},
    nodes::Node,
    trees::{assert_same_contents, varied_package},
};

#[tokio::test(flavor = "multi_thread")]
async fn kubo_gets_what_we_publish_with_the_cid_and_a_connection() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "for-kubo", "1.0.0");
    let alice = Node::start().await;
    let published = alice.publish(&package).await;
    let release = published.release.clone().expect("a publish makes a release");
    let addresses = alice.addresses();
    let out = work.path().join("out");
    let at_kubo = out.clone();
    tokio::task::spawn_blocking(move || {
        let kubo = Kubo::start(&Options::default());
        kubo.swarm_connect(&addresses[0]);
        kubo.get(&published.cid, &at_kubo);
        kubo.pin_add(&release);
        assert_eq!(kubo.pin_ls(), [release.as_str()]);
        // The pin keeps manifest and content, and nothing of the publisher's history.
        let pinned = kubo.refs_recursive(&release);
        let mut expected = kubo.refs_recursive(&published.cid);
        expected.push(published.cid.clone());
        let beside: Vec<_> = pinned.iter().filter(|cid| !expected.contains(cid)).collect();
        assert_eq!(beside.len(), 2, "the manifest's root and its one chunk: {beside:?}");
        assert_eq!(pinned.len(), expected.len() + beside.len());
    })
    .await
    .unwrap();
    assert_same_contents(&package, &out);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_gives_the_same_tree_the_same_cid() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "same-cid", "1.0.0");
    fs::write(package.join("empty"), "").unwrap();
    fs::create_dir(package.join("empty-folder")).unwrap();
    fs::create_dir(package.join("sharded")).unwrap();
    for index in 0..5000 {
        fs::write(package.join(format!("sharded/a-file-with-a-rather-long-name-{index:05}")), "x").unwrap();
    }
    let alice = Node::start().await;
    let published = alice.publish(&package).await;
    let tree = package.clone();
    let theirs =
        tokio::task::spawn_blocking(move || Kubo::start(&Options::default()).add_tree(&tree, &["--only-hash"]));
    assert_eq!(theirs.await.unwrap(), published.cid);
}

#[tokio::test(flavor = "multi_thread")]
async fn we_fetch_what_kubo_added_in_both_profiles() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    for import in [Import::UnixfsV1, Import::LegacyCidV0] {
        let work = TempDir::new().unwrap();
        let package = work.path().join("package");
        varied_package(&package, "from-kubo", "1.0.0");
        // Kubo cannot serve the empty block, whose content is known without a transfer.
        fs::write(package.join("empty"), "").unwrap();
        let tree = package.clone();
        let (kubo, cid) = tokio::task::spawn_blocking(move || {
            let kubo = Kubo::start(&Options { import, ..Options::default() });
            let cid = kubo.add_tree(&tree, &[]);
            (kubo, cid)
        })
        .await
        .unwrap();
        let bob = Node::start().await;
        bob.connect(&[kubo.tcp_addr().to_owned()]).await;
        let fetched = bob.fetch(&cid, &work.path().join("out")).await;
        assert_same_contents(&package, &fetched.path);
        assert_eq!(fetched.providers[0].peer_id, kubo.peer_id());
        let file = bob.fetch(&format!("/ipfs/{cid}/src/deep/er/big.bin"), &work.path().join("big.bin")).await;
        assert!(fs::read(&file.path).unwrap() == fs::read(package.join("src/deep/er/big.bin")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubo_and_we_find_each_other_through_the_ipfs_dht() {
    let _one = ONE_KUBO_FETCHES.lock().await;
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "discovered", "1.0.0");
    let hub = Node::start().await;
    let alice = Node::start_with(&hub.addresses()).await;
    alice.connect(&hub.addresses()).await;
    let published = alice.publish(&package).await;
    let entrance = hub.addresses().remove(0);
    let (alice_id, out) = (alice.peer_id(), work.path().join("from-us"));
    let (tree, at_kubo) = (package.clone(), out.clone());
    let (kubo, cid) = tokio::task::spawn_blocking(move || {
        // It enters the network while it is running: Kubo 0.42 does not request blocks from peers that connected before
        // its Bitswap started, so with bootstrap nodes `ipfs get` sometimes hangs.
        let routing = Routing::Amino { bootstrap: Vec::new() };
        let kubo = Kubo::start(&Options { routing, ..Options::default() });
        kubo.swarm_connect(&entrance);
        wait_until("Kubo finds our provider record", || kubo.findprovs(&published.cid).contains(&alice_id));
        kubo.get(&published.cid, &at_kubo);
        fs::write(tree.join("src/only-at-kubo"), "new").unwrap();
        let cid = kubo.add_tree(&tree, &[]);
        wait_until("Kubo announces", || kubo.try_cmd(&["routing", "provide", &cid]).status.success());
        (kubo, cid)
    })
    .await
    .unwrap();
    fs::remove_file(package.join("src/only-at-kubo")).unwrap();
    assert_same_contents(&package, &out);
    let bob = Node::start_with(&hub.addresses()).await;
    bob.connect(&hub.addresses()).await;
    let fetched = bob.fetch(&cid, &work.path().join("from-kubo")).await;
    assert_eq!(fs::read(fetched.path.join("src/only-at-kubo")).unwrap(), b"new");
    assert!(fetched.providers.iter().any(|provider| provider.peer_id == kubo.peer_id()));
}
