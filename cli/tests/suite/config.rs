//! The configuration: `config show`, the precedence of the layers, and the messages for mistakes.

use crate::support::Home;

#[test]
fn show_lists_every_value_with_its_origin() {
    let home = Home::new();
    home.configure("dht_server_mode = false\n\n[limits]\nconnections = 9\n");
    let variables = [("GGEN_P2P_LISTEN", "/ip4/127.0.0.1/tcp/7")];
    let shown = home.p2p_with(&variables, &["--format", "json", "config", "show"]).expect_code(0).json();
    let file = home.path().join("p2p-config.toml");
    let check = |key: &str, value: serde_json::Value, origin: &str, source: &str| {
        let expected = serde_json::json!({"value": value, "origin": origin, "source": source});
        assert_eq!(shown[key], expected, "{key}");
    };
    check("packages_topic", "/ggen/packages/v1".into(), "default", "default");
    check("dht_server_mode", false.into(), "file", &format!("{}:1", file.display()));
    check("limits.connections", 9.into(), "file", &format!("{}:4", file.display()));
    check("listen_addresses", vec!["/ip4/127.0.0.1/tcp/7"].into(), "environment", "GGEN_P2P_LISTEN");
    check("bootstrap_nodes", serde_json::json!([]), "default", "default");
}

#[test]
fn show_for_people_has_a_line_per_key_and_names_the_file() {
    let home = Home::new();
    let output = home.p2p(&["config", "show"]).expect_code(0);
    assert!(output.stdout.contains("packages_topic = \"/ggen/packages/v1\"  # default\n"), "{output:?}");
    assert!(output.stderr.contains("p2p-config.toml (does not exist)"), "{output:?}");
    assert_eq!(home.p2p(&["--quiet", "config", "show"]).expect_code(0).stderr, "");
    assert!(!home.path().exists(), "looking at the configuration made a home");
}

#[test]
fn environment_wins_over_the_file() {
    let home = Home::new();
    home.configure("bootstrap_nodes = [\"/dnsaddr/file\"]\ndht_server_mode = true\n");
    let variables = [("GGEN_P2P_BOOTSTRAP", "/dnsaddr/a,/dnsaddr/b"), ("GGEN_P2P_DHT_SERVER", "false")];
    let shown = home.p2p_with(&variables, &["config", "show", "--format", "json"]).expect_code(0).json();
    assert_eq!(shown["bootstrap_nodes"]["value"], serde_json::json!(["/dnsaddr/a", "/dnsaddr/b"]));
    assert_eq!(shown["bootstrap_nodes"]["origin"], "environment");
    assert_eq!(shown["dht_server_mode"]["value"], false);
}

#[test]
fn named_file_is_read_instead_and_must_exist() {
    let home = Home::new();
    home.configure("mdns = true\n");
    std::fs::write(home.work().join("other.toml"), "mdns = false\n").unwrap();
    let shown = home.p2p(&["--config", "other.toml", "--format", "json", "config", "show"]).expect_code(0).json();
    assert_eq!(shown["mdns"]["value"], false);
    let output = home.p2p(&["--config", "none.toml", "config", "show"]).expect_code(2);
    assert!(output.stderr.contains("none.toml"), "{output:?}");
}

#[test]
fn mistakes_in_the_file_are_named_with_file_line_and_key_by_every_command() {
    let home = Home::new();
    home.configure("mdns = true\nlisten_adresses = []\n");
    let commands: [&[&str]; 5] =
        [&["config", "show"], &["start"], &["start", "--daemon"], &["key", "list"], &["search", "x"]];
    for command in commands {
        let output = home.p2p(command).expect_code(2);
        for part in ["p2p-config.toml`, line 2", "`listen_adresses`", "hint: did you mean `listen_addresses`?"] {
            assert!(output.stderr.contains(part), "{command:?}: no {part:?} in {}", output.stderr);
        }
        let json = home.p2p(&[command, &["--format", "json"]].concat()).expect_code(2).json();
        assert_eq!(json["error"]["kind"], "usage", "{command:?}");
    }
}

#[test]
fn corrupt_line_and_wrong_entry_are_named() {
    let home = Home::new();
    home.configure("mdns = true\nbootstrap_nodes = [\n  \"/dnsaddr/x\",\n  \"here:4001\"\n]\n");
    let output = home.p2p(&["config", "show"]).expect_code(2);
    assert!(output.stderr.contains("invalid address `here:4001`: entry 2 of `bootstrap_nodes`"), "{output:?}");
    assert!(output.stderr.contains("line 4"), "{output:?}");
    home.configure("mdns = true\n\u{1}garbage\n");
    let output = home.p2p(&["config", "show"]).expect_code(2);
    assert!(output.stderr.contains("line 2"), "{output:?}");
}

#[test]
fn wrong_variable_is_named() {
    let output = Home::new().p2p_with(&[("GGEN_P2P_DHT_SERVER", "perhaps")], &["config", "show"]).expect_code(2);
    assert!(output.stderr.contains("`GGEN_P2P_DHT_SERVER` is `perhaps`"), "{output:?}");
}

#[test]
fn set_changes_the_file_and_publish_uses_the_namespace() {
    let home = Home::on_loopback();
    let set = home.p2p(&["--format", "json", "config", "set", "namespace", "acme"]).expect_code(0).json();
    assert_eq!(set["namespace"]["value"], "acme");
    let root = crate::support::package(&home.work().join("x"), "x", "1.0.0");
    let root = root.to_str().unwrap();
    let published = home.p2p(&["--format", "json", "publish", root, "--dry-run"]).expect_code(0).json();
    assert_eq!(published["package"], "acme/x");
    let before = std::fs::read_to_string(home.path().join("p2p-config.toml")).unwrap();
    let output = home.p2p(&["config", "set", "namspace", "other"]).expect_code(2);
    assert!(output.stderr.contains("did you mean `namespace`?"), "{output:?}");
    home.p2p(&["config", "set", "mdns", "perhaps"]).expect_code(2);
    assert_eq!(std::fs::read_to_string(home.path().join("p2p-config.toml")).unwrap(), before);
    let unset = home.p2p(&["--format", "json", "config", "unset", "namespace"]).expect_code(0).json();
    assert_eq!(unset["namespace"], serde_json::json!({"value": null, "origin": "default", "source": "default"}));
}

#[test]
fn number_outside_its_range_ends_every_command_with_2_and_names_key_value_and_range() {
    let home = Home::new();
    home.configure("[timeouts]\ndial_seconds = 9223372036854775807\n");
    for command in [&["start"] as &[&str], &["start", "--daemon"], &["search", "x", "--local"], &["config", "show"]] {
        let output = home.p2p(command).expect_code(2);
        let message = "`timeouts.dial_seconds` is 9223372036854775807, which is not from 1 to 3600 seconds";
        assert!(output.stderr.contains(message), "{command:?}: {output:?}");
        assert!(output.stderr.contains("p2p-config.toml`, line 2"), "{command:?}: {output:?}");
    }
    for command in [
        &["mirror", "add", "all", "--versions", "70000"] as &[&str],
        &["mirror", "add", "all", "--max-bytes", "9223372036854775807"],
        &["publish", "x", "--min-replicas", "1001"],
        &["search", "x", "--limit", "1001"],
        &["fetch", "a/b", "--timeout", "604801"],
        &["bootstrap", "/dnsaddr/x", "--timeout", "18446744073709551616"],
    ] {
        let home = Home::on_loopback();
        let output = home.p2p(command).expect_code(2);
        let value = command.last().unwrap();
        assert!(output.stderr.contains(value), "{command:?}: {output:?}");
    }
}
