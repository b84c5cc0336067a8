//! Faults between a command, its daemon and the peers: what is wrong is named, and goes away when its cause does.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::support::{Frozen, Home, Output, package};

/// A peer id that no node here has.
const ABSENT: &str = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// The peer was taken for one without Bitswap when it had not answered three streams, for as long as it was connected.
#[test]
fn provider_that_was_stopped_for_long_serves_again_without_a_new_connection() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    let provider = alice.start(&[]);
    let _bob = bob.start(&[]);
    bob.p2p(&["bootstrap", provider.address()]).expect_code(0);
    let published = alice.publish(&root);
    let content = published["cid"].as_str().unwrap();
    // The announcement follows the publish.
    let is_provided = || {
        let info = bob.p2p(&["--format", "json", "info", content]).json();
        info["providers"].as_array().is_some_and(|providers| !providers.is_empty())
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_provided() {
        assert!(Instant::now() < deadline, "the provider is not announced");
    }
    signal(provider.pid(), "-STOP");
    bob.p2p(&["fetch", "acme/http", "--timeout", "3"]).expect_code(5);
    let diagnosis = bob.p2p(&["doctor", content, "--timeout", "2"]).stdout;
    assert!(diagnosis.contains("0 of 1 providers reached") && diagnosis.contains("does not answer"), "{diagnosis}");
    sleep(Duration::from_secs(40));
    signal(provider.pid(), "-CONT");
    bob.p2p(&["fetch", "acme/http", "--timeout", "20"]).expect_code(0);
}

fn failed(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for part in parts {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
}

#[test]
fn bootstrap_dials_the_address_of_a_peer_that_is_connected_already() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let (first, second) = (alice.start(&[]), bob.start(&[]));
    let peer = first.listening["peer_id"].as_str().unwrap();
    bob.p2p(&["bootstrap", first.address()]).expect_code(0);
    bob.p2p(&["bootstrap", first.address()]).expect_code(0);
    let closed = format!("/ip4/127.0.0.1/tcp/1/p2p/{peer}");
    failed(&bob.p2p(&["bootstrap", &closed]), 1, &["none of the nodes could be reached", "refused"]);
    let peers = bob.p2p(&["--format", "json", "status"]).expect_code(0).json();
    assert_eq!(peers["connected_peers"], 1, "the connection that there was stays");

    let own = second.address();
    failed(&bob.p2p(&["bootstrap", own]), 1, &["that is this node itself", "another node"]);
    failed(&bob.p2p(&["fetch", "acme/http", "--provider", own]), 1, &["that is this node itself", "another node"]);

    bob.p2p(&["peer", "deny", peer]).expect_code(0);
    let reset = format!("peer reset {peer}`");
    failed(&bob.p2p(&["bootstrap", first.address()]), 1, &["denied peers", &reset]);
    let bare = first.address().strip_suffix(&format!("/p2p/{peer}")).unwrap();
    failed(&bob.p2p(&["bootstrap", bare]), 1, &["denied peers", &reset]);
}

#[test]
fn address_that_does_not_answer_is_a_time_out() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{ABSENT}", silent.local_addr().unwrap().port());
    failed(&home.p2p(&["bootstrap", &address, "--timeout", "1"]), 5, &["no answer within 1 s"]);
    let fetch = ["fetch", "acme/http", "--provider", &address, "--timeout", "1"];
    failed(&home.p2p(&fetch), 5, &["none of the providers can be reached", "no answer within 1 s"]);
}

#[test]
fn empty_and_half_addresses_are_wrong_usage() {
    let home = Home::on_loopback();
    for command in [&["start", "--listen", ""] as &[&str], &["start", "--daemon", "--listen", ""]] {
        failed(&home.p2p(command), 2, &["is empty", "`/ip4/0.0.0.0/tcp/4001`"]);
    }
    failed(&home.p2p(&["start", "--listen", "/ip4/127.0.0.1"]), 2, &["no transport", "`/ip4/0.0.0.0/tcp/4001`"]);
    let _node = home.start(&[]);
    failed(&home.p2p(&["bootstrap", ""]), 2, &["the address is empty"]);
    failed(&home.p2p(&["fetch", "acme/http", "--provider", ""]), 2, &["the address is empty"]);
}

#[test]
fn home_that_cannot_be_read_is_not_one_without_a_node() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let frozen = Frozen::new(&home);
    fs::set_permissions(home.path(), Permissions::from_mode(0o000)).unwrap();
    let bootstrap = ["bootstrap", &format!("/ip4/127.0.0.1/tcp/1/p2p/{ABSENT}")];
    for command in [&["status"] as &[&str], &["stop"], &bootstrap] {
        failed(&frozen.p2p(command), 1, &["cannot read home", "Permission denied", "--home DIR"]);
    }
}

#[test]
fn socket_that_was_removed_is_made_again() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    for _ in 0..2 {
        fs::remove_file(home.path().join("ggen.sock")).unwrap();
        let began = Instant::now();
        home.p2p(&["status"]).expect_code(0);
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
}

#[test]
fn socket_of_a_stopped_daemon_that_is_missing_is_said_to_be_missing() {
    let home = Home::new();
    home.configure("[timeouts]\ndaemon_seconds = 2\n");
    let node = home.start(&[]);
    signal(node.pid(), "-STOP");
    fs::remove_file(home.path().join("ggen.sock")).unwrap();
    let output = home.p2p(&["status"]);
    failed(&output, 5, &["it has no control socket in", "no control socket for 2 s", "kill -CONT"]);
}

#[test]
fn command_whose_daemon_died_says_to_start_it_again() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let mut node = alice.start(&[]);
    let other = bob.start(&[]);
    alice.p2p(&["bootstrap", other.address()]).expect_code(0);
    let absent = "bafkreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    let lookups = || alice.p2p(&["--format", "json", "status"]).expect_code(0).json()["dht_walks"].as_u64().unwrap();
    let before = lookups();
    let fetching = alice.begin(&["fetch", absent, "--timeout", "60"]);
    // The daemon looks for providers: it has the request.
    let deadline = Instant::now() + Duration::from_secs(30);
    while lookups() == before {
        assert!(Instant::now() < deadline, "the fetch does not begin");
    }
    node.kill();
    let ended: Output = fetching.wait_with_output().unwrap().into();
    let error = &ended.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("went away"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("start --daemon"), "{error}");
}

#[test]
fn commands_that_only_look_make_no_home() {
    let home = Home::new();
    for command in [
        &["search", "http"] as &[&str],
        &["search", "http", "--local"],
        &["pin", "ls"],
        &["peer-list"],
        &["mirror", "ls"],
        &["key", "list"],
        &["verify"],
        &["gc"],
    ] {
        let output = home.p2p(command).expect_code(0);
        assert!(output.stderr.contains("no home at `"), "{output:?}");
        assert!(!home.path().exists(), "{command:?}");
    }
    for (command, code) in [
        (&["fetch", "acme/http", "--offline", "-o", "out"] as &[&str], 4),
        (&["info", "acme/http", "--offline"], 4),
        (&["verify", "acme/http"], 4),
        (&["key", "recovery", "show"], 4),
        (&["doctor", "--timeout", "1"], 4),
    ] {
        let output = home.p2p(command).expect_code(code);
        assert!(output.stderr.contains("no home at `"), "{output:?}");
        assert!(!home.path().exists(), "{command:?}");
    }
}

#[test]
fn part_of_a_cid_is_not_taken_for_a_name() {
    let home = Home::on_loopback();
    for part in ["QmZZZ", "f01551220aa", "zb2rhe5P4g", "bafybeizzz"] {
        failed(&home.p2p(&["fetch", part]), 2, &["is not a complete CID", "copy the complete CID"]);
    }
}
