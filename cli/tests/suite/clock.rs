//! Wrong clocks: a home stays usable, nothing is signed that peers would refuse, and an implausible time is refused
//! with both times in the message.

use std::fs;

use crate::support::{Home, check_human, check_json, package, tree};

const HOUR: i64 = 3600;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// The signing time in the publisher's last head.
fn issued(home: &Home, name: &str) -> String {
    let info = home.p2p(&["--format", "json", "info", name, "--offline"]).expect_code(0).json();
    info["claims"][0]["issued"].as_str().unwrap().to_owned()
}

/// Publishes `acme/x` with this version and `more` arguments.
fn publish(home: &Home, version: &str, more: &[&str]) -> crate::support::Output {
    let root = package(&home.work().join("x"), "x", version);
    home.p2p(&[&["publish", root.to_str().unwrap(), "--namespace", "acme"], more].concat())
}

#[test]
fn publish_with_a_fast_clock_leaves_a_home_that_works_and_signs_again_when_the_user_says_so() {
    let home = Home::on_loopback();
    home.set_clock(TEN_YEARS);
    publish(&home, "1.0.0", &[]).expect_code(0);
    home.set_clock(0);
    let then = issued(&home, "acme/x");
    for args in [
        &["key", "list"][..],
        &["gc"],
        &["pin", "ls"],
        &["mirror", "ls"],
        &["verify"],
        &["search", "x", "--local"],
        &["fetch", "acme/x", "--offline", "-o", "copy"],
    ] {
        home.p2p(args).expect_code(0);
    }
    assert!(tree(&home.work().join("copy")) == tree(&home.work().join("x")));

    let parts = [then.as_str(), "this machine's clock says 20", "set this machine's clock", "--trust-clock"];
    check_human(&publish(&home, "1.1.0", &[]), 1, &parts);
    check_json(&home.p2p(&["--format", "json", "yank", "acme/x@1.0.0"]), 1, &["signs nothing now", "--trust-clock"]);
    {
        let _node = home.start(&[]);
        home.p2p(&["status"]).expect_code(0);
        home.p2p(&["doctor", "acme/x"]);
        check_human(&publish(&home, "1.1.0", &[]), 1, &parts);
        home.p2p(&["search", "x", "--local"]).expect_code(0);
    }
    let hits = home.p2p(&["--format", "json", "search", "x", "--local"]).expect_code(0).json();
    assert_eq!(hits[0]["version"], "1.0.0", "nothing was signed");

    publish(&home, "1.1.0", &["--trust-clock"]).expect_code(0);
    assert!(issued(&home, "acme/x") < then, "the new head is of now");
    publish(&home, "1.2.0", &[]).expect_code(0);
    home.p2p(&["yank", "acme/x@1.0.0"]).expect_code(0);
}

#[test]
fn clock_that_was_set_back_publishes_nothing_or_says_so() {
    let home = Home::on_loopback();
    publish(&home, "1.0.0", &[]).expect_code(0);
    home.set_clock(-HOUR);
    publish(&home, "1.1.0", &[]).expect_code(1);
    home.p2p(&["fetch", "acme/x@=1.1.0", "--offline", "-o", "copy"]).expect_code(4);
    // Within the tolerance for honest clocks, a difference is ignored.
    home.set_clock(-HOUR / 6);
    publish(&home, "1.1.0", &[]).expect_code(0);
    home.set_clock(-HOUR);
    publish(&home, "1.2.0", &["--trust-clock"]).expect_code(0);
    home.p2p(&["fetch", "acme/x@=1.2.0", "--offline", "-o", "copy"]).expect_code(0);
}

#[test]
fn claim_that_a_clock_makes_unbelievable_is_refused_with_both_times() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    alice.set_clock(2 * HOUR);
    let fast = alice.start(&[]);
    publish(&alice, "1.0.0", &[]).expect_code(0);
    let then = issued(&alice, "acme/x");
    let fetch = ["fetch", "acme/x", "--provider", fast.address(), "--timeout", "20"];
    let parts = ["acme/x", &then, "this machine's clock says", "clock"];
    check_human(&bob.p2p(&fetch), 3, &parts);
    check_json(&bob.p2p(&[&["--format", "json"], &fetch[..]].concat()), 3, &["acme/x", "clock"]);
    // A slow local clock looks the same; if both clocks are wrong by the same amount, the error is not noticeable.
    bob.set_clock(2 * HOUR);
    bob.p2p(&fetch).expect_code(0);
    drop(fast);

    // The publisher's clock is right again, and `--trust-clock` is given: new signatures are accepted, whatever was
    // signed before.
    let carol = Home::on_loopback();
    alice.set_clock(0);
    let right = alice.start(&[]);
    publish(&alice, "1.1.0", &["--trust-clock"]).expect_code(0);
    let fetch = ["--format", "json", "fetch", "acme/x", "--provider", right.address(), "-o", "copy"];
    assert_eq!(carol.p2p(&fetch).expect_code(0).json()["version"], "1.1.0");
}

#[test]
fn what_goes_wrong_after_the_commit_is_a_warning() {
    let home = Home::on_loopback();
    publish(&home, "1.0.0", &[]).expect_code(0);
    // The head file cannot be written, because its temporary file cannot be created.
    let obstacle = home.path().join("keys/default.head.partial");
    fs::create_dir(&obstacle).unwrap();
    let published = publish(&home, "1.1.0", &[]).expect_code(0);
    assert!(published.stderr.contains("warning: the new head is not kept"), "{published:?}");
    assert!(published.stdout.contains("published acme/x@1.1.0"), "{published:?}");
    home.p2p(&["fetch", "acme/x@=1.1.0", "--offline", "-o", "copy"]).expect_code(0);
    let yanked = home.p2p(&["--format", "json", "yank", "acme/x@1.0.0"]).expect_code(0);
    assert_eq!(yanked.json()["warnings"].as_array().map(Vec::len), Some(1), "{yanked:?}");
    let before = fs::read(home.path().join("keys/default.head")).unwrap();
    fs::remove_dir(&obstacle).unwrap();
    home.p2p(&["key", "list"]).expect_code(0);
    assert!(fs::read(home.path().join("keys/default.head")).unwrap() != before, "the next start keeps it");
    publish(&home, "1.2.0", &[]).expect_code(0);
}

#[test]
fn clock_that_goes_before_1970_and_years_ahead_under_a_running_node_costs_connections_and_signatures_and_nothing_else()
{
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    publish(&alice, "1.0.0", &[]).expect_code(0);
    alice.move_clock(0);
    let over_quic = ["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"];
    let (mut node, other) = (alice.start(&over_quic), bob.start(&over_quic));
    let addresses = |node: &crate::support::Node| -> Vec<String> {
        let listed = node.listening["listen_addresses"].as_array().unwrap().iter();
        listed.map(|address| address.as_str().unwrap().to_owned()).collect()
    };
    let (of_alice, of_bob) = (addresses(&node), addresses(&other));
    assert_eq!((of_alice.len(), of_bob.len()), (2, 2));
    let connect = |home: &Home, address: &str| {
        home.p2p(&["--format", "json", "bootstrap", address, "--timeout", "10"]).json().to_string()
    };
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    alice.move_clock(-since_1970.cast_signed() - 24 * HOUR);
    for address in &of_bob {
        let answer = connect(&alice, address);
        assert!(answer.contains("before 1970"), "{answer}");
    }
    for address in &of_alice {
        connect(&bob, address);
    }
    assert_eq!(alice.p2p(&["--format", "json", "status"]).expect_code(0).json()["connected_peers"], 0);
    assert!(publish(&alice, "1.1.0", &[]).expect_code(1).stderr.contains("1970"));
    for ahead in [TEN_YEARS, 0] {
        alice.move_clock(ahead);
        alice.p2p(&["status"]).expect_code(0);
        alice.p2p(&["search", "x", "--local"]).expect_code(0);
    }
    publish(&alice, "1.1.0", &[]).expect_code(0);
    for address in &of_bob {
        let answer = connect(&alice, address);
        assert!(!answer.contains("1970"), "{answer}");
    }
    let fetched = bob.p2p(&["--format", "json", "fetch", "acme/x", "-o", "copy"]).expect_code(0).json();
    assert_eq!(fetched["version"], "1.1.0");
    alice.p2p(&["stop"]).expect_code(0);
    assert_eq!(node.wait(), Some(0));
}

#[test]
fn head_of_a_fast_clock_is_shown_to_its_publisher_and_hinders_only_what_signs() {
    let home = Home::on_loopback();
    home.set_clock(48 * HOUR);
    publish(&home, "1.0.0", &[]).expect_code(0);
    home.set_clock(0);
    let then = issued(&home, "acme/x");
    let again = publish(&home, "1.0.0", &["--format", "json"]).expect_code(0).json();
    assert_eq!(again["unchanged"], true);
    home.p2p(&["yank", "acme/x@1.0.0", "--undo"]).expect_code(0);

    let _node = home.start(&[]);
    let diagnosis = home.p2p(&["--format", "json", "doctor", "acme/x"]).expect_code(3).json();
    let record = diagnosis["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "record").unwrap();
    assert_eq!(record["ok"], false, "{diagnosis}");
    assert!(record["detail"].as_str().unwrap().contains(&then), "{diagnosis}");
    assert!(record["hint"].as_str().unwrap().contains("--trust-clock"), "{diagnosis}");
    let status = home.p2p(&["--format", "json", "status"]).expect_code(0).json();
    assert_eq!(status["unannounced"].as_array().map(Vec::len), Some(1), "{status}");
    let status = home.p2p(&["status"]).expect_code(0);
    assert!(status.stdout.contains("not announced") && status.stdout.contains(&then), "{status:?}");

    publish(&home, "1.1.0", &["--trust-clock"]).expect_code(0);
    let diagnosis = home.p2p(&["--format", "json", "doctor", "acme/x"]).json();
    let record = diagnosis["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "record").unwrap();
    assert_eq!(record["ok"], true, "{diagnosis}");
    assert!(home.p2p(&["--format", "json", "status"]).json().get("unannounced").is_none());
}
