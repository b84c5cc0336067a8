//! A store that has lost some or all of its records: a publisher without peers can continue with a single history, and
//! pinned content is not deleted before the user is warned.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ggen_blockstore::{Blockstore, Cid, SegmentBlockstore, SegmentOptions};

use crate::support::{Home, package, tree};

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn published() -> Home {
    let home = Home::on_loopback();
    for name in ["one", "two"] {
        home.publish(&package(&home.work().join(name), name, "1.0.0"));
    }
    home
}

/// Publishes a version of `acme/one` that must follow what was published before; checks the total number of log
/// entries.
#[track_caller]
fn publishes(home: &Home, version: &str, versions: usize) {
    home.publish(&package(&home.work().join("one"), "one", version));
    let info = home.p2p(&["--format", "json", "info", "acme/one", "--versions", "--offline"]).expect_code(0).json();
    assert_eq!(info["version"], version);
    assert_eq!(info["releases"].as_array().map(Vec::len), Some(versions), "{info}");
    assert_eq!(info["claims"].as_array().map(Vec::len), Some(1), "{info}");
    assert_eq!(info["claims"][0]["equivocation"], false, "{info}");
}

fn open_store(home: &Home) -> SegmentBlockstore {
    SegmentBlockstore::open(home.path().join("store"), SegmentOptions::default()).unwrap()
}

fn records(home: &Home) -> Vec<Cid> {
    open_store(home).pins().into_iter().filter(|pin| pin.label == "record").map(|pin| pin.cid).collect()
}

/// Flips a bit in the bytes of a block.
fn flip(home: &Home, cid: &Cid) {
    let data = open_store(home).get(cid).unwrap().unwrap();
    let segment = home.path().join("store/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(data.len()).position(|window| window == data).expect("the block is there");
    bytes[at + data.len() / 2] ^= 4;
    fs::write(segment, bytes).unwrap();
}

#[test]
fn flipped_bit_in_a_record_of_a_lone_publisher_costs_nothing() {
    let home = published();
    let saved = home.work().join("saved");
    copy(&home.path(), &saved);
    for (number, cid) in records(&home).iter().enumerate() {
        copy(&saved, &home.path());
        flip(&home, cid);
        eprintln!("record {number}: {cid}");
        let out = home.work().join(format!("out{number}"));
        package(&home.work().join("one"), "one", "1.0.0");
        home.p2p(&["fetch", "acme/one", "--offline", "-o", out.to_str().unwrap()]).expect_code(0);
        assert!(tree(&out) == tree(&home.work().join("one")));
        publishes(&home, "1.1.0", 2);
        home.p2p(&["yank", "acme/two@1.0.0"]).expect_code(0);
        home.p2p(&["verify", "--repair", "--timeout", "1"]);
        home.p2p(&["verify"]).expect_code(0);
    }
}

#[test]
fn publisher_goes_on_without_its_store_and_content_that_no_peer_has_hinders_no_collection() {
    let home = published();
    fs::remove_dir_all(home.path().join("store")).unwrap();
    publishes(&home, "1.1.0", 2);
    let refused = home.p2p(&["gc"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("verify --repair"), "{refused:?}");
    let reported = home.p2p(&["verify", "--repair", "--timeout", "1"]).expect_code(3);
    for name in ["release/acme/one@1.0.0", "release/acme/two@1.0.0"] {
        assert!(reported.stdout.contains(name), "{reported:?}");
    }
    assert!(!reported.stdout.contains("1.1.0") && reported.stderr.contains("published again"), "{reported:?}");
    home.p2p(&["gc"]).expect_code(0);
    home.p2p(&["gc"]).expect_code(0);
    // The same files restore the content.
    assert_eq!(home.publish(&home.work().join("two"))["unchanged"], true);
    home.p2p(&["gc"]).expect_code(0);
    home.p2p(&["fetch", "acme/two", "--offline", "-o", "out"]).expect_code(0);
    assert!(tree(&home.work().join("out")) == tree(&home.work().join("two")));
    publishes(&home, "1.2.0", 3);
}

#[test]
fn store_of_an_earlier_day_begins_no_second_history() {
    let home = published();
    let saved = home.work().join("saved");
    copy(&home.path().join("store"), &saved);
    publishes(&home, "1.1.0", 2);
    copy(&saved, &home.path().join("store"));
    publishes(&home, "1.2.0", 3);
}

#[test]
fn catalog_and_head_of_an_earlier_day_begin_no_second_history() {
    let home = published();
    let saved = home.work().join("saved");
    copy(&home.path(), &saved);
    publishes(&home, "1.1.0", 2);
    let store = home.work().join("store");
    copy(&home.path().join("store"), &store);
    copy(&saved, &home.path());
    copy(&store, &home.path().join("store"));
    publishes(&home, "1.2.0", 3);
}

/// Two homes, where the second has fetched `acme/http` from the first and pinned it; and the CID of its release.
fn pinned() -> (Home, Home, String) {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let node = alice.start(&[]);
    let published = alice.publish(&package(&alice.work().join("http"), "http", "1.2.0"));
    let other = alice.publish(&package(&alice.work().join("other"), "other", "1.0.0"));
    let from = ["--provider", node.address()];
    for (number, published) in [&published, &other].into_iter().enumerate() {
        let out = bob.work().join(number.to_string());
        let release = published["release"].as_str().unwrap();
        bob.p2p(&[&["fetch", release, "-o", out.to_str().unwrap()], &from as &[&str]].concat()).expect_code(0);
        if number == 0 {
            bob.p2p(&["pin", "add", release, "--offline"]).expect_code(0);
        }
    }
    let release = published["release"].as_str().unwrap().to_owned();
    (alice, bob, release)
}

fn files(home: &Home, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(home.path().join("store")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
}

/// Overwrites the heads of all records of pins.
fn destroy_pins(home: &Home) {
    for path in files(home, "seg") {
        let mut bytes = fs::read(&path).unwrap();
        for at in 8..bytes.len() - 24 {
            if bytes[at..].starts_with(b"gSR1\x03") {
                bytes[at - 8..at + 24].fill(0);
            }
        }
        fs::write(path, bytes).unwrap();
    }
    files(home, "ckpt").into_iter().for_each(|path| fs::remove_file(path).unwrap());
}

/// The pins are set again before anything is collected.
#[test]
fn pins_of_which_there_is_a_copy_are_in_no_doubt() {
    let (_alice, bob, release) = pinned();
    destroy_pins(&bob);
    bob.p2p(&["gc"]).expect_code(0);
    bob.p2p(&["fetch", &release, "--offline", "-o", "kept"]).expect_code(0);
}

#[test]
fn nothing_is_collected_after_pins_were_lost_until_a_repair_has_said_so() {
    let (_alice, bob, release) = pinned();
    destroy_pins(&bob);
    fs::remove_file(bob.path().join("pins.copy")).unwrap();
    // The second time, the store has a valid index again.
    for _ in 0..2 {
        for gc in [&["gc"][..], &["gc", "--dry-run"]] {
            let refused = bob.p2p(gc).expect_code(3);
            let parts = ["nothing is removed", "pins that you have set", "verify --repair"];
            assert!(parts.iter().all(|part| refused.stderr.contains(part)), "{refused:?}");
        }
        let found = bob.p2p(&["verify"]).expect_code(3);
        assert!(found.stderr.contains("pins of yours"), "{found:?}");
    }
    let repaired = bob.p2p(&["verify", "--repair", "--timeout", "1"]).expect_code(0);
    let line = repaired.stdout.lines().find(|line| line.starts_with(&release)).expect("what can be pinned again");
    assert!(line.contains("acme/http@1.2.0"), "{line}");
    assert!(repaired.stdout.contains("acme/other@1.0.0") && repaired.stdout.contains("pin ls"), "{repaired:?}");
    bob.p2p(&["verify"]).expect_code(0);
    bob.p2p(&["pin", "add", &release, "--offline"]).expect_code(0);
    let collected = bob.p2p(&["--format", "json", "gc"]).expect_code(0).json();
    assert!(collected["removed_blocks"].as_u64().unwrap() > 0, "{collected}");
    bob.p2p(&["fetch", &release, "--offline", "-o", "whole"]).expect_code(0);
    let again = bob.p2p(&["verify", "--repair", "--timeout", "1"]).expect_code(0);
    assert!(!again.stdout.contains("no pin keeps") && !again.stdout.contains("lost"), "{again:?}");
}

#[test]
fn nothing_is_collected_after_a_file_of_the_store_was_removed_until_a_repair_has_said_so() {
    let (_alice, bob, _) = pinned();
    let segment = files(&bob, "seg");
    segment.iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_file(bob.path().join("pins.copy")).unwrap();
    for _ in 0..2 {
        let refused = bob.p2p(&["gc"]).expect_code(3);
        assert!(refused.stderr.contains("verify --repair"), "{refused:?}");
    }
    bob.p2p(&["verify", "--repair", "--timeout", "1"]).expect_code(0);
    bob.p2p(&["gc"]).expect_code(0);
}
