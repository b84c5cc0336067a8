//! The shell blocks of the guide of the API that concern the command: variables of the environment.

use std::fs;

use crate::support::Home;

/// Assignments in the guide's shell blocks, in their order.
fn assignments() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../registry/README.md");
    let guide = fs::read_to_string(path).expect("the guide is there");
    let lines = guide.lines().map(|line| line.strip_prefix("export ").unwrap_or(line));
    let assignments = lines.filter(|line| line.starts_with("GGEN_P2P_")).filter_map(|line| line.split_once('='));
    assignments.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[test]
fn variables_of_the_guide_are_the_configuration() {
    let home = Home::on_loopback();
    let assignments = assignments();
    let names: Vec<_> = assignments.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["GGEN_P2P_BOOTSTRAP", "GGEN_P2P_LISTEN", "GGEN_P2P_DHT_SERVER", "GGEN_P2P_BOOTSTRAP"]);
    // The guide leaves the ends of the peer ids out.
    let peer = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
    let bootstrap = assignments[0].1.replace("QmaCpDMG...", peer).replace("QmXYZ...", peer);
    let variables: Vec<_> = [("GGEN_P2P_BOOTSTRAP", bootstrap.as_str())]
        .into_iter()
        .chain(assignments[1..3].iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .collect();
    let shown = home.p2p_with(&variables, &["--format", "json", "config", "show"]).expect_code(0).json();
    assert_eq!(shown["bootstrap_nodes"]["value"].as_array().unwrap().len(), 2);
    assert_eq!(shown["listen_addresses"]["value"], serde_json::json!(["/ip4/0.0.0.0/tcp/9000"]));
    assert_eq!(shown["dht_server_mode"]["value"], true);
    for key in ["bootstrap_nodes", "listen_addresses", "dht_server_mode"] {
        assert_eq!(shown[key]["origin"], "environment", "{key}");
    }
    let other = [("GGEN_P2P_BOOTSTRAP", assignments[3].1.as_str())];
    let shown = home.p2p_with(&other, &["--format", "json", "config", "show"]).expect_code(0).json();
    assert_eq!(shown["bootstrap_nodes"]["value"], serde_json::json!(["/dnsaddr/bootstrap.libp2p.io"]));
}
