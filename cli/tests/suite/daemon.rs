//! Commands that need a node, without a running one.

use std::os::unix::net::UnixListener;

use crate::support::Home;

const NEED_A_NODE: [&[&str]; 3] = [&["status"], &["stop"], &["bootstrap", "/dnsaddr/bootstrap.libp2p.io"]];

#[test]
fn without_a_node_they_exit_4_and_say_what_to_do() {
    let home = Home::new();
    for command in NEED_A_NODE {
        let output = home.p2p(command).expect_code(4);
        let hint = match command {
            ["stop"] => "hint: to stop the node of another home",
            _ => "hint: start one with `ggen marketplace p2p start",
        };
        assert!(output.stderr.contains(hint), "{command:?}: {output:?}");
        assert_eq!(output.stdout, "", "{command:?}");
        let json = home.p2p(&[&["--format", "json"], command].concat()).expect_code(4).json();
        assert_eq!(json["error"]["kind"], "not_found", "{command:?}");
        assert!(json["error"]["hint"].is_string(), "{command:?}");
    }
    assert!(!home.path().exists(), "asking for a node made a home");
}

#[test]
fn socket_of_a_dead_daemon_is_no_node() {
    let home = Home::new();
    home.configure("");
    drop(UnixListener::bind(home.path().join("ggen.sock")).unwrap());
    std::fs::write(home.path().join("daemon.json"), "{\"pid\":1}").unwrap();
    for command in NEED_A_NODE {
        home.p2p(command).expect_code(4);
    }
}
