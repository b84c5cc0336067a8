//! Which publisher a name means: the user's choice, the home's own packages, the first use, the claims.

use std::fs;

use serde_json::Value;

use crate::support::{Home, Node, check_human, package};

const CONFIGURATION: &str = "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n";

/// A home whose commands enter the network through a node.
fn home(node: &Node) -> Home {
    let home = Home::new();
    home.configure(&format!("bootstrap_nodes = [\"{}\"]\n{CONFIGURATION}", node.address()));
    home
}

/// A node in the middle that mirrors everything, and so serves it after its publisher has gone.
fn hub() -> (Home, Node) {
    let hub = Home::new();
    hub.configure(&format!("{CONFIGURATION}[[mirror.rules]]\nwhat = \"all\"\n"));
    let node = hub.start(&[]);
    (hub, node)
}

/// Publishes `acme/http` and returns the publisher.
fn publish(home: &Home, version: &str) -> String {
    let root = package(&home.work().join(version), "http", version);
    let line = ["--format", "json", "publish", root.to_str().unwrap(), "--namespace", "acme", "--min-replicas", "1"];
    home.p2p(&line).expect_code(0).json()["publisher"].as_str().unwrap().to_owned()
}

fn fetch(home: &Home, to: &str) -> Value {
    home.p2p(&["--format", "json", "fetch", "acme/http", "-o", to]).expect_code(0).json()
}

#[test]
fn a_name_means_the_publisher_of_its_first_use_whatever_others_claim_later() {
    let (_hub, node) = hub();
    let [alice, mallory, bob, carol] = [0; 4].map(|_| home(&node));
    let honest = publish(&alice, "1.0.0");
    let first = fetch(&bob, "first");
    assert_eq!(
        (&first["publisher"], &first["known_by"], &first["first_use"]),
        (&honest.as_str().into(), &"claim".into(), &true.into()),
        "{first}"
    );
    let listed = bob.p2p(&["--format", "json", "trust", "list"]).expect_code(0).json();
    assert_eq!((&listed[0]["namespace"], &listed[0]["known_by"]), (&"acme".into(), &"first-use".into()), "{listed}");

    let rival = publish(&mallory, "9.0.0");
    let again = fetch(&bob, "again");
    assert_eq!(
        (&again["publisher"], &again["known_by"], &again["version"]),
        (&honest.as_str().into(), &"first-use".into(), &"1.0.0".into()),
        "{again}"
    );
    // Its own publisher is not denied its name either.
    let own = alice.p2p(&["--format", "json", "info", "acme/http"]).expect_code(0).json();
    assert_eq!((&own["publisher"], &own["known_by"]), (&honest.as_str().into(), &"own".into()), "{own}");

    // A home that has not used the name must choose; the error lists the claimants.
    let refused = carol.p2p(&["fetch", "acme/http", "-o", "none"]);
    check_human(&refused, 3, &["`acme/http` is claimed by 2 publishers", &honest, &rival, "trust add acme PUBLISHER"]);
    assert!(!carol.work().join("none").exists());
    carol.p2p(&["trust", "add", "acme", &honest]).expect_code(0);
    let chosen = carol.p2p(&["fetch", "acme/http", "-o", "chosen"]).expect_code(0);
    assert!(chosen.stdout.contains(&honest) && chosen.stderr.contains("is claimed by 1 other publisher"), "{chosen:?}");
    let json = fetch(&carol, "json");
    assert_eq!((&json["known_by"], &json["other_claimants"][0]), (&"file".into(), &rival.as_str().into()), "{json}");
    // The whole name still means the publisher in it.
    let whole = carol.p2p(&["--format", "json", "fetch", &format!("{rival}/acme/http"), "-o", "whole"]);
    assert_eq!(whole.expect_code(0).json()["version"], "9.0.0");
}

#[test]
fn a_claim_whose_versions_are_all_yanked_denies_the_name_to_no_other_publisher() {
    let (_hub, node) = hub();
    let [alice, mallory, bob] = [0; 3].map(|_| home(&node));
    let honest = publish(&alice, "1.0.0");
    publish(&mallory, "9.0.0");
    mallory.p2p(&["yank", "acme/http@9.0.0"]).expect_code(0);
    let fetched = fetch(&bob, "out");
    assert_eq!((&fetched["publisher"], &fetched["first_use"]), (&honest.as_str().into(), &true.into()), "{fetched}");
}

#[test]
fn a_trusted_publisher_without_the_package_is_no_reason_to_fetch_another_s() {
    let (_hub, node) = hub();
    let [alice, mallory, bob] = [0; 3].map(|_| home(&node));
    let honest = {
        let root = package(&alice.work().join("log"), "log", "1.0.0");
        let line =
            ["--format", "json", "publish", root.to_str().unwrap(), "--namespace", "acme", "--min-replicas", "1"];
        alice.p2p(&line).expect_code(0).json()["publisher"].as_str().unwrap().to_owned()
    };
    bob.p2p(&["fetch", "acme/log", "-o", "log"]).expect_code(0);
    publish(&mallory, "9.0.0");
    // Dependency confusion: a name in a namespace that is in use, of a publisher that is not its own.
    let refused = bob.p2p(&["fetch", "acme/http", "-o", "http"]);
    check_human(&refused, 4, &["`acme/http` not found", &honest, "trust add acme PUBLISHER"]);
    let removed = bob.p2p(&["--format", "json", "trust", "remove", "acme"]).expect_code(0).json();
    assert_eq!((&removed["publisher"], &removed["known_by"]), (&honest.as_str().into(), &"first-use".into()));
    bob.p2p(&["fetch", "acme/http", "-o", "http"]).expect_code(0);
}

#[test]
fn what_is_wrong_with_a_trust_command_or_file_is_said() {
    let home = Home::on_loopback();
    let publisher =
        home.publish(&package(&home.work().join("http"), "http", "1.0.0"))["publisher"].as_str().unwrap().to_owned();
    check_human(&home.p2p(&["trust", "add", "Acme", &publisher]), 2, &["namespace", "`A`"]);
    check_human(&home.p2p(&["trust", "add", "acme", "alice"]), 2, &["`alice`"]);
    check_human(&home.p2p(&["trust", "remove", "acme"]), 4, &["no publisher is trusted for `acme`", "trust list"]);
    home.p2p(&["trust", "add", "other", &publisher]).expect_code(0);
    let file = home.path().join("trust.toml");
    let good = fs::read_to_string(&file).unwrap();
    for wrong in [good.replace("since", "sinse"), format!("{good}\n[x"), good.replace("known-by = \"user\"", "")] {
        fs::write(&file, &wrong).unwrap();
        for line in [
            &["fetch", "acme/http", "--offline", "-o", "out"] as &[&str],
            &["trust", "list"],
            &["trust", "add", "x", &publisher],
        ] {
            check_human(&home.p2p(line), 3, &["the trust file", "trust.toml` is damaged: "]);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), wrong, "it is left as it is");
        // A whole name, or a CID, needs no trust file.
        let whole = format!("{publisher}/acme/http");
        home.p2p(&["fetch", &whole, "--offline", "-o", &format!("out-{}", wrong.len())]).expect_code(0);
    }
    fs::write(&file, good).unwrap();
    home.p2p(&["fetch", "acme/http", "--offline", "-o", "out"]).expect_code(0);
}
