//! One key on two machines: the second continues from what the first has published, and never signs a second history
//! without a warning.

use std::fs;

use crate::support::{Home, Node, Output, check_human, copy_tree, package};

const CONFIGURATION: &str = "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n";

/// A node that mirrors everything.
fn hub() -> (Home, Node) {
    let hub = Home::new();
    hub.configure(&format!("{CONFIGURATION}[[mirror.rules]]\nwhat = \"all\"\n"));
    let node = hub.start(&[]);
    (hub, node)
}

fn publish(home: &Home, version: &str, more: &[&str]) -> Output {
    let root = package(&home.work().join("one"), "one", version);
    home.p2p(&[&["publish", root.to_str().unwrap(), "--namespace", "acme"], more].concat())
}

/// A home that publishes through the hub, and one with the same key on another machine, both having published 1.0.0.
fn twins(address: &str) -> (Home, Home) {
    let (first, second) = (Home::new(), Home::new());
    let configuration = format!("bootstrap_nodes = [\"{address}\"]\n{CONFIGURATION}");
    first.configure(&configuration);
    publish(&first, "1.0.0", &["--min-replicas", "1"]).expect_code(0);
    let keys = second.path().join("keys");
    copy_tree(&first.path(), &second.path());
    fs::remove_file(keys.join("node.key")).unwrap();
    (first, second)
}

fn versions(home: &Home) -> Vec<String> {
    let known = home.p2p(&["--format", "json", "info", "acme/one", "--versions"]).expect_code(0).json();
    assert_eq!(known["claims"][0]["equivocation"], false, "{known}");
    let releases = known["releases"].as_array().unwrap();
    let mut versions: Vec<_> = releases.iter().map(|release| release["version"].as_str().unwrap().to_owned()).collect();
    versions.sort();
    versions
}

#[test]
fn publish_goes_on_from_what_another_machine_has_published_with_the_same_key() {
    let (hub, node) = hub();
    let (first, second) = twins(node.address());
    publish(&first, "1.1.0", &["--min-replicas", "1"]).expect_code(0);
    // It has not received the other publication, because its node was not running.
    publish(&second, "1.2.0", &["--min-replicas", "1"]).expect_code(0);
    second.p2p(&["yank", "acme/one@1.1.0"]).expect_code(0);
    publish(&first, "1.3.0", &["--min-replicas", "1"]).expect_code(0);
    let expected = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];
    for home in [&hub, &first] {
        assert_eq!(versions(home), expected);
    }
}

#[test]
fn second_history_is_refused_with_what_to_do() {
    let (_hub, node) = hub();
    let (first, second) = twins(node.address());
    for version in ["1.1.0", "1.2.0"] {
        publish(&first, version, &["--min-replicas", "1"]).expect_code(0);
    }
    // Signed while the other machine's publications were unreachable.
    let configured = fs::read_to_string(second.path().join("p2p-config.toml")).unwrap();
    second.configure(CONFIGURATION);
    publish(&second, "2.0.0", &[]).expect_code(0);
    second.configure(&configured);

    let refused = publish(&second, "2.1.0", &[]);
    let parts = ["two histories", "lacks `acme/one@2.0.0`, step 2 of this home", "keys/default.head"];
    check_human(&refused, 3, &parts);
    assert_eq!(publish(&second, "2.1.0", &["--dry-run"]).code, Some(0), "a dry run signs nothing");
    // The advice of the message.
    fs::remove_file(second.path().join("keys/default.head")).unwrap();
    publish(&second, "2.1.0", &["--min-replicas", "1"]).expect_code(0);
    assert_eq!(versions(&first), ["1.0.0", "1.1.0", "1.2.0", "2.1.0"]);
}
