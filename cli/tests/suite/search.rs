//! `search` with the real binary: any input is treated as search terms, and other nodes are queried by default.

use std::fs;

use crate::support::{Home, check_human, check_json, package};

fn names(home: &Home, args: &[&str]) -> Vec<String> {
    let hits = home.p2p(&[&["--format", "json", "search"], args].concat()).expect_code(0).json();
    let hits = hits.as_array().expect("a search prints an array");
    hits.iter().map(|hit| hit["package"].as_str().expect("a hit names its package").to_owned()).collect()
}

#[test]
fn whatever_is_typed_is_words() {
    let home = Home::on_loopback();
    home.publish(&package(&home.work().join("near"), "near", "1.0.0"));
    let queries = [
        "\"",
        "near\"",
        "\"near\"",
        "NEAR(near acme)",
        "name:near",
        "near*",
        "^near",
        "-near",
        "near AND (",
        "'; DROP TABLE words; --near",
        "%",
        "*",
        "\\",
        "near + near",
        "{name} : near",
        "\u{202e}near",
        "--",
        "near OR",
        "\n",
    ];
    let long = "x ".repeat(5 << 10);
    let check = || {
        for query in queries {
            let found = names(&home, &["--", query]);
            let expected = query.to_lowercase().contains("near") || query.trim().is_empty();
            assert_eq!(found.len(), usize::from(expected), "{query:?} found {found:?}");
        }
        let parts = ["a query has at most 1024 bytes, this one 10240", "a few words are enough"];
        check_human(&home.p2p(&["search", &long]), 2, &parts);
        check_json(&home.p2p(&["--format", "json", "search", &long]), 2, &parts);
        // The longest allowed query, and a filter that is longer than any node accepts.
        assert_eq!(names(&home, &[&"y".repeat(1024)]), [""; 0]);
        assert_eq!(names(&home, &["near", "--tags", &"z".repeat(10 << 10)]), [""; 0]);
        assert_eq!(names(&home, &["neer"]), ["acme/near"], "a typo is tolerated");
    };
    check();
    let _node = home.start(&[]);
    check();
}

#[test]
fn other_nodes_are_asked_unless_told_otherwise() {
    let (alice, bob) = (Home::on_loopback(), Home::new());
    alice.publish(&package(&alice.work().join("lantern"), "lantern", "1.0.0"));
    let node = alice.start(&[]);
    bob.configure(&format!(
        "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap_nodes = [\"{}\"]\n",
        node.address()
    ));
    assert_eq!(names(&bob, &["lantern", "--local"]), [""; 0]);
    // Without a running daemon, a node is started for the search.
    assert_eq!(names(&bob, &["lantern"]), ["acme/lantern"]);
    assert_eq!(names(&bob, &["lantern", "--local"]), ["acme/lantern"], "what was found is known from now on");
    let hits = bob.p2p(&["--format", "json", "search", "lantern"]).expect_code(0).json();
    assert_eq!(hits[0]["providers"], 1, "{hits}");
    // The short id of its publisher finds it too.
    let publisher = hits[0]["publisher"].as_str().unwrap().to_owned();
    assert_eq!(names(&bob, &["--local", &publisher[8..20]]), ["acme/lantern"]);
    assert!(fs::exists(bob.path().join("catalog.db")).unwrap());
}

#[test]
fn a_search_that_could_ask_nobody_says_how_to_connect() {
    let home = Home::on_loopback();
    home.publish(&package(&home.work().join("lantern"), "lantern", "1.0.0"));
    let hint_of = |args: &[&str]| {
        let output = home.p2p(&[&["search"], args].concat()).expect_code(0);
        output.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).map(str::to_owned)
    };
    // Whether or not the local catalog contains a match.
    for word in ["lantern", "submarine"] {
        let hint = hint_of(&[word]).unwrap();
        assert!(hint.contains("`ggen marketplace p2p start --daemon --bootstrap ADDRESS`"), "{hint}");
        assert_eq!((hint_of(&[word, "--local"]), hint_of(&[word, "--quiet"])), (None, None));
    }
    let _node = home.start(&[]);
    let hint = hint_of(&["submarine"]).unwrap();
    assert!(hint.contains("`ggen marketplace p2p bootstrap ADDRESS`"), "{hint}");
    let other = Home::on_loopback();
    let hub = other.start(&[]);
    home.p2p(&["bootstrap", hub.address()]).expect_code(0);
    assert_eq!(hint_of(&["submarine"]), None);
}
