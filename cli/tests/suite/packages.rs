//! Packages through the binary: published on one node, fetched on another.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::support::{Home, Node};

/// Writes a package of a few files, one of them executable, and returns its directory.
fn package(home: &Home, name: &str, version: &str) -> PathBuf {
    let root = home.work().join(name);
    fs::create_dir_all(root.join("src/deep")).unwrap();
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"A test package\"\n");
    fs::write(root.join("gpack.toml"), manifest).unwrap();
    fs::write(root.join("src/deep/empty"), "").unwrap();
    fs::write(root.join("src/large"), vec![7; 3_000_000]).unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// Every file below `root`: its bytes and whether it is executable.
fn tree(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, bool)> {
    let mut files = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let executable = path.metadata().unwrap().permissions().mode() & 0o100 != 0;
                files.insert(path.strip_prefix(root).unwrap().to_owned(), (fs::read(&path).unwrap(), executable));
            }
        }
    }
    files
}

/// A home whose commands keep to loopback, with or without a daemon.
fn home() -> Home {
    let home = Home::new();
    home.configure("mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n");
    home
}

fn publish(home: &Home, root: &Path) -> serde_json::Value {
    let args = ["--format", "json", "publish", root.to_str().unwrap(), "--namespace", "acme"];
    home.p2p(&args).expect_code(0).json()
}

fn address(node: &Node) -> String {
    node.listening["listen_addresses"][0].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs a registry that publishes"]
fn package_published_on_one_node_is_fetched_on_another_by_name_and_by_cid() {
    let (alice, bob) = (home(), home());
    let root = package(&alice, "http", "1.2.0");
    let first = alice.start(&[]);
    let published = publish(&alice, &root);
    assert_eq!(published["package"], "acme/http");
    let _second = bob.start(&["--bootstrap", &address(&first)]);

    let fetched = bob.p2p(&["--format", "json", "fetch", "acme/http@^1.2"]).expect_code(0).json();
    assert_eq!(fetched["cid"], published["cid"]);
    assert_eq!(fetched["publisher"], published["publisher"]);
    assert_eq!(fetched["path"], bob.work().join("http").to_str().unwrap());
    assert_eq!(tree(&bob.work().join("http")), tree(&root));

    let cid = published["cid"].as_str().unwrap();
    let plain = bob.p2p(&["--format", "json", "fetch", cid, "-o", "plain"]).expect_code(0).json();
    assert_eq!(plain["package"], serde_json::Value::Null);
    assert_eq!(plain["blocks_fetched"], 0, "all of it came with the first fetch");
    let without_bits = |files: BTreeMap<PathBuf, (Vec<u8>, bool)>| {
        files.into_iter().map(|(path, (bytes, _))| (path, bytes)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(without_bits(tree(&bob.work().join("plain"))), without_bits(tree(&root)));
}

#[test]
#[ignore = "needs a registry that publishes"]
fn tarball_is_the_same_on_both_nodes() {
    let (alice, bob) = (home(), home());
    let root = package(&alice, "http", "1.0.0");
    let first = alice.start(&[]);
    let published = publish(&alice, &root);
    let release = published["release"].as_str().unwrap();
    let provider = address(&first);
    bob.p2p(&["fetch", release, "--provider", &provider, "--tar", "x.tar"]).expect_code(0);
    alice.p2p(&["fetch", release, "--tar", "x.tar"]).expect_code(0);
    let bytes = |home: &Home| fs::read(home.work().join("x.tar")).unwrap();
    assert!(bytes(&alice) == bytes(&bob));
}

#[test]
#[ignore = "needs a registry that publishes"]
fn publish_and_offline_fetch_work_without_a_daemon() {
    let alice = home();
    let root = package(&alice, "http", "1.0.0");
    let first = publish(&alice, &root);
    assert!(first["recovery_key"].is_string(), "the first publish shows the recovery key");
    let again = publish(&alice, &root);
    assert_eq!(again["unchanged"], true);
    assert_eq!(again["cid"], first["cid"]);
    assert!(again.get("recovery_key").is_none(), "it is shown once");
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
#[ignore = "needs a registry that publishes"]
fn dry_run_lists_the_files_and_leaves_nothing() {
    let alice = home();
    let root = package(&alice, "http", "1.0.0");
    let listed = alice.p2p(&["--format", "json", "publish", "--dry-run", root.to_str().unwrap()]).expect_code(0).json();
    assert_eq!(listed["entries"], serde_json::json!(["gpack.toml", "run.sh", "src/deep/empty", "src/large"]));
    assert_eq!(listed["release"], serde_json::Value::Null);
    alice.p2p(&["fetch", listed["cid"].as_str().unwrap(), "--offline"]).expect_code(4);
}

#[test]
#[ignore = "needs a registry that publishes"]
fn what_cannot_be_fetched_has_the_exit_code_of_its_reason() {
    let bob = home();
    let _node = bob.start(&[]);
    let absent = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let cases: [(&str, i32); 3] = [("bafynotacid/x/y/z/w", 2), (absent, 5), ("nobody/claims", 4)];
    for (target, code) in cases {
        let output = bob.p2p(&["--format", "json", "fetch", target, "--timeout", "2", "-o", "out"]).expect_code(code);
        assert!(output.json()["error"]["message"].is_string(), "{target}: {output:?}");
        assert!(!bob.work().join("out").exists(), "{target}: something was written");
    }
}
