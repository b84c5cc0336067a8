//! The lifecycle of a node: start, answer, stop, die.

use std::process::Stdio;

use crate::support::{Detached, Home};

#[test]
fn node_in_the_foreground_says_where_it_listens_answers_and_stops() {
    let home = Home::new();
    let mut node = home.start(&[]);
    let peer = node.listening["peer_id"].as_str().unwrap().to_owned();
    assert_eq!(node.listening["pid"], node.pid());
    let address = node.listening["listen_addresses"][0].as_str().unwrap();
    assert!(address.ends_with(&format!("/p2p/{peer}")), "{address}");

    let status = home.p2p(&["--format", "json", "status"]).expect_code(0).json();
    assert_eq!(status["peer_id"], peer.as_str());
    home.p2p(&["status"]).expect_code(0);

    let stopped = home.p2p(&["--format", "json", "stop"]).expect_code(0).json();
    assert_eq!(stopped["stopped"], true);
    assert_eq!(node.wait(), Some(0));
    assert!(!home.path().join("ggen.sock").exists());
    home.p2p(&["status"]).expect_code(4);
}

#[test]
fn signal_stops_a_node_in_order() {
    let home = Home::new();
    for signal in ["-INT", "-TERM"] {
        let mut node = home.start(&[]);
        let sent = std::process::Command::new("kill").args([signal, &node.pid().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(node.wait(), Some(0), "{signal}");
        assert!(!home.path().join("ggen.sock").exists(), "{signal}");
    }
}

#[test]
fn second_node_on_the_same_home_is_refused_and_named_the_first() {
    let home = Home::new();
    let node = home.start(&[]);
    for command in [&["start"] as &[&str], &["start", "--daemon"]] {
        let output = home.p2p(command).expect_code(1);
        assert!(output.stderr.contains(&format!("in use by process {}", node.pid())), "{output:?}");
        assert!(output.stderr.contains("hint: "), "{output:?}");
    }
    home.p2p(&["status"]).expect_code(0);
}

#[test]
fn killed_node_leaves_a_home_that_the_next_one_takes_over() {
    let home = Home::new();
    let mut node = home.start(&[]);
    node.kill();
    assert!(home.path().join("ggen.sock").exists(), "kill -9 removes nothing");
    home.p2p(&["status"]).expect_code(4);
    let next = home.start(&[]);
    assert_eq!(next.listening["peer_id"], node.listening["peer_id"], "the identity stays");
    home.p2p(&["status"]).expect_code(0);
}

#[test]
fn detached_node_holds_nothing_of_its_parent_and_stops_on_demand() {
    let home = Home::new();
    // `output` returns only when every holder of the pipes is gone: a daemon that kept them would hang it here.
    let node = Detached::start(&home, None);
    let status = home.p2p(&["--format", "json", "status"]).expect_code(0).json();
    assert_eq!(status["peer_id"], node.listening["peer_id"]);
    let pid = node.pid();
    #[cfg(target_os = "linux")]
    {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let session: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
        assert_eq!(session, pid, "it has a session of its own");
    }
    assert!(home.path().join("ggen.log").metadata().unwrap().len() > 0);
    let stopped = home.p2p(&["--format", "json", "stop"]).expect_code(0).json();
    assert_eq!(stopped["pid"], pid);
    home.p2p(&["stop"]).expect_code(4);
}

#[test]
fn detached_node_that_cannot_start_says_why_through_its_parent() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let output = home.p2p(&["--format", "json", "start", "--daemon", "--no-mdns", "--listen", &address]);
    let output = output.expect_code(1);
    assert!(output.json()["error"]["message"].is_string(), "{output:?}");
    home.p2p(&["status"]).expect_code(4);
}

#[test]
fn home_deeper_than_a_socket_address_serves_as_well() {
    let home = Home::new();
    let deep = home.work().join("d".repeat(120)).join("e".repeat(60));
    let _node = Detached::start(&home, Some(&deep));
    let deep = deep.to_str().unwrap();
    home.p2p(&["--home", deep, "status"]).expect_code(0);
    home.p2p(&["--home", deep, "stop"]).expect_code(0);
}

#[test]
fn interrupted_command_exits_130() {
    let (home, other) = (Home::new(), Home::new());
    let (_node, peer) = (home.start(&[]), other.start(&[]));
    home.p2p(&["bootstrap", peer.address()]).expect_code(0);
    // The only peer does not have this CID, so the command waits until it is interrupted.
    let cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    let args = ["--format", "json", "--verbose", "marketplace", "p2p", "fetch", cid, "--timeout", "600"];
    let mut command = home.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its first log line shows that the command is running and handles signals.
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut line).unwrap();
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["kind"], "interrupted");
}
