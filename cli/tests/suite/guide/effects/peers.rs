//! Peers, and entering the network through them.

use serde_json::{Value, json};

use super::super::{Reader, reader::NOBODY};

pub(super) fn hub_peer(reader: &Reader) -> String {
    reader.hub.listening["peer_id"].as_str().unwrap().to_owned()
}

fn liar(reader: &Reader) -> &str {
    reader.liar.as_deref().expect("the searches have met a liar")
}

pub(super) fn lists_peers(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let line = |peer: &str| printed.lines().find(|line| line.starts_with(peer)).unwrap_or_default().to_owned();
    assert!(line(&hub_peer(reader)).contains("connected"), "{printed}");
    assert!(line(liar(reader)).contains(" - "), "it is gone, and known: {printed}");
}

pub(super) fn lists_peers_with_all_that_is_known(reader: &mut Reader, command: &str) {
    lists_peers(reader, command);
    let printed = reader.works(command);
    let address = reader.hub.address().split("/p2p/").next().unwrap();
    assert!(printed.contains(address), "{address} is not in {printed}");
    for word in [concat!("ggen/", env!("CARGO_PKG_VERSION")), " packages, ", " sent, ", " received"] {
        assert!(printed.contains(word), "{word} is not in {printed}");
    }
}

pub(super) fn lists_well_reputed_peers(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&hub_peer(reader)) && !printed.contains(liar(reader)), "{printed}");
}

/// The formula of the guide holds for all peers.
pub(super) fn lists_peers_as_json(reader: &mut Reader, command: &str) {
    let listed: Value = serde_json::from_str(&reader.works(command)).unwrap();
    for peer in listed.as_array().unwrap() {
        let number = |name: &str| peer[name].as_f64().unwrap();
        let (good, bad) = (number("successful_retrievals"), number("failed_retrievals"));
        let expected = if good + bad == 0.0 { 1.0 } else { good / (good + bad) };
        assert_eq!(number("reputation"), expected, "{peer}");
    }
    let of = |id: &str| listed.as_array().unwrap().iter().find(|peer| peer["peer_id"] == id).unwrap();
    let hub = of(&hub_peer(reader));
    assert_eq!((&hub["connected"], &hub["reputation"]), (&json!(true), &json!(1.0)), "{hub}");
    assert!(hub["successful_retrievals"].as_u64() >= Some(1), "two packages came from it: {hub}");
    assert!(hub["packages_provided"].as_u64() >= Some(1) && hub["last_seen"].is_string(), "{hub}");
    let liar = of(liar(reader));
    assert_eq!((&liar["connected"], &liar["failed_retrievals"]), (&json!(false), &json!(1)), "{liar}");
}

pub(super) fn shows_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&hub_peer(reader)), "{printed}");
}

pub(super) fn shows_its_history(reader: &mut Reader, command: &str) {
    shows_a_peer(reader, command);
    let json: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    assert!(json["history"].as_array().is_some_and(|history| !history.is_empty()), "{json}");
}

pub(super) fn allows_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&format!("allowed  {}", hub_peer(reader))), "{printed}");
}

pub(super) fn denies_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains(&format!("denied   {NOBODY}")), "{printed}");
}

pub(super) fn resets_a_peer(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("denied   none"), "{printed}");
}

/// Every address in it leads to the only node.
pub(super) fn bootstraps(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("connected to 1 peer") && !printed.contains("failed"), "{printed}");
    let report: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    assert_eq!(report["connected"], json!([hub_peer(reader)]), "{report}");
    assert_eq!(report["failed"], json!([]), "{report}");
    assert_eq!(reader.ask(&["status"])["connected_peers"], 1);
}

/// The address leads to the node; the same address with another peer id at its end is refused.
pub(super) fn verifies_an_address(reader: &mut Reader, command: &str) {
    bootstraps(reader, command);
    let right = hub_peer(reader);
    let wrong = reader.substitute(command).replace(&right, NOBODY);
    let refused = reader.type_in(&wrong).expect_code(1);
    assert!(refused.stderr.contains(&format!("the peer there is {right}")), "{refused:?}");
}
