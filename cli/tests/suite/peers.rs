//! Records about other peers, through the binary.

use std::fs;

use serde_json::Value;

use crate::support::{Home, package};

/// A peer id that no peer has.
const STRANGER: &str = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";

fn only(list: &Value) -> &Value {
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    &list[0]
}

#[test]
fn peer_that_delivered_is_listed_described_and_remembered_without_a_node() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let first = alice.start(&[]);
    alice.publish(&root);
    let mut second = bob.start(&["--bootstrap", first.address()]);
    let fetched = bob.p2p(&["--format", "json", "fetch", "acme/http"]).expect_code(0).json();
    let id = first.listening["peer_id"].as_str().unwrap();

    let list = bob.p2p(&["--format", "json", "peer-list"]).expect_code(0).json();
    let peer = only(&list);
    assert_eq!((peer["peer_id"].as_str(), peer["connected"].as_bool()), (Some(id), Some(true)));
    assert_eq!((&peer["reputation"], &peer["successful_retrievals"]), (&1.0.into(), &1.into()));
    assert_eq!((&peer["failed_retrievals"], &peer["packages_provided"]), (&0.into(), &1.into()));
    assert!(peer["agent"].as_str().unwrap().starts_with("ggen/"), "{peer}");
    assert!(peer["last_seen"].as_str().unwrap().ends_with('Z'), "{peer}");
    assert!(peer["addresses"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/"), "{peer}");
    assert!(peer.get("latency_ms").is_some() && peer.get("history").is_none(), "{peer}");

    let full = bob.p2p(&["--format", "json", "peer-info", id, "--full"]).expect_code(0).json();
    let event = only(&full["history"]);
    assert_eq!((&event["event"], &event["package"]), (&"retrieved".into(), &"acme/http".into()));
    assert_eq!(event["bytes"], fetched["bytes_fetched"]);
    let table = bob.p2p(&["peer-list", "--verbose"]).expect_code(0).stdout;
    assert!(table.contains(id) && table.contains("connected") && table.contains("1 package"), "{table}");
    assert!(bob.p2p(&["peer-info", first.address()]).expect_code(0).stdout.contains("1 retrievals succeeded"));

    bob.p2p(&["stop"]).expect_code(0);
    assert_eq!(second.wait(), Some(0));
    let list = bob.p2p(&["--format", "json", "peer-list", "--min-reputation", "0.7"]).expect_code(0).json();
    let peer = only(&list);
    assert_eq!((&peer["connected"], &peer["successful_retrievals"]), (&false.into(), &1.into()));
    assert_eq!(peer["bytes_received"], fetched["bytes_fetched"]);
}

#[test]
fn unknown_peer_and_what_is_no_peer_have_their_exit_codes() {
    let home = Home::on_loopback();
    for command in [&["peer-info", STRANGER] as &[&str], &["peer", "reset", STRANGER]] {
        let output = home.p2p(&[&["--format", "json"], command].concat()).expect_code(4);
        assert!(output.json()["error"]["hint"].as_str().unwrap().contains("peer-list"), "{output:?}");
    }
    for command in [&["peer-info", "Qm-not-a-peer"] as &[&str], &["peer", "deny", "/ip4/127.0.0.1/tcp/4001"]] {
        let output = home.p2p(&[&["--format", "json"], command].concat()).expect_code(2);
        assert!(output.json()["error"]["hint"].as_str().unwrap().contains("12D3Koo"), "{output:?}");
    }
    home.p2p(&["peer-list", "--min-reputation", "1.5"]).expect_code(2);
    assert_eq!(home.p2p(&["--format", "json", "peer-list"]).expect_code(0).json(), serde_json::json!([]));
}

#[test]
fn lists_are_kept_with_and_without_a_node() {
    let home = Home::on_loopback();
    let lists = |command: &str| home.p2p(&["--format", "json", "peer", command, STRANGER]).expect_code(0).json();
    assert_eq!(lists("deny"), serde_json::json!({"allowed": [], "denied": [STRANGER]}));
    let node = home.start(&[]);
    let listed = home.p2p(&["--format", "json", "peer-info", STRANGER]).expect_code(0).json();
    assert_eq!((&listed["listed"], &listed["last_seen"]), (&"denied".into(), &Value::Null));
    assert_eq!(lists("allow"), serde_json::json!({"allowed": [STRANGER], "denied": []}));
    let me = node.listening["peer_id"].as_str().unwrap();
    home.p2p(&["peer", "deny", me]).expect_code(2);
    drop(node);
    assert_eq!(lists("reset"), serde_json::json!({"allowed": [], "denied": []}));
}

#[test]
fn damaged_book_of_peers_is_set_aside_and_that_of_a_newer_program_is_left_alone() {
    let home = Home::on_loopback();
    home.p2p(&["peer", "deny", STRANGER]).expect_code(0);
    let book = home.path().join("peers.db");
    let mut bytes = fs::read(&book).unwrap();
    // The schema version, 60 bytes into the header of every SQLite file.
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&book, &bytes).unwrap();
    let output = home.p2p(&["--format", "json", "peer-list"]).expect_code(1);
    assert!(output.json()["error"]["hint"].as_str().unwrap().contains("peers.db"), "{output:?}");

    fs::write(&book, "no database, however one looks at it").unwrap();
    let output = home.p2p(&["--format", "json", "--verbose", "peer-list"]).expect_code(0);
    let listed = output.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    // The copy contains the lists.
    assert_eq!((&listed[0]["peer_id"], &listed[0]["listed"]), (&STRANGER.into(), &"denied".into()));
    assert!(output.stderr.contains("begin anew"), "{output:?}");
    assert!(home.path().join("peers.db.damaged-1").exists());
}
