//! Category 5, retrieval; and where the content of a publish comes from.

use std::{fs, time::Duration};

use ggen_marketplace::prelude::*;

use crate::support::{Peer, loopback, package};

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_retrieved_from_the_peer_that_has_it() {
    let out = tempfile::tempdir().unwrap();
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    let built = Package::builder(PackageId::new("tests", "retrieved"), Version::new(1, 0, 0))
        .description("Is retrieved")
        .content_id(alice.import("fn main() {}"))
        .executable("src/main.rs")
        .build()
        .unwrap();
    alice.publish(built.clone()).await.unwrap();
    let package = bob.get_package(&built.id).await.unwrap();
    assert_eq!(package.content_id.cid().unwrap(), built.content_id.cid().unwrap());
    assert_eq!(package.executables, ["src/main.rs"]);

    let fetched = bob.fetch("tests/retrieved", &out.path().join("by-name")).await.unwrap();
    assert_eq!(fetched.providers.len(), 1);
    assert_eq!(fetched.providers[0].peer_id, alice.peer_id().to_string());
    let written = fetched.path.join("src/main.rs");
    assert_eq!(fs::read_to_string(&written).unwrap(), "fn main() {}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&written).unwrap().permissions());
    assert_eq!(mode & 0o111, 0o111, "what IPFS drops stands in the release");
    let again = bob.fetch(&package.content_id.to_string(), &out.path().join("by-cid")).await.unwrap();
    assert_eq!(again.blocks_fetched, 0, "all of it came with the first fetch");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_elsewhere_is_fetched_before_it_is_published() {
    let out = tempfile::tempdir().unwrap();
    let alice = Peer::start(&[]).await;
    let bob = Peer::start(&[&alice]).await;
    let content = alice.import("made by alice");
    let published = bob.publish(package("borrowed", "1.0.0", content)).await.unwrap();
    assert!(published.new_blocks > 0, "{published:?}");
    assert_eq!(published.files, 2);
    alice.registry.clone().shutdown().await.unwrap();
    let carol = Peer::start(&[&bob]).await;
    let fetched = carol.fetch("tests/borrowed", &out.path().join("copy")).await.unwrap();
    assert_eq!(fs::read_to_string(fetched.path.join("src/main.rs")).unwrap(), "made by alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_nobody_has_is_not_published_and_the_reason_is_said() {
    let alice = Peer::start(&[]).await;
    let bob = P2PRegistry::builder(loopback(&alice.listen_addresses().unwrap()))
        .patience(Duration::from_secs(1))
        .build()
        .await
        .unwrap();
    bob.bootstrap().await.unwrap();
    let absent = ContentId::new("QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", HashAlgorithm::Sha256);
    let refused = bob.publish(package("absent", "1.0.0", absent)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::TimedOut, "{refused:?}");
    assert!(refused.message.contains("no provider was found"), "{refused}");
    assert!(!bob.exists(&PackageId::new("tests", "absent")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_package_is_refused_before_anything_is_signed() {
    let alice = Peer::start(&[]).await;
    let file: ContentId = ggen_blockstore::Block::raw("a file").map(|block| *block.cid()).unwrap().into();
    ggen_blockstore::Blockstore::put(&alice.store, &ggen_blockstore::Block::raw("a file").unwrap()).unwrap();
    let refused = alice.publish(package("file", "1.0.0", file)).await.unwrap_err();
    assert!(refused.message.contains("a package is a directory"), "{refused}");
    let absent = Package::builder(PackageId::new("tests", "x"), Version::new(1, 0, 0))
        .description("x")
        .content_id(alice.import("x"))
        .executable("no/such/file")
        .build()
        .unwrap();
    let refused = alice.publish(absent).await.unwrap_err();
    assert!(refused.message.contains("no/such/file"), "{refused}");
    assert_eq!(alice.metadata().await.unwrap().packages_published, 0);
}
