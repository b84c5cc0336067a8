//! Nodes that are known by name: `/dnsaddr`, resolved by the test's own DNS server.

use std::time::{Duration, Instant};

use ggen_marketplace::{BootstrapReport, BootstrapRequest, Config};

use crate::support::{dns::Dns, nodes::Node};

/// A peer id without a running peer.
const NOBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn resolved_by(dns: &Dns) -> Config {
    Config { dns_servers: vec![dns.address()], ..Config::default() }
}

async fn bootstrap(node: &Node, address: &str, seconds: u64) -> BootstrapReport {
    let request = BootstrapRequest { nodes: vec![address.to_owned()], timeout: Duration::from_secs(seconds) };
    node.registry.bootstrap(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_names_leads_to_all_its_nodes() {
    let (alice, bob) = (Node::start().await, Node::start().await);
    let (at_alice, at_bob) = (alice.addresses()[0].clone(), bob.addresses()[0].clone());
    let (eu, us) = (format!("dnsaddr=/dnsaddr/eu.nodes.test/p2p/{}", alice.peer_id()), format!("dnsaddr={at_bob}"));
    let stranger = format!("dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}");
    let dns = Dns::serve(&[
        ("_dnsaddr.nodes.test", &[eu, us]),
        // The second record is of another peer than the requested one.
        ("_dnsaddr.eu.nodes.test", &[format!("dnsaddr={at_alice}"), stranger]),
    ]);
    let carol = Node::start_as(resolved_by(&dns)).await;
    let report = bootstrap(&carol, "/dnsaddr/nodes.test", 30).await;
    assert_eq!(report.failed, []);
    let mut connected = report.connected.clone();
    connected.sort();
    let mut expected = [alice.peer_id(), bob.peer_id()];
    expected.sort();
    assert_eq!(connected, expected);
    assert_eq!(report.routing_table_peers, 2);
    let one = bootstrap(&carol, &format!("/dnsaddr/nodes.test/p2p/{}", bob.peer_id()), 30).await;
    assert_eq!(one.connected, [bob.peer_id()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_bootstrap_is_a_name_enters_the_network_by_itself() {
    let alice = Node::start().await;
    let dns = Dns::serve(&[("_dnsaddr.nodes.test", &[format!("dnsaddr={}", alice.addresses()[0])])]);
    let bootstrap_nodes = vec!["/dnsaddr/nodes.test".parse().unwrap()];
    let bob = Node::start_as(Config { bootstrap_nodes, ..resolved_by(&dns) }).await;
    bob.wait_until(|| async { bob.registry.status().await.unwrap().connected_peers == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_says_why() {
    let alice = Node::start().await;
    let at_alice = alice.addresses()[0].clone();
    let place = at_alice.split("/p2p/").next().unwrap();
    let dns = Dns::serve(&[
        ("_dnsaddr.nodes.test", &[format!("dnsaddr={at_alice}")]),
        ("_dnsaddr.mail.test", &["v=spf1 -all".to_owned()]),
        ("_dnsaddr.empty.test", &[]),
        ("_dnsaddr.liar.test", &[format!("dnsaddr={place}/p2p/{NOBODY}")]),
        ("_dnsaddr.circle.test", &["dnsaddr=/dnsaddr/round.test".to_owned()]),
        ("_dnsaddr.round.test", &["dnsaddr=/dnsaddr/circle.test".to_owned()]),
    ]);
    let bob = Node::start_as(resolved_by(&dns)).await;
    let cases = [
        ("/dnsaddr/nowhere.test".to_owned(), "the name `_dnsaddr.nowhere.test` does not exist".to_owned()),
        ("/dnsaddr/mail.test".to_owned(), "the name `_dnsaddr.mail.test` has no TXT record with `dnsaddr=`".to_owned()),
        ("/dnsaddr/empty.test".to_owned(), "the name `_dnsaddr.empty.test` has no TXT record".to_owned()),
        (
            format!("/dnsaddr/nodes.test/p2p/{NOBODY}"),
            format!("none of the addresses of `_dnsaddr.nodes.test` ends with `/p2p/{NOBODY}`"),
        ),
        ("/dnsaddr/liar.test".to_owned(), format!("the peer there is {}", alice.peer_id())),
        ("/dnsaddr/circle.test".to_owned(), "lead in a circle".to_owned()),
    ];
    for (address, reason) in cases {
        let report = bootstrap(&bob, &address, 30).await;
        assert_eq!(report.connected, [""; 0], "{address}");
        assert_eq!(report.failed[0].address, address);
        assert!(report.failed[0].reason.contains(&reason), "{address}: {:?}", report.failed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dns_server_that_does_not_answer_costs_no_more_than_the_timeout() {
    let dns = Dns::silent();
    let bob = Node::start_as(resolved_by(&dns)).await;
    let started = Instant::now();
    let report = bootstrap(&bob, "/dnsaddr/nodes.test", 1).await;
    assert_eq!(report.failed[0].reason, "no answer within 1 s");
    assert!(started.elapsed() < Duration::from_secs(5));
}
