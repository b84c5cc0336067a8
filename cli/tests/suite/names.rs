//! The name of a package and other publishers of that name: shown before the publish.

use serde_json::Value;

use crate::support::{Home, package};

fn warnings(report: &Value) -> Vec<String> {
    report["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

#[test]
fn name_without_a_namespace_is_shown_in_full_and_said_to_stay() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("hello"), "hello", "1.0.0");
    let root = root.to_str().unwrap();
    let dry = home.p2p(&["--format", "json", "publish", root, "--dry-run"]).expect_code(0).json();
    assert_eq!(dry["package"], "<publisher>/hello");
    assert!(warnings(&dry).iter().any(|warning| warning.contains("`namespace`")), "{dry}");
    let published = home.p2p(&["--format", "json", "publish", root]).expect_code(0).json();
    let name = published["package"].as_str().unwrap();
    let short = name.strip_suffix("/hello").unwrap();
    assert!(short.len() > 5, "{published}");
    assert!(warnings(&published).iter().any(|warning| warning.contains(name) && warning.contains("`namespace`")));
    // With an existing key, a dry run knows the whole name; a further version keeps it without a note.
    let next = package(&home.work().join("next"), "hello", "1.1.0");
    let next = next.to_str().unwrap();
    for more in [&["--dry-run"] as &[&str], &[]] {
        let report = home.p2p(&[&["--format", "json", "publish", next], more].concat()).expect_code(0).json();
        assert_eq!((&report["package"], warnings(&report)), (&Value::from(name), Vec::new()));
    }
}

#[test]
fn name_that_another_publisher_claims_is_warned_of_before_it_is_published() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let first = alice.publish(&package(&alice.work().join("http"), "http", "1.0.0"));
    let node = alice.start(&[]);
    bob.p2p(&["info", "acme/http", "--timeout", "20"]).expect_code(4);
    let bobs = bob.start(&["--bootstrap", node.address()]);
    bob.p2p(&["fetch", "acme/http", "-o", "out"]).expect_code(0);
    let root = package(&bob.work().join("http"), "http", "2.0.0");
    let line = ["--format", "json", "publish", root.to_str().unwrap(), "--namespace", "acme"];
    for more in [&["--dry-run"] as &[&str], &[]] {
        let report = bob.p2p(&[&line, more].concat()).expect_code(0).json();
        let publisher = first["publisher"].as_str().unwrap();
        assert!(warnings(&report).iter().any(|warning| warning.contains(publisher)), "{report}");
    }
    drop(bobs);
}

#[test]
fn node_that_nobody_is_connected_to_says_how_to_connect() {
    let home = Home::on_loopback();
    let _node = crate::support::Detached::start(&home, None);
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let output = home.p2p(&["publish", root.to_str().unwrap(), "--namespace", "acme"]).expect_code(0);
    assert!(output.stderr.contains("hint: ") && output.stderr.contains("p2p bootstrap ADDRESS"), "{output:?}");
}
