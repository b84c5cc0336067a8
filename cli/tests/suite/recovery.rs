//! The recovery key: it stays in a file with access for its owner until the owner confirms that it is saved, and is
//! printed only on a terminal or on request.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use crate::support::{Home, Output, check_human, on_a_terminal, package};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const WAITS: &str = "back up your recovery key";

fn file(home: &Home) -> PathBuf {
    home.path().join("keys/default.recovery.key")
}

fn publish(home: &Home, version: &str, global: &[&str], more: &[&str]) -> Output {
    let root = package(&home.work().join("x"), "x", version);
    let publish = ["publish", root.to_str().unwrap(), "--namespace", "acme"];
    home.p2p(&[global, &publish, more].concat()).expect_code(0)
}

/// The output of a command on a terminal.
fn shown(home: &Home, args: &[&str]) -> String {
    on_a_terminal(home, &[("NO_COLOR", "1")], args).expect_code(0).stdout
}

#[test]
fn recovery_key_goes_to_no_pipe_and_no_document_and_stays_until_it_is_confirmed() {
    let home = Home::on_loopback();
    // Without a terminal, neither stream contains the key in either format.
    let json = publish(&home, "1.0.0", &["--format", "json"], &[]);
    assert!(!format!("{json:?}").contains(BEGIN), "{json:?}");
    assert_eq!(json.json()["recovery"]["file"], file(&home).to_str().unwrap());
    assert_eq!(json.json()["recovery"]["is_new"], true);
    assert_eq!(file(&home).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for (version, global) in [("1.1.0", &[][..]), ("1.2.0", &["--verbose"])] {
        let again = publish(&home, version, global, &[]);
        assert!(!format!("{again:?}").contains(BEGIN), "{again:?}");
        let line = again.stderr.lines().find(|line| line.contains(WAITS)).expect("every publish says so");
        assert!(line.contains("key recovery show") && line.contains(file(&home).to_str().unwrap()), "{line}");
    }
    let quiet = publish(&home, "1.3.0", &["--quiet"], &[]);
    assert_eq!(quiet.stderr, "");
    assert!(!quiet.stdout.contains(BEGIN) && !quiet.stdout.contains("recovery"), "{quiet:?}");

    let pem = home.p2p(&["key", "recovery", "show"]).expect_code(0).stdout;
    assert!(pem.starts_with(BEGIN), "{pem}");
    let shown = home.p2p(&["--format", "json", "key", "recovery", "show"]).expect_code(0).json();
    assert_eq!(shown["pem"], pem.as_str());
    // On request, the document contains it.
    let asked = publish(&home, "1.4.0", &["--format", "json"], &["--show-recovery-key"]).json();
    assert_eq!(asked["recovery_key"], pem.as_str());
    assert!(publish(&home, "1.5.0", &[], &["--show-recovery-key"]).stdout.contains(pem.trim_end()));

    let confirmed = home.p2p(&["key", "recovery", "confirm"]).expect_code(0);
    assert!(confirmed.stdout.contains(file(&home).to_str().unwrap()), "{confirmed:?}");
    assert!(!file(&home).exists());
    let after = publish(&home, "1.6.0", &[], &["--show-recovery-key"]);
    assert!(!after.stderr.contains("recovery") && !after.stdout.contains(BEGIN), "{after:?}");
    assert!(publish(&home, "1.7.0", &["--format", "json"], &[]).json().get("recovery").is_none());
    for what in ["show", "confirm"] {
        check_human(
            &home.p2p(&["key", "recovery", what]),
            4,
            &["there is no recovery key of `default`", "the copy that you saved"],
        );
    }
}

#[test]
fn recovery_key_is_shown_on_the_terminal_of_the_first_publish() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    let publish = ["publish", root.to_str().unwrap(), "--namespace", "acme"];
    // No key is created for a release that cannot be published.
    home.p2p(&["publish", root.to_str().unwrap(), "--namespace", "No Name"]).expect_code(2);
    assert!(!file(&home).exists());
    let seen = shown(&home, &publish);
    let pem = fs::read_to_string(home.work().join("stdout")).unwrap();
    assert!(!pem.contains(BEGIN), "stdout is no terminal: {pem}");
    let pem = home.p2p(&["key", "recovery", "show"]).expect_code(0).stdout;
    let seen = seen.replace('\r', "");
    assert!(seen.contains(pem.trim_end()) && seen.contains(WAITS), "{seen}");
    // Later publishes only report where it is.
    package(&root, "x", "1.1.0");
    let later = shown(&home, &publish);
    assert!(later.contains(WAITS) && !later.contains(BEGIN), "{later}");
    let other = Home::on_loopback();
    let quiet = shown(&other, &[&["--quiet"], &publish[..]].concat());
    assert!(!quiet.contains(BEGIN), "{quiet}");
}

#[test]
fn recovery_key_is_kept_and_shown_by_a_node_too() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let published = publish(&home, "1.0.0", &["--format", "json"], &["--show-recovery-key"]).json();
    assert!(published["recovery_key"].as_str().is_some_and(|pem| pem.starts_with(BEGIN)), "{published}");
    let pem = home.p2p(&["key", "recovery", "show", "--key", "default"]).expect_code(0).stdout;
    assert_eq!(published["recovery_key"], pem.as_str());
    home.p2p(&["key", "recovery", "confirm"]).expect_code(0);
    check_human(&home.p2p(&["key", "recovery", "show"]), 4, &["there is no recovery key"]);
}
