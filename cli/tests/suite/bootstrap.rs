//! Bootstrap nodes that refuse, hang, have another key, or are known by name.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Dns, Home, Output};

/// A peer id without a running peer.
const NOBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn bootstrap(home: &Home, nodes: &[&str], seconds: &str) -> Output {
    home.p2p(&[&["--format", "json", "bootstrap"], nodes, &["--timeout", seconds]].concat())
}

/// The reason given for a node, which must be the only node named.
#[track_caller]
fn reason(report: &Value, address: &str) -> String {
    let failed = report["failed"].as_array().unwrap();
    let found = failed.iter().find(|failed| failed["address"] == address);
    found.unwrap_or_else(|| panic!("{address} is not in {report}"))["reason"].as_str().unwrap().to_owned()
}

#[test]
fn each_node_that_cannot_be_reached_is_listed_with_its_reason_within_the_timeout() {
    let (alice, bob) = (Home::new(), Home::new());
    let node = alice.start(&[]);
    let _bob = bob.start(&[]);
    let peer = node.listening["peer_id"].as_str().unwrap();
    let good = node.address();
    let other = good.replace(peer, NOBODY);
    let at =
        |listener: &TcpListener| format!("/ip4/127.0.0.1/tcp/{}/p2p/{NOBODY}", listener.local_addr().unwrap().port());
    // No process listens there any more.
    let refused = at(&TcpListener::bind("127.0.0.1:0").unwrap());
    // It accepts connections and never sends anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = at(&silent);
    let started = Instant::now();
    let report = bootstrap(&bob, &[good, &other, &refused, &hangs], "2").expect_code(0).json();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(report["connected"], serde_json::json!([peer]));
    assert_eq!(report["routing_table_peers"], 1);
    assert_eq!(report["failed"].as_array().unwrap().len(), 3, "{report}");
    assert_eq!(reason(&report, &other), format!("the peer there is {peer}"));
    assert!(reason(&report, &refused).contains("refused"), "{report}");
    assert_eq!(reason(&report, &hangs), "no answer within 2 s");
}

#[test]
fn if_none_can_be_reached_that_is_an_error_with_all_reasons() {
    let home = Home::new();
    let _node = home.start(&[]);
    let refused = format!("/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}");
    let output = home.p2p(&["bootstrap", &refused, "--timeout", "5"]).expect_code(1);
    assert!(output.stderr.starts_with("error: none of the nodes could be reached\n  cause: `"), "{output:?}");
    assert!(output.stderr.contains("refused") && output.stderr.contains("\nhint: "), "{output:?}");
    let output = home.p2p(&["bootstrap", "not-an-address"]).expect_code(2);
    assert!(output.stderr.contains("`not-an-address` is not a multiaddress"), "{output:?}");
}

#[test]
fn names_are_resolved_by_the_servers_of_the_configuration() {
    let (alice, bob) = (Home::new(), Home::new());
    let node = alice.start(&[]);
    let dns = Dns::serve(&[("_dnsaddr.nodes.test", &[format!("dnsaddr={}", node.address())])]);
    bob.configure(&format!("dns_servers = [\"{}\"]\n", dns.address()));
    let _bob = bob.start(&["--bootstrap", "/dnsaddr/nodes.test"]);
    let report = bootstrap(&bob, &["/dnsaddr/nodes.test"], "20").expect_code(0).json();
    assert_eq!(report["connected"][0], node.listening["peer_id"]);
    let output = bootstrap(&bob, &["/dnsaddr/nowhere.test"], "20").expect_code(1);
    assert!(output.stdout.contains("`_dnsaddr.nowhere.test` does not exist"), "{output:?}");
}
