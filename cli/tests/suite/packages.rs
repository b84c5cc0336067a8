//! Packages through the binary: published on one node, fetched on another.

use std::{collections::BTreeMap, fs};

use crate::support::{Home, Tree, package, tree};

#[test]
fn package_published_on_one_node_is_fetched_on_another_by_name_and_by_cid() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let first = alice.start(&[]);
    let published = alice.publish(&root);
    assert_eq!(published["package"], "acme/http");
    let _second = bob.start(&["--bootstrap", first.address()]);

    let fetched = bob.p2p(&["--format", "json", "fetch", "acme/http@^1.2"]).expect_code(0).json();
    assert_eq!(fetched["cid"], published["cid"]);
    assert_eq!(fetched["publisher"], published["publisher"]);
    assert_eq!(fetched["path"], bob.work().join("http").to_str().unwrap());
    assert_eq!(tree(&bob.work().join("http")), tree(&root));

    let cid = published["cid"].as_str().unwrap();
    let plain = bob.p2p(&["--format", "json", "fetch", cid, "-o", "plain"]).expect_code(0).json();
    assert_eq!(plain["package"], serde_json::Value::Null);
    assert_eq!(plain["blocks_fetched"], 0, "all of it came with the first fetch");
    let without_bits =
        |files: Tree| files.into_iter().map(|(path, (bytes, _))| (path, bytes)).collect::<BTreeMap<_, _>>();
    assert_eq!(without_bits(tree(&bob.work().join("plain"))), without_bits(tree(&root)));
}

#[test]
fn tarball_is_the_same_on_both_nodes() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    let first = alice.start(&[]);
    let published = alice.publish(&root);
    let release = published["release"].as_str().unwrap();
    bob.p2p(&["fetch", release, "--provider", first.address(), "--tar", "x.tar"]).expect_code(0);
    alice.p2p(&["fetch", release, "--tar", "x.tar"]).expect_code(0);
    let bytes = |home: &Home| fs::read(home.work().join("x.tar")).unwrap();
    assert!(bytes(&alice) == bytes(&bob));
}

#[test]
fn publish_and_offline_fetch_work_without_a_daemon() {
    let alice = Home::on_loopback();
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    let first = alice.publish(&root);
    assert_eq!(first["recovery"]["is_new"], true, "the first publish makes the recovery key");
    let again = alice.publish(&root);
    assert_eq!(again["unchanged"], true);
    assert_eq!(again["cid"], first["cid"]);
    assert_eq!(again["recovery"]["is_new"], false);
    alice.p2p(&["fetch", "acme/http", "--offline", "-o", "copy"]).expect_code(0);
    assert_eq!(tree(&alice.work().join("copy")), tree(&root));

    fs::write(root.join("more"), "x").unwrap();
    let output = alice.p2p(&["publish", root.to_str().unwrap(), "--namespace", "acme"]);
    assert_ne!(output.code, Some(0), "another content under the same version: {output:?}");

    let hits = alice.p2p(&["--format", "json", "search", "test", "--local"]).expect_code(0).json();
    assert_eq!(hits[0]["package"], "acme/http");
    let keys = alice.p2p(&["--format", "json", "key", "list"]).expect_code(0).json();
    assert!(keys.as_array().unwrap().iter().any(|key| key["publisher"] == first["publisher"]), "{keys}");
}

#[test]
fn dry_run_lists_the_files_and_leaves_nothing() {
    let alice = Home::on_loopback();
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    let listed = alice.p2p(&["--format", "json", "publish", "--dry-run", root.to_str().unwrap()]).expect_code(0).json();
    assert_eq!(
        listed["entries"],
        serde_json::json!(["gpack.toml", "run.sh", "src", "src/deep", "src/deep/empty", "src/large"])
    );
    assert_eq!(listed["release"], serde_json::Value::Null);
    alice.p2p(&["fetch", listed["cid"].as_str().unwrap(), "--offline"]).expect_code(4);
}

#[test]
fn what_cannot_be_fetched_has_the_exit_code_of_its_reason() {
    let bob = Home::on_loopback();
    let _node = bob.start(&[]);
    let absent = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let cases: [(&str, i32); 3] = [("bafynotacid/x/y/z/w", 2), (absent, 5), ("nobody/claims", 4)];
    for (target, code) in cases {
        let output = bob.p2p(&["--format", "json", "fetch", target, "--timeout", "2", "-o", "out"]).expect_code(code);
        assert!(output.json()["error"]["message"].is_string(), "{target}: {output:?}");
        assert!(!bob.work().join("out").exists(), "{target}: something was written");
    }
}

#[test]
fn update_replaces_what_differs_removes_what_is_gone_and_leaves_strangers() {
    let alice = Home::on_loopback();
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    alice.publish(&root);
    alice.p2p(&["fetch", "acme/http", "--offline", "-o", "copy"]).expect_code(0);
    let copy = alice.work().join("copy");
    fs::write(copy.join("mine"), "mine").unwrap();
    package(&root, "http", "2.0.0");
    fs::remove_file(root.join("run.sh")).unwrap();
    alice.publish(&root);
    let refused = alice.p2p(&["fetch", "acme/http", "--offline", "-o", "copy"]).expect_code(1);
    assert!(refused.stderr.contains("--update"), "{refused:?}");

    let update = ["fetch", "acme/http", "--offline", "--update", "-o", "copy"];
    let updated = alice.p2p(&[&["--format", "json"], &update as &[&str]].concat()).expect_code(0).json();
    assert_eq!((&updated["version"], &updated["files_kept"]), (&"2.0.0".into(), &2.into()));
    assert_eq!((&updated["untracked"], &updated["files_removed"]), (&serde_json::json!(["mine"]), &1.into()));
    let told = alice.p2p(&update).expect_code(0);
    assert!(told.stderr.contains("kept (not part of the package): mine"), "{told:?}");
    fs::remove_file(copy.join("mine")).unwrap();
    assert_eq!(tree(&copy), tree(&root));
}

/// A home's cache of a directory must not hide an edit.
#[test]
fn edit_that_keeps_length_and_time_is_published() {
    let alice = Home::on_loopback();
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    let first = alice.publish(&root)["cid"].clone();
    for round in 1..4_u8 {
        let file = root.join("src/large");
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, vec![7 + round; 3_000_000]).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let path = root.to_str().unwrap();
        let dry = alice.p2p(&["--format", "json", "publish", path, "--dry-run"]).expect_code(0).json();
        let version = format!("1.0.{round}");
        let args = ["--format", "json", "publish", path, "--namespace", "acme", "--version", &version];
        let published = alice.p2p(&args).expect_code(0).json();
        assert_eq!(published["cid"], dry["cid"], "a dry run reads everything");
        assert_ne!(published["cid"], first);
    }
    assert!(alice.path().join("imports").is_dir(), "the home remembers");
}
