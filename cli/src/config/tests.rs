use std::fs;

use super::*;

struct Case {
    _place: tempfile::TempDir,
    file: ConfigFile,
}

impl Case {
    fn new(text: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("p2p-config.toml");
        fs::write(&path, text).unwrap();
        Self { _place: place, file: ConfigFile { path, required: true } }
    }

    fn resolve(&self) -> Result<Resolved, Failure> {
        resolve(&self.file, |_| None, Vec::new())
    }

    /// The complete failure message that the user sees.
    fn complaint(&self) -> String {
        let failure = self.resolve().unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Usage);
        format!("{} | {} | {}", failure.message, failure.causes.join(" | "), failure.hint.unwrap_or_default())
    }
}

fn entry<'a>(resolved: &'a Resolved, key: &str) -> &'a Assignment {
    resolved.entries.iter().find(|entry| entry.key == key).expect("the key is there")
}

#[test]
fn nothing_set_gives_the_defaults() {
    let file = ConfigFile { path: "/nonexistent/p2p-config.toml".into(), required: false };
    let resolved = resolve(&file, |_| None, Vec::new()).unwrap();
    assert_eq!(resolved.config, Config::default());
    assert!(resolved.entries.iter().all(|entry| entry.origin == Origin::Default));
    assert!(resolve(&ConfigFile { required: true, ..file }, |_| None, Vec::new()).is_err());
}

#[test]
fn file_of_the_guide_is_understood() {
    let case = Case::new(
        r#"# Listen addresses
listen_addresses = [
    "/ip4/0.0.0.0/tcp/4001",
    "/ip6/::/tcp/4001"
]
bootstrap_nodes = [
    "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
    "/dnsaddr/bootstrap.libp2p.io"
]
dht_server_mode = true
packages_topic = "/ggen/packages/v1"

[limits]
connections = 0x40
"#,
    );
    let resolved = case.resolve().unwrap();
    assert_eq!(resolved.config.listen_addresses.len(), 2);
    assert_eq!(resolved.config.bootstrap_nodes.len(), 2);
    assert_eq!(resolved.config.limits.connections, 64);
    assert_eq!(resolved.config.limits.connections_per_peer, ggen_marketplace::Limits::default().connections_per_peer);
    let origin = &entry(&resolved, "limits.connections").origin;
    assert_eq!(*origin, Origin::File { path: case.file.path.clone(), line: 14 });
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let case = Case::new("listen_addresses = [\"/ip4/127.0.0.1/tcp/1\"]\ndht_server_mode = false\nmdns = false\n");
    let variable = |name: &str| match name {
        "GGEN_P2P_LISTEN" => Some("/ip4/127.0.0.1/tcp/2, /ip4/127.0.0.1/tcp/3".into()),
        "GGEN_P2P_DHT_SERVER" => Some("true".into()),
        "GGEN_P2P_BOOTSTRAP" => Some(OsString::new()),
        _ => None,
    };
    let flags = vec![Assignment::flag("--listen", "listen_addresses", vec!["/ip4/127.0.0.1/tcp/4"])];
    let resolved = resolve(&case.file, variable, flags).unwrap();
    let addresses: Vec<_> = resolved.config.listen_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["/ip4/127.0.0.1/tcp/4"]);
    assert!(resolved.config.dht_server_mode);
    let layer = |key| entry(&resolved, key).origin.layer();
    assert_eq!(layer("listen_addresses"), "flag");
    assert_eq!(layer("dht_server_mode"), "environment");
    assert_eq!(layer("mdns"), "file");
    assert_eq!(layer("bootstrap_nodes"), "default");
}

#[test]
fn misspelt_key_is_named_with_its_line_and_the_nearest_key() {
    let complaint = Case::new("mdns = true\n\nbootstrap_node = []\n").complaint();
    assert!(complaint.contains("unknown key `bootstrap_node`"), "{complaint}");
    assert!(complaint.contains("p2p-config.toml`, line 3"), "{complaint}");
    assert!(complaint.contains("did you mean `bootstrap_nodes`?"), "{complaint}");
}

#[test]
fn key_outside_its_table_is_suggested_inside() {
    let complaint = Case::new("connections = 3\n").complaint();
    assert!(complaint.contains("did you mean `limits.connections`?"), "{complaint}");
    let complaint = Case::new("[limits]\nconections = 3\n").complaint();
    assert!(complaint.contains("`limits.conections`") && complaint.contains("line 2"), "{complaint}");
}

#[test]
fn wrong_entry_of_a_list_is_named_with_its_own_line() {
    let text = "bootstrap_nodes = [\n  \"/dnsaddr/bootstrap.libp2p.io\",\n  \"bootstrap.libp2p.io:4001\",\n]\n";
    let complaint = Case::new(text).complaint();
    assert!(
        complaint.contains("invalid address `bootstrap.libp2p.io:4001`: entry 2 of `bootstrap_nodes`"),
        "{complaint}"
    );
    assert!(complaint.contains("line 3"), "{complaint}");
}

#[test]
fn wrong_types_ranges_and_senseless_values_are_named_with_key_and_line() {
    let cases = [
        ("\ndht_server_mode = \"yes\"\n", "dht_server_mode", "line 2"),
        ("listen_addresses = 3\n", "listen_addresses", "line 1"),
        ("limits = 3\n", "limits", "line 1"),
        ("[limits]\nconnections = -1\n", "limits.connections", "line 2"),
        ("[limits]\nconnections = 99999999999999999999\n", "limits.connections", "line 2"),
        ("[limits]\nconnections = { a = 1 }\n", "limits.connections", "line 2"),
        ("[limits]\n\nconnections = 0\n", "limits.connections", "line 3"),
        ("[timeouts]\ndial_seconds = 0\n", "timeouts.dial_seconds", "line 2"),
        ("[timeouts]\ndial_seconds = 9223372036854775807\n", "timeouts.dial_seconds", "line 2"),
        ("[timeouts]\n\ndht_query_seconds = 3601\n", "timeouts.dht_query_seconds", "line 3"),
        ("[limits]\nstore_bytes = 9223372036854775807\n", "limits.store_bytes", "line 2"),
        ("[limits]\nconnections_per_peer = 4294967295\n", "limits.connections_per_peer", "line 2"),
        ("[[mirror.rules]]\nwhat = \"all\"\nversions = 0\n", "mirror.rules", "line 1"),
        ("packages_topic = \"a b\"\n", "packages_topic", "line 1"),
    ];
    for (text, key, line) in cases {
        let complaint = Case::new(text).complaint();
        assert!(complaint.contains(&format!("`{key}`")), "{text:?}: {complaint}");
        assert!(complaint.contains(line), "{text:?}: {complaint}");
    }
}

#[test]
fn number_outside_its_range_is_told_with_the_range() {
    let complaint = Case::new("[timeouts]\ndial_seconds = 9223372036854775807\n").complaint();
    assert!(complaint.contains("is 9223372036854775807, which is not from 1 to 3600 seconds"), "{complaint}");
    let complaint = Case::new("[limits]\nconnections = -1\n").complaint();
    assert!(complaint.contains("`limits.connections` is a whole number from 1 to 65536"), "{complaint}");
}

#[test]
fn sizes_take_units_and_are_shown_in_bytes() {
    let text = "[limits]\npackage_bytes = \"1GB\"\nstore_bytes = \"512MiB\"\n\n[[mirror.rules]]\nwhat = \"all\"\nmax_bytes = \"2GiB\"\n";
    let resolved = Case::new(text).resolve().unwrap();
    assert_eq!(resolved.config.limits.package_bytes, 1_000_000_000);
    assert_eq!(resolved.config.limits.store_bytes, 512 << 20);
    assert_eq!(resolved.config.mirror.rules[0].max_bytes, Some(2 << 30));
    assert_eq!(entry(&resolved, "limits.package_bytes").value, 1_000_000_000);
    assert_eq!(entry(&resolved, "mirror.rules").value[0]["max_bytes"], 2_u64 << 30);
    let plain = Case::new("[limits]\npackage_bytes = 1000000\nstore_bytes = 0\n").resolve().unwrap();
    assert_eq!(plain.config.limits.package_bytes, 1_000_000);
    for (wrong, reason) in [
        ("\"1 apple\"", "`apple` is not a unit"),
        ("\"lots\"", "is not a size"),
        ("-1", "a number of bytes"),
        ("1.5", "a number of bytes"),
        ("true", "512MiB"),
    ] {
        let complaint = Case::new(&format!("[limits]\nstore_bytes = {wrong}\n")).complaint();
        assert!(complaint.contains("`limits.store_bytes`") && complaint.contains("line 2"), "{wrong}: {complaint}");
        assert!(complaint.contains(reason), "{wrong}: {complaint}");
    }
}

#[test]
fn broken_toml_is_named_with_its_line() {
    let complaint = Case::new("mdns = true\nlisten_addresses = [\"a\n").complaint();
    assert!(complaint.contains("p2p-config.toml`, line 2"), "{complaint}");
    let complaint = Case::new("mdns = true\nmdns = false\n").complaint();
    assert!(complaint.contains("line 2"), "{complaint}");
}

#[test]
fn wrong_variable_and_wrong_flag_are_named() {
    let file = ConfigFile { path: "/nonexistent".into(), required: false };
    let wrong = |name: &'static str, text: &'static str| {
        resolve(&file, |asked| (asked == name).then(|| text.into()), Vec::new()).unwrap_err().message
    };
    assert!(wrong("GGEN_P2P_DHT_SERVER", "perhaps").contains("`GGEN_P2P_DHT_SERVER` is `perhaps`"));
    let message = wrong("GGEN_P2P_BOOTSTRAP", "/dnsaddr/x,here");
    assert!(message.contains("entry 2") && message.contains("`GGEN_P2P_BOOTSTRAP`"), "{message}");
    let flags = vec![Assignment::flag("--listen", "listen_addresses", vec!["here"])];
    let message = resolve(&file, |_| None, flags).unwrap_err().message;
    assert!(message.contains("`here`") && message.contains("in `--listen`"), "{message}");
}
