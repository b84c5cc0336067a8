//! Damaged files of a home, except keys: configuration, the daemon file, the logs of the databases, pins. No command
//! panics. A file that can be rebuilt is rebuilt, with a message; for any other file the error names it.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::{Home, Output, Random, check_human, copy_tree, package};

/// Flips per file.
const FLIPS: usize = 6;

/// Flips a bit of a file, in place, so that its locks stay valid.
fn flip(path: &Path, random: &mut Random) {
    let mut bytes = fs::read(path).unwrap();
    let bit = random.below(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
    eprintln!("bit {bit} of {}", path.display());
}

#[track_caller]
fn has_not_panicked(output: &Output) {
    assert!(!output.stderr.contains("panicked") && !matches!(output.code, None | Some(101)), "{output:?}");
}

fn restore(home: &Home, saved: &Path) {
    fs::remove_dir_all(home.path()).unwrap();
    copy_tree(saved, &home.path());
}

#[test]
fn flipped_bit_in_the_log_of_a_database_is_said_and_costs_no_decision_and_no_release() {
    let mut random = Random::seeded();
    let home = Home::on_loopback();
    let peer = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";
    let mut node = home.start(&[]);
    let published = home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
    home.p2p(&["peer", "deny", peer]).expect_code(0);
    home.p2p(&["mirror", "add", "acme/*"]).expect_code(0);
    // Records of peers are on disk once a command has shown them.
    home.p2p(&["peer-info", peer, "--full"]).expect_code(0);
    node.kill();
    let saved = home.work().join("saved");
    copy_tree(&home.path(), &saved);
    let json = |args: &[&str]| -> Value { home.p2p(&[&["--format", "json"], args].concat()).expect_code(0).json() };
    for log in ["catalog.db-wal", "peers.db-wal", "mirror.db-wal"] {
        for _ in 0..FLIPS {
            restore(&home, &saved);
            flip(&home.path().join(log), &mut random);
            let found = home.p2p(&["--format", "json", "search", "http", "--local"]).expect_code(0);
            assert!(found.stderr.contains(log) && found.stderr.contains("may be lost"), "{found:?}");
            assert_eq!(found.json()[0]["cid"], published["cid"]);
            let found = home.p2p(&["key", "list"]).expect_code(0);
            assert!(!found.stderr.contains(log), "once is enough: {found:?}");
            assert_eq!(json(&["mirror", "ls"]).as_array().unwrap().len(), 1);
            assert_eq!(json(&["peer", "deny", peer])["denied"], serde_json::json!([peer]));
            home.publish(&package(&home.work().join("http"), "http", "1.1.0"));
            drop(home.start(&[]));
        }
    }
}

#[test]
fn flipped_bit_in_the_configuration_is_read_or_named() {
    let mut random = Random::seeded();
    let home = Home::on_loopback();
    home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
    let text = "# Of this machine\nnamespace = \"acme\"\nmdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n\n\
                [limits]\nstore_bytes = \"20GB\"\nconnections = 90\n\n[timeouts]\ndial_seconds = 9\n\n\
                [[mirror.rules]]\nwhat = \"acme/*\"\nversions = 3\n";
    let mut refused = 0;
    for _ in 0..8 * FLIPS {
        home.configure(text);
        flip(&home.path().join("p2p-config.toml"), &mut random);
        for args in [
            &["config", "show"][..],
            &["search", "http", "--local"],
            &["mirror", "ls"],
            &["config", "set", "mdns", "false"],
        ] {
            let output = home.p2p(args);
            has_not_panicked(&output);
            if output.code != Some(0) {
                refused += 1;
                check_human(&output, 2, &["p2p-config.toml"]);
            }
        }
    }
    assert!(refused > FLIPS, "{refused}");
}

#[test]
fn flipped_bit_in_what_a_node_says_of_itself_hides_at_most_which_process_it_is() {
    let mut random = Random::seeded();
    let home = Home::on_loopback();
    for file in ["daemon.json", "lock"] {
        for _ in 0..FLIPS {
            let mut node = home.start(&[]);
            let path = home.path().join(file);
            flip(&path, &mut random);
            home.p2p(&["status"]).expect_code(0);
            let second = home.p2p(&["start", "--no-mdns"]);
            check_human(&second, 1, &["is in use by"]);
            home.p2p(&["pin", "ls"]).expect_code(0);
            home.p2p(&["stop"]).expect_code(0);
            assert_eq!(node.wait(), Some(0));
            flip(&path, &mut random);
            home.p2p(&["status"]).expect_code(4);
            home.p2p(&["pin", "ls"]).expect_code(0);
        }
    }
}

/// Overwrites the records of all pins with this label, as a bad disk would.
fn lose_pins(home: &Home, label: &str) {
    let mut lost = 0;
    for entry in fs::read_dir(home.path().join("store")).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ckpt") => fs::remove_file(path).unwrap(),
            Some("seg") => {
                let mut bytes = fs::read(&path).unwrap();
                let found: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(label.as_bytes())).collect();
                lost += found.len();
                found.into_iter().for_each(|at| bytes[at..at + label.len()].fill(0));
                fs::write(path, bytes).unwrap();
            }
            _ => {}
        }
    }
    assert!(lost > 0, "no pin `{label}`");
}

#[test]
fn lost_pins_of_the_user_are_named_and_set_again_or_it_is_said_that_some_may_be_lost() {
    let home = Home::on_loopback();
    let published = home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
    let cid = published["cid"].as_str().unwrap();
    let path = format!("/ipfs/{cid}/src");
    home.p2p(&["pin", "add", &path, "--offline"]).expect_code(0);
    home.p2p(&["pin", "add", "acme/http", "--offline"]).expect_code(0);
    let label = format!("user/ipfs/{cid}/src");
    let pins = || home.p2p(&["--format", "json", "pin", "ls"]).expect_code(0);
    let before = pins().json();
    assert!(before.to_string().contains(&label), "{before}");

    lose_pins(&home, &label);
    let after = pins();
    assert!(after.stderr.contains("a lost pin is set again") && after.stderr.contains(&label), "{after:?}");
    assert_eq!(after.json(), before);
    let again = pins();
    assert!(again.json() == before && !again.stderr.contains("is set again"), "{again:?}");

    // Without the copy nothing shows what was lost.
    lose_pins(&home, &label);
    fs::remove_file(home.path().join("pins.copy")).unwrap();
    let after = pins();
    assert!(!after.json().to_string().contains(&label), "{after:?}");
    assert!(after.stderr.contains("may be lost") && after.stderr.contains("pin again what is missing"), "{after:?}");

    // A removed pin stays removed, whatever else is lost.
    home.p2p(&["pin", "add", &path, "--offline"]).expect_code(0);
    home.p2p(&["pin", "rm", &path]).expect_code(0);
    lose_pins(&home, &label);
    let after = pins();
    assert!(!after.json().to_string().contains(&label) && !after.stderr.contains("is set again"), "{after:?}");
}
