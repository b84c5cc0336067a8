//! The commands of the API guide, in sequence, each with the check of its effect.

use serde_json::json;

use super::{Reader, Step, effects::answers_a_ping, reader::NOBODY};
use crate::support::Home;

pub(super) const STEPS: &[Step] = &[
    // Configuration
    (
        "GGEN_P2P_BOOTSTRAP=\"/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMG...,/ip4/192.168.1.1/tcp/4001/p2p/QmXYZ...\"",
        names_two_nodes,
    ),
    ("GGEN_P2P_LISTEN=\"/ip4/0.0.0.0/tcp/9000\"", assigns),
    ("GGEN_P2P_DHT_SERVER=true", starts_as_the_variables_say),
    // Tests
    ("cargo test --features p2p --test backend_p2p", is_of_the_repository),
    ("cargo test --features p2p test_discover_peers_via_dht", is_of_the_repository),
    ("RUST_LOG=debug cargo test --features p2p -- --nocapture", is_of_the_repository),
    // When something does not work
    ("ping 104.131.131.82", answers_a_ping),
    ("/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", has_the_form_of_an_address),
    ("export GGEN_P2P_BOOTSTRAP=\"/dnsaddr/bootstrap.libp2p.io\"", connects_by_the_variable),
    ("RUST_LOG=ggen_marketplace::backend::p2p=debug cargo run --example basic_setup", is_of_the_repository),
    ("RUST_LOG=libp2p=debug cargo run --example basic_setup", is_of_the_repository),
];

const START: &str = "ggen marketplace p2p start";

fn assigns(reader: &mut Reader, command: &str) {
    reader.export(command);
}

/// The two nodes do not know each other, so a peer that is connected to both used both addresses.
fn names_two_nodes(reader: &mut Reader, command: &str) {
    let home = Home::new();
    let node = home.start(&[]);
    reader.other = Some((home, node));
    assigns(reader, command);
}

/// The file contains different values; the variables take precedence, and reach the node.
fn starts_as_the_variables_say(reader: &mut Reader, command: &str) {
    assigns(reader, command);
    reader.write_configuration(
        "bootstrap_nodes = []\nlisten_addresses = [\"/ip4/0.0.0.0/tcp/0\", \"/ip4/0.0.0.0/tcp/0\"]\n\
         dht_server_mode = false\n",
    );
    let shown = reader.works("ggen marketplace p2p config show --format json");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    for (key, variable) in [
        ("bootstrap_nodes", "GGEN_P2P_BOOTSTRAP"),
        ("listen_addresses", "GGEN_P2P_LISTEN"),
        ("dht_server_mode", "GGEN_P2P_DHT_SERVER"),
    ] {
        assert_eq!((&shown[key]["origin"], &shown[key]["source"]), (&json!("environment"), &json!(variable)), "{key}");
    }
    reader.start(START);
    reader.until(&["status"], |status| status["connected_peers"] == 2);
    let status = reader.ask(&["status"]);
    assert_eq!(status["listen_addresses"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["dht_mode"], "server");
    // Without the variables the file applies.
    reader.environment.clear();
    reader.start(START);
    let status = reader.ask(&["status"]);
    assert_eq!(status["listen_addresses"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["dht_mode"], "client");
    reader.end_node();
    reader.other = None;
}

/// `tests/backend_p2p/guide.rs` checks the effects of these, because no build is needed there to run them.
fn is_of_the_repository(_: &mut Reader, command: &str) {
    assert!(command.split(' ').any(|word| word == "cargo"), "{command}");
}

/// Not a command but the form of an address. It is valid, it leads to a node, and with another peer id at its end it is
/// refused.
fn has_the_form_of_an_address(reader: &mut Reader, address: &str) {
    reader.write_configuration("listen_addresses = [\"/ip4/0.0.0.0/tcp/0\"]\n");
    reader.start(START);
    reader.works(&format!("ggen marketplace p2p bootstrap {address}"));
    let substituted = reader.substitute(address);
    let (place, peer) = substituted.rsplit_once("/p2p/").unwrap();
    let refused = reader.type_in(&format!("ggen marketplace p2p bootstrap {place}/p2p/{NOBODY}")).expect_code(1);
    assert!(refused.stderr.contains(&format!("the peer there is {peer}")), "{refused:?}");
    let refused = reader.type_in(&format!("ggen marketplace p2p bootstrap {}", &address[1..])).expect_code(2);
    assert!(refused.stderr.contains("is not a multiaddress"), "{refused:?}");
    reader.end_node();
}

fn connects_by_the_variable(reader: &mut Reader, command: &str) {
    assigns(reader, command);
    reader.start(START);
    reader.until(&["status"], |status| status["connected_peers"] == 1);
    reader.end_node();
}
