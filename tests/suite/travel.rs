//! The main use case: package transfers between ggen nodes.

use std::{fs, time::Duration};

use ggen_marketplace::{ErrorKind, FetchTo};
use tempfile::TempDir;

use crate::support::{
    crates::gather,
    nodes::Node,
    trees::{assert_same, assert_same_contents, varied_package},
};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_real_crates_arrive_by_name_and_by_cid() {
    let crates = gather(20);
    let out = TempDir::new().unwrap();
    let alice = Node::start().await;
    let bob = Node::start().await;
    bob.connect(&alice.addresses()).await;
    for package in &crates.packages {
        let published = alice.publish(&package.path).await;
        let by_name = bob.fetch(&published.package, &out.path().join(format!("{}-name", package.name))).await;
        assert_same(&package.path, &by_name.path);
        assert_eq!(by_name.version.as_deref(), Some(published.version.as_str()));
        assert_eq!(by_name.files, package.files as u64);
        let by_cid = bob.fetch(&published.cid, &out.path().join(format!("{}-cid", package.name))).await;
        assert_same_contents(&package.path, &by_cid.path);
        assert_eq!(by_cid.blocks_fetched, 0, "everything was there from the fetch by name");
        let tars = [out.path().join("alice.tar"), out.path().join("bob.tar")];
        alice.fetch_tar(&published.package, &tars[0]).await;
        bob.fetch_tar(&published.package, &tars[1]).await;
        assert!(fs::read(&tars[0]).unwrap() == fs::read(&tars[1]).unwrap(), "the tarballs of {} differ", package.name);
        fs::remove_file(&tars[0]).unwrap();
        fs::remove_file(&tars[1]).unwrap();
    }
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_found_through_the_dht_by_nodes_that_never_met() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "distant", "0.3.0");
    let hub = Node::start().await;
    let alice = Node::start_with(&hub.addresses()).await;
    alice.connect(&hub.addresses()).await;
    let published = alice.publish(&package).await;
    let bob = Node::start_with(&hub.addresses()).await;
    bob.connect(&hub.addresses()).await;
    let by_name = bob.fetch("tests/distant@^0.3", &work.path().join("by-name")).await;
    assert_same(&package, &by_name.path);
    assert_eq!(by_name.providers.len(), 1);
    assert_eq!(by_name.providers[0].peer_id, alice.peer_id());
    let carol = Node::start_with(&hub.addresses()).await;
    carol.connect(&hub.addresses()).await;
    let by_cid = carol.fetch(&published.cid, &work.path().join("by-cid")).await;
    assert_same_contents(&package, &by_cid.path);
    let release = published.release.expect("a publish makes a release");
    let by_release = carol.fetch(&release, &work.path().join("by-release")).await;
    assert_same(&package, &by_release.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_release_is_in_the_catalog_of_those_who_follow() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "announced", "1.0.0");
    let alice = Node::start().await;
    let bob = Node::start().await;
    bob.connect(&alice.addresses()).await;
    alice.publish(&package).await;
    bob.wait_until_known("tests/announced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_that_fits_is_fetched() {
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let bob = Node::start().await;
    bob.connect(&alice.addresses()).await;
    for version in ["1.0.0", "1.2.0", "2.0.0-beta.1"] {
        let package = work.path().join(version);
        varied_package(&package, "versions", version);
        alice.publish(&package).await;
    }
    for (requirement, expected) in
        [("", "1.2.0"), ("@^1", "1.2.0"), ("@=1.0.0", "1.0.0"), ("@2.0.0-beta.1", "2.0.0-beta.1")]
    {
        let to = work.path().join(format!("out{requirement}"));
        let fetched = bob.fetch(&format!("tests/versions{requirement}"), &to).await;
        assert_eq!(fetched.version.as_deref(), Some(expected), "{requirement}");
        assert_same(&work.path().join(expected), &to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_version_is_published_once() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "once", "1.0.0");
    let alice = Node::start().await;
    let first = alice.publish(&package).await;
    assert!(!first.unchanged);
    assert!(first.recovery.as_ref().is_some_and(|recovery| recovery.is_new));
    let again = alice.publish(&package).await;
    assert!(again.unchanged);
    assert_eq!((again.cid, again.release), (first.cid, first.release));
    fs::write(package.join(".hidden"), "changed").unwrap();
    let refused = alice.try_publish(&package).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Failed);
    assert!(refused.message.contains("1.0.0"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_said_to_be_missing() {
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let bob = Node::start().await;
    bob.connect(&alice.addresses()).await;
    let to = || FetchTo::Path(work.path().join("out"));
    let unclaimed = bob.try_fetch("tests/nothing", to(), Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(unclaimed.kind, ErrorKind::NotFound, "{unclaimed:?}");
    let cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    let missing = bob.try_fetch(cid, to(), Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::TimedOut, "{missing:?}");
    assert!(missing.causes.iter().any(|cause| cause.contains("1 peer asked")), "{missing:?}");
    assert!(!work.path().join("out").exists());
}
