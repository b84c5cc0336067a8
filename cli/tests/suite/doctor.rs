//! `doctor` by the real binary: with a node and without one, and its exit codes.

use std::fs;

use serde_json::Value;

use crate::support::{Home, package};

fn names(diagnosis: &Value) -> Vec<(String, Option<bool>)> {
    let stages = diagnosis["stages"].as_array().unwrap();
    let of = |stage: &Value| {
        let ok = &stage["ok"];
        assert!(ok.is_boolean() || ok.is_null(), "{stage}");
        (stage["name"].as_str().unwrap().to_owned(), ok.as_bool())
    };
    stages.iter().map(of).collect()
}

fn failed(diagnosis: &Value) -> Vec<String> {
    names(diagnosis).into_iter().filter(|(_, ok)| *ok == Some(false)).map(|(name, _)| name).collect()
}

fn doctor(home: &Home, args: &[&str], code: i32) -> Value {
    home.p2p(&[&["--format", "json", "doctor", "--timeout", "3"], args].concat()).expect_code(code).json()
}

#[test]
fn through_a_node_every_stage_of_a_target_is_told() {
    let (alice, bob) = (Home::new(), Home::new());
    let node = alice.start(&[]);
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    alice.publish(&root);
    let _bob = bob.start(&["--bootstrap", node.address()]);
    let diagnosis = doctor(&bob, &["acme/http"], 0);
    let expected = [
        "store",
        "listen",
        "reachability",
        "bootstrap",
        "dht",
        "name",
        "record",
        "providers",
        "dial",
        "blocks",
        "verify",
    ];
    // The absence of connections to bob does not show whether peers could connect.
    let ok = |name: &str| (name != "reachability").then_some(true);
    assert_eq!(names(&diagnosis), expected.map(|name| (name.to_owned(), ok(name))));
    for stage in diagnosis["stages"].as_array().unwrap() {
        assert!(stage["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{stage}");
        assert!(stage.get("hint").is_some(), "{stage}");
    }
    let text = bob.p2p(&["doctor"]).expect_code(0).stdout;
    assert!(text.starts_with("store         ok      "), "{text}");
    assert_eq!(failed(&doctor(&bob, &["acme/none"], 4)), ["name"]);
    bob.p2p(&["doctor", "not a target"]).expect_code(2);
}

#[test]
fn without_a_node_that_is_what_is_wrong() {
    let home = Home::on_loopback();
    let diagnosis = doctor(&home, &[], 4);
    assert_eq!(failed(&diagnosis), ["listen", "bootstrap"]);
    let output = home.p2p(&["doctor", "acme/http"]).expect_code(4);
    assert!(output.stdout.contains("hint: start one with `ggen marketplace p2p start --daemon`"), "{output:?}");
    assert!(output.stdout.contains("name          unknown"), "{output:?}");

    // The home is checked nevertheless.
    let root = package(&home.work().join("http"), "http", "1.0.0");
    home.publish(&root);
    let diagnosis = doctor(&home, &["acme/http"], 4);
    assert_eq!(failed(&diagnosis), ["listen", "bootstrap"]);
    let checked: Vec<_> =
        names(&diagnosis).into_iter().filter(|(_, ok)| *ok == Some(true)).map(|(name, _)| name).collect();
    assert_eq!(checked, ["store", "name", "record", "blocks", "verify"]);
}

#[test]
fn a_store_that_cannot_be_opened_is_the_first_stage() {
    let home = Home::on_loopback();
    home.p2p(&["search", "x", "--local"]).expect_code(0);
    let version = home.path().join("store/VERSION");
    assert!(version.exists());
    fs::write(&version, "ggen-blockstore 99\nseed of a later version\n").unwrap();
    let diagnosis = doctor(&home, &[], 1);
    assert_eq!(names(&diagnosis), [("store".to_owned(), Some(false))]);
}

#[test]
fn wrong_configuration_is_no_diagnosis() {
    let home = Home::new();
    home.configure("dns_servers = [\"here\"]\n");
    let output = home.p2p(&["doctor"]).expect_code(2);
    assert!(output.stderr.contains("invalid value `here`: entry 1 of `dns_servers`"), "{output:?}");
}
