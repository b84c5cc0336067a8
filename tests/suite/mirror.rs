//! Mirrors: the packages that the operator selected remain available after their publisher's node stops, and nothing
//! else is kept.

use std::path::Path;

use ggen_marketplace::{GcRequest, MirrorReport, MirrorRequest, MirrorRule, VerifyRequest};
use tempfile::TempDir;

use crate::support::{
    nodes::{Node, PATIENCE},
    trees::{assert_same, noise, varied_package},
};

fn rule(what: &str) -> MirrorRule {
    MirrorRule { what: what.parse().unwrap(), versions: None, max_bytes: None }
}

async fn add(node: &Node, rule: MirrorRule) -> Vec<MirrorReport> {
    node.registry.mirror_add(MirrorRequest { rule }).await.unwrap()
}

/// A package of one small file, for tests that do not depend on its contents.
fn small_package(root: &Path, name: &str, version: &str) {
    std::fs::create_dir_all(root).unwrap();
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"a test package\"\n");
    std::fs::write(root.join("gpack.toml"), gpack).unwrap();
    std::fs::write(root.join("data"), noise(10_000, &format!("{name} {version}"))).unwrap();
}

async fn publish_small(node: &Node, work: &TempDir, name: &str, version: &str) -> String {
    let root = work.path().join(format!("{name}-{version}"));
    small_package(&root, name, version);
    node.publish(&root).await.release.expect("a publish makes a release")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_fetched_by_name_from_a_mirror_when_its_publisher_is_gone_for_good() {
    let work = TempDir::new().unwrap();
    let package = work.path().join("package");
    varied_package(&package, "survivor", "1.1.0");
    let meeting_point = Node::start().await;
    let mirror = Node::start_with(&meeting_point.addresses()).await;
    mirror.connect(&meeting_point.addresses()).await;
    add(&mirror, rule("tests/*")).await;

    let alice = Node::start_with(&meeting_point.addresses()).await;
    alice.connect(&meeting_point.addresses()).await;
    // Other packages of the same publisher, before and after: the highest head is not the one that arrived with the
    // package.
    publish_small(&alice, &work, "before", "0.1.0").await;
    let published = alice.publish(&package).await;
    publish_small(&alice, &work, "after", "0.1.0").await;
    mirror.wait_until_mirrored(3).await;
    alice.stop().await;

    // The meeting point has received the claims too, but has stored none of the blocks.
    let carol = Node::start_with(&meeting_point.addresses()).await;
    carol.connect(&meeting_point.addresses()).await;
    let fetched = carol.fetch("tests/survivor@^1", &work.path().join("by-name")).await;
    assert_same(&package, &fetched.path);
    assert_eq!(fetched.version.as_deref(), Some("1.1.0"));
    assert_eq!(fetched.publisher, published.publisher, "the publisher's signature was checked");
    assert_eq!(fetched.providers.iter().map(|from| &*from.peer_id).collect::<Vec<_>>(), [mirror.peer_id()]);

    // The mirror announces the claims again by itself, even as the only remaining node, and after a restart.
    meeting_point.stop().await;
    let mirror = mirror.restart().await;
    let dave = Node::start_with(&mirror.addresses()).await;
    dave.connect(&mirror.addresses()).await;
    let name = format!("{}/tests/survivor", published.publisher.unwrap());
    let fetched = dave.fetch(&name, &work.path().join("by-qualified-name")).await;
    assert_same(&package, &fetched.path);
    for name in ["before", "after"] {
        let to = work.path().join(format!("fetched-{name}"));
        dave.fetch(&format!("tests/{name}"), &to).await;
        assert_same(&work.path().join(format!("{name}-0.1.0")), &to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_chose_is_not_mirrored_and_what_a_rule_no_longer_wants_is_let_go() {
    let work = TempDir::new().unwrap();
    let mirror = Node::start().await;
    let alice = Node::start().await;
    alice.connect(&mirror.addresses()).await;
    let reports = add(&mirror, MirrorRule { versions: Some(2), ..rule("tests/chosen") }).await;
    assert_eq!(reports.len(), 1);
    let mut releases = Vec::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        releases.push(publish_small(&alice, &work, "chosen", version).await);
    }
    let other = publish_small(&alice, &work, "other", "1.0.0").await;
    // The first version is kept until both versions that replace it are stored.
    let replaced = || mirror.mirrors(&releases[1]) && mirror.mirrors(&releases[2]);
    mirror.wait_until(|| async { replaced() && mirror.holds("tests/chosen") == 2 }).await;
    assert!(!mirror.mirrors(&releases[0]), "three versions, and the rule is about two");
    assert!(!mirror.mirrors(&other));

    // Yanked or not, larger or smaller: a rule that changes takes effect at once.
    add(&mirror, MirrorRule { versions: Some(1), ..rule("tests/chosen") }).await;
    mirror.wait_until(|| async { mirror.holds("tests/chosen") == 1 }).await;
    assert!(mirror.mirrors(&releases[2]));
    let collected = mirror.registry.gc(GcRequest::default()).await.unwrap();
    assert!(collected.freed_bytes > 10_000, "{collected:?}");

    let dropped = mirror.registry.mirror_rm(MirrorRequest { rule: rule("tests/chosen") }).await.unwrap();
    assert_eq!(dropped[0].releases_held, 1);
    // Work in progress under the old rule may have pinned it again; the next round removes the pin.
    mirror.wait_until(|| async { mirror.registry.pin_ls().is_empty() }).await;
    assert_eq!(mirror.holds("tests/chosen"), 0);
    assert!(mirror.registry.mirror_ls().await.unwrap().is_empty());
    mirror.registry.gc(GcRequest::default()).await.unwrap();
    let missing = mirror.registry.mirror_rm(MirrorRequest { rule: rule("tests/chosen") }).await.unwrap_err();
    assert_eq!(missing.kind, ggen_marketplace::ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_begins_late_catches_up_with_the_publisher_it_is_told_of() {
    let work = TempDir::new().unwrap();
    let alice = Node::start().await;
    let releases = [publish_small(&alice, &work, "a", "1.0.0").await, publish_small(&alice, &work, "b", "2.0.0").await];
    let root = work.path().join("b-2.1.0");
    small_package(&root, "b", "2.1.0");
    let newest = alice.publish(&root).await;
    // It received no announcement: it learns the release from the DHT, under the publisher's key.
    let mirror = Node::start_with(&alice.addresses()).await;
    mirror.connect(&alice.addresses()).await;
    add(
        &mirror,
        MirrorRule { versions: Some(1), max_bytes: Some(1 << 20), ..rule(newest.publisher.as_ref().unwrap()) },
    )
    .await;
    mirror.wait_until_mirrored(2).await;
    assert!(mirror.mirrors(&releases[0]) && mirror.mirrors(&newest.release.unwrap()) && !mirror.mirrors(&releases[1]));
    let verified = VerifyRequest { target: None, repair: false, timeout: PATIENCE };
    let report = mirror.registry.verify(verified, std::sync::Arc::new(|_| {})).await.unwrap();
    assert_eq!(report.bad, []);
    let ls = mirror.registry.mirror_ls().await.unwrap();
    assert_eq!((ls[0].packages_held, ls[0].releases_held, ls[0].releases_over_budget), (2, 2, 0));
    assert!(ls[0].bytes_held >= 20_000);
    // The report counts what a smaller budget leaves out.
    let publisher = newest.publisher.unwrap();
    add(&mirror, MirrorRule { versions: Some(1), max_bytes: Some(15_000), ..rule(&publisher) }).await;
    let ls = mirror.registry.mirror_ls().await.unwrap();
    assert_eq!((ls[0].releases_held, ls[0].releases_over_budget), (1, 1));
}
