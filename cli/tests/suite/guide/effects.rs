//! The commands of the guide, in sequence, each with the check of its effect.

mod packages;
mod peers;
mod storage;

use std::fs;

use serde_json::{Map, Value, json};

use self::{packages::*, peers::*, storage::*};
use super::{Reader, Step};
use crate::support::package;

pub(super) const STEPS: &[Step] = &[
    // A node
    ("ggen marketplace p2p start", starts),
    ("ggen marketplace p2p start --listen /ip4/0.0.0.0/tcp/4001", starts_listening),
    (
        "ggen marketplace p2p start --bootstrap /ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ --bootstrap /dnsaddr/bootstrap.libp2p.io",
        starts_connected,
    ),
    ("ggen marketplace p2p start --daemon", starts_in_the_background),
    ("ggen marketplace p2p start --config ~/.ggen/p2p-config.toml", starts_with_a_file),
    // Publishing
    ("ggen marketplace p2p publish ./my-package", publishes),
    ("ggen marketplace p2p publish ./my-package --version 1.2.3", publishes_as),
    ("ggen marketplace p2p publish ./my-package --skip-verify", publishes_without_a_named_file),
    ("ggen marketplace p2p key recovery show", shows_the_recovery_key),
    ("ggen marketplace p2p key recovery confirm", removes_the_recovery_key),
    // Searching
    ("ggen marketplace p2p search \"database\"", finds_by_word),
    ("ggen marketplace p2p search \"database\" --category middleware", finds_by_category),
    ("ggen marketplace p2p search \"auth\" --tags security --tags oauth", finds_by_tags),
    ("ggen marketplace p2p search \"web\" --limit 10", finds_ten),
    ("ggen marketplace p2p search \"crypto\" --min-reputation 0.8", finds_well_reputed),
    // Fetching
    ("ggen marketplace p2p fetch examples/web-1@^1", fetches_by_name),
    ("ggen marketplace p2p fetch <cid> --output ./by-cid", fetches_by_cid),
    ("ggen marketplace p2p fetch examples/web-1@^1 --update", updates_what_was_fetched),
    ("ggen marketplace p2p fetch examples/web-1@^1 --tar web-1.tar.gz", fetches_a_tarball),
    // Peers
    ("ggen marketplace p2p peer-list", lists_peers),
    ("ggen marketplace p2p peer-list --verbose", lists_peers_with_all_that_is_known),
    ("ggen marketplace p2p peer-list --min-reputation 0.7", lists_well_reputed_peers),
    ("ggen marketplace p2p peer-list --format json", lists_peers_as_json),
    ("ggen marketplace p2p peer-info QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", shows_a_peer),
    ("ggen marketplace p2p peer-info QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ --full", shows_its_history),
    ("ggen marketplace p2p peer allow QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", allows_a_peer),
    ("ggen marketplace p2p peer deny <peer-id>", denies_a_peer),
    ("ggen marketplace p2p peer reset <peer-id>", resets_a_peer),
    // Entering the network by hand
    (
        "ggen marketplace p2p bootstrap /ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ /dnsaddr/bootstrap.libp2p.io",
        bootstraps,
    ),
    ("ggen marketplace p2p bootstrap <nodes...> --timeout 60", bootstraps),
    // How the node is
    ("ggen marketplace p2p status", tells_its_status),
    ("ggen marketplace p2p doctor", is_healthy),
    ("ggen marketplace p2p doctor examples/web-1", is_healthy),
    // Looking closer, and taking back
    ("ggen marketplace p2p info examples/web-1 --versions", tells_of_a_package),
    ("ggen marketplace p2p yank <package>@1.1.0 --reason \"has the wrong files\"", yanks),
    ("ggen marketplace p2p yank <package>@1.1.0 --undo", takes_the_yank_back),
    // Whose a name is
    ("ggen marketplace p2p trust list", lists_trusted_publishers),
    // Keeping what others have published
    ("ggen marketplace p2p pin add examples/web-2", pins),
    ("ggen marketplace p2p pin ls", lists_the_pin),
    ("ggen marketplace p2p pin rm examples/web-2", unpins),
    ("ggen marketplace p2p mirror add \"examples/*\" --versions 3", mirrors),
    ("ggen marketplace p2p mirror ls", lists_the_mirror),
    ("ggen marketplace p2p mirror rm \"examples/*\"", mirrors_no_more),
    ("ggen marketplace p2p gc --dry-run", tells_what_would_go),
    ("ggen marketplace p2p gc", removes_what_nothing_keeps),
    ("ggen marketplace p2p verify", finds_every_block_sound),
    // Configuration
    (
        "export GGEN_P2P_BOOTSTRAP=\"/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ,/dnsaddr/bootstrap.libp2p.io\"",
        exports,
    ),
    ("export GGEN_P2P_LISTEN=\"/ip4/0.0.0.0/tcp/9000\"", exports),
    ("export GGEN_P2P_DHT_SERVER=true", exports),
    ("ggen marketplace p2p config show", shows_where_values_come_from),
    // When something does not work
    ("lsof -i :4001", names_who_has_the_port),
    ("ggen marketplace p2p start --listen /ip4/0.0.0.0/tcp/0", starts_listening),
    ("ggen marketplace p2p bootstrap <bootstrap-nodes>", bootstraps),
    ("ggen marketplace p2p peer-list", lists_peers),
    ("ggen marketplace p2p search \"query\" --limit 50", finds_fifty),
    ("ggen marketplace p2p search \"query\" --min-reputation 0.8", finds_well_reputed),
    ("ggen marketplace p2p fetch examples/web-3 --min-reputation 0.8", fetches_from_well_reputed),
    ("ggen marketplace p2p start --bootstrap <multiple-nodes>", starts_connected),
    ("ping -c 1 104.131.131.82", answers_a_ping),
    (
        "ggen marketplace p2p bootstrap /ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
        verifies_an_address,
    ),
    ("export GGEN_P2P_BOOTSTRAP=\"/dnsaddr/bootstrap.libp2p.io\"", exports),
    ("ggen marketplace p2p start", starts_connected),
    ("RUST_LOG=ggen_marketplace::backend::p2p=debug ggen marketplace p2p start", logs_what_the_node_does),
    ("RUST_LOG=libp2p=debug ggen marketplace p2p start", logs_what_libp2p_does),
    // Running a bootstrap node
    ("ggen marketplace p2p start --listen /ip4/0.0.0.0/tcp/4001 --dht-server --daemon", starts_a_bootstrap_node),
    ("ggen marketplace p2p status", can_be_entered_by),
];

fn starts(reader: &mut Reader, command: &str) {
    let printed = reader.start(command);
    let peer = reader.ask(&["status"])["peer_id"].as_str().unwrap().to_owned();
    assert!(printed.contains(&peer), "{printed}");
}

fn starts_listening(reader: &mut Reader, command: &str) {
    let printed = reader.start(command);
    let status = reader.ask(&["status"]);
    let addresses = status["listen_addresses"].as_array().unwrap();
    assert_eq!(addresses.len(), 1, "{status}");
    let address = addresses[0].as_str().unwrap();
    assert!(address.starts_with("/ip4/127.0.0.1/tcp/") && printed.contains(address), "{printed}");
}

fn starts_connected(reader: &mut Reader, command: &str) {
    reader.start(command);
    reader.until(&["status"], |status| status["connected_peers"] == 1);
    // Each of the addresses leads to the node.
    let stage = reader.stage("bootstrap");
    let detail = stage["detail"].as_str().unwrap();
    let (reached, configured) = detail.trim_end_matches(" nodes reached").split_once(" of ").unwrap();
    assert!(reached == configured && configured != "0", "{stage}");
}

fn starts_in_the_background(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let pid = printed.split("(pid ").nth(1).unwrap().trim().trim_end_matches(')').to_owned();
    let status = reader.ask(&["status"]);
    assert!(printed.contains(status["peer_id"].as_str().unwrap()), "{printed}");
    assert!(std::path::Path::new(&reader.work()).join(".ggen/ggen.log").exists());
    assert!(pid.parse::<u32>().is_ok(), "{printed}");
}

/// The guide names the default file: from another home, only the flag leads to it.
fn starts_with_a_file(reader: &mut Reader, command: &str) {
    let elsewhere = reader.work().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let text = |topic: &str| format!("packages_topic = \"{topic}\"\nlisten_addresses = [\"/ip4/0.0.0.0/tcp/0\"]\n");
    reader.write_configuration(&text("/of/the/flag"));
    reader.write_configuration_in(&elsewhere, &text("/of/the/home"));
    reader.environment.push(("GGEN_HOME".to_owned(), elsewhere.display().to_string()));
    let (without, _) = command.split_once(" --config").unwrap();
    for (command, topic) in [(without, "/of/the/home"), (command, "/of/the/flag")] {
        reader.start(command);
        assert_eq!(reader.ask(&["status"])["packages_topic"], topic);
    }
    reader.end_node();
    reader.environment.clear();

    reader.write_configuration("listen_addresses = [\"/ip4/0.0.0.0/tcp/0\"]\n");
    starts(reader, command);
    // The following commands of the guide need a node in the network.
    let hub = reader.hub.address().to_owned();
    reader.ask(&["bootstrap", &hub]);
    let name = "my-package";
    package(&reader.work().join(name), name, "1.0.0");
}

fn tells_its_status(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let status = reader.ask(&["status"]);
    assert!(printed.contains(status["peer_id"].as_str().unwrap()), "{printed}");
    assert!(printed.contains("connected peers  1"), "{printed}");
}

fn is_healthy(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    assert!(printed.contains("store         ok") && !printed.contains("FAILED"), "{printed}");
    if command.ends_with("web-1") {
        assert!(printed.contains("verify        ok"), "{printed}");
    }
}

fn exports(reader: &mut Reader, command: &str) {
    reader.export(command);
}

/// The configuration of the guide: every field is read from its line and reaches the node, whose defaults differ.
pub(super) fn is_configured(reader: &mut Reader, text: &str) {
    reader.write_configuration(text);
    let file = reader.work().join(".ggen/p2p-config.toml");
    let lines: Vec<String> = fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    let fields: Map<String, Value> = toml::from_str(&reader.substitute(text)).unwrap();
    assert_eq!(fields.len(), 4);
    let shown = reader.ask(&["config", "show"]);
    for (key, value) in &fields {
        assert_eq!((&shown[key]["value"], &shown[key]["origin"]), (value, &json!("file")), "{key}");
        let (path, line) = shown[key]["source"].as_str().unwrap().rsplit_once(':').unwrap();
        assert_eq!(path, file.to_str().unwrap());
        assert!(lines[line.parse::<usize>().unwrap() - 1].starts_with(key.as_str()), "{key}: line {line}");
    }
    starts_connected(reader, "ggen marketplace p2p start");
    let status = reader.ask(&["status"]);
    assert_eq!((&status["packages_topic"], &status["dht_mode"]), (&fields["packages_topic"], &json!("server")));
    let listening = |status: &Value| status["listen_addresses"].as_array().unwrap().len();
    assert_eq!(listening(&status), fields["listen_addresses"].as_array().unwrap().len(), "{status}");

    let mut changed = fields.clone();
    changed["packages_topic"] = json!("/ggen/packages/of-others");
    changed["dht_server_mode"] = json!(false);
    changed["bootstrap_nodes"] = json!([]);
    changed["listen_addresses"].as_array_mut().unwrap().truncate(1);
    let changed: String = changed.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    reader.write_configuration(&changed);
    reader.start("ggen marketplace p2p start");
    let status = reader.ask(&["status"]);
    let found = (&status["packages_topic"], &status["dht_mode"], listening(&status));
    assert_eq!(found, (&json!("/ggen/packages/of-others"), &json!("client"), 1));
    let stage = reader.stage("bootstrap");
    assert!(stage["detail"].as_str().unwrap().contains("nodes are configured"), "{stage}");

    reader.write_configuration(text);
    starts_connected(reader, "ggen marketplace p2p start");
}

fn shows_where_values_come_from(reader: &mut Reader, command: &str) {
    let shown: Value = serde_json::from_str(&reader.works(&format!("{command} --format json"))).unwrap();
    let origin = |key: &str| (shown[key]["origin"].clone(), shown[key]["source"].clone());
    assert_eq!(origin("bootstrap_nodes"), (json!("environment"), json!("GGEN_P2P_BOOTSTRAP")));
    assert_eq!(shown["bootstrap_nodes"]["value"].as_array().unwrap().len(), 2);
    assert_eq!(origin("listen_addresses"), (json!("environment"), json!("GGEN_P2P_LISTEN")));
    assert_eq!(origin("dht_server_mode"), (json!("environment"), json!("GGEN_P2P_DHT_SERVER")));
    assert_eq!(origin("packages_topic").0, json!("file"));
    assert!(reader.works(command).contains("packages_topic = \"/ggen/packages/v1\""));
}

/// The system tool reports the process that uses the port of the running node.
fn names_who_has_the_port(reader: &mut Reader, command: &str) {
    if !reader.has_tool(command) {
        return;
    }
    let printed = reader.works(command);
    let pid = reader.hub.pid().to_string();
    assert!(printed.lines().any(|line| line.split_whitespace().nth(1) == Some(&pid)), "no {pid} in {printed}");
}

pub(super) fn answers_a_ping(reader: &mut Reader, command: &str) {
    if reader.has_tool(command) {
        reader.output_until(command, "bytes from 127.0.0.1", "not permitted");
    }
}

fn logs_what_the_node_does(reader: &mut Reader, command: &str) {
    reader.start(command);
    let log = reader.log_until("ggen_marketplace::backend::p2p");
    assert!(log.contains("DEBUG") && log.contains("ggen_marketplace::backend::p2p"), "{log}");
}

fn logs_what_libp2p_does(reader: &mut Reader, command: &str) {
    reader.start(command);
    let log = reader.log_until("DEBUG libp2p");
    assert!(log.contains("DEBUG") && log.contains("libp2p_"), "{log}");
}

fn starts_a_bootstrap_node(reader: &mut Reader, command: &str) {
    starts_in_the_background(reader, command);
    assert_eq!(reader.ask(&["status"])["dht_mode"], "server");
}

/// Peers can enter the network by the address that it shows.
fn can_be_entered_by(reader: &mut Reader, command: &str) {
    let printed = reader.works(command);
    let line = printed.lines().find(|line| line.starts_with("listening on")).unwrap();
    let address = line.split_whitespace().last().unwrap();
    let joined = reader.hub_home.p2p(&["--format", "json", "bootstrap", address]).expect_code(0).json();
    assert_eq!(joined["connected"][0], reader.ask(&["status"])["peer_id"]);
}
