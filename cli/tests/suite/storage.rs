//! The contents of the store, through the binary: pins, garbage, damage, mirror rules.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use tar::EntryType;

use crate::support::{Home, Random, check_human, entry, gzip, package, rehash, store_bytes, tarball, tree};

#[test]
fn what_is_fetched_is_cache_until_it_is_pinned() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let node = alice.start(&[]);
    let published = alice.publish(&root);
    let release = published["release"].as_str().unwrap();
    let from = ["--provider", node.address()];
    bob.p2p(&[&["fetch", release, "-o", "first"], &from as &[&str]].concat()).expect_code(0);

    let preview = bob.p2p(&["--format", "json", "gc", "--dry-run"]).expect_code(0).json();
    assert!(preview["removed_blocks"].as_u64().unwrap() > 3, "{preview}");
    let pinned = bob.p2p(&["--format", "json", "pin", "add", release, "--offline"]).expect_code(0).json();
    assert_eq!((&pinned[0]["cid"], &pinned[0]["label"]), (&published["release"], &"user".into()));
    bob.p2p(&["gc"]).expect_code(0);
    bob.p2p(&["fetch", release, "--offline", "-o", "second"]).expect_code(0);
    assert_eq!(tree(&bob.work().join("second")), tree(&root));

    bob.p2p(&["pin", "rm", release]).expect_code(0);
    bob.p2p(&["pin", "rm", release]).expect_code(4);
    let listed = bob.p2p(&["--format", "json", "pin", "ls"]).expect_code(0).json();
    assert_eq!(listed, serde_json::json!([]));
    let collected = bob.p2p(&["--format", "json", "gc"]).expect_code(0).json();
    assert!(collected["freed_bytes"].as_u64().unwrap() > 1_000_000, "{collected}");
    assert_eq!(rehash(&bob), (0, 0));
}

#[test]
fn a_collection_takes_nothing_of_what_is_published_and_what_a_publish_replaced_is_kept_no_longer() {
    let alice = Home::on_loopback();
    let mut pins = 0;
    for version in 0..4 {
        let root = package(&alice.work().join(format!("v{version}")), "http", &format!("1.{version}.0"));
        alice.publish(&root);
        let now = alice.p2p(&["--format", "json", "pin", "ls", "--all"]).json().as_array().unwrap().len();
        // One release and one log entry more; head and catalog tree replace the former ones.
        if version > 1 {
            assert!(now - pins <= 3, "{pins} pins became {now}");
        }
        pins = now;
    }
    let collected = alice.p2p(&["--format", "json", "gc"]).expect_code(0).json();
    assert!(collected["removed_blocks"].as_u64().unwrap() >= 3, "the former heads and trees: {collected}");
    for version in 0..4 {
        let (target, to) = (format!("acme/http@=1.{version}.0"), format!("out{version}"));
        alice.p2p(&["fetch", &target, "--offline", "-o", &to]).expect_code(0);
    }
    let root = package(&alice.work().join("v5"), "http", "1.5.0");
    alice.publish(&root);
    alice.p2p(&["verify"]).expect_code(0);
}

#[test]
fn damage_is_found_named_and_mended_from_a_peer() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let node = alice.start(&[]);
    let published = alice.publish(&root);
    let release = published["release"].as_str().unwrap();
    let bootstrap = format!(
        "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap_nodes = [\"{}\"]\n",
        node.address()
    );
    bob.configure(&bootstrap);
    bob.p2p(&["pin", "add", release]).expect_code(0);
    let sound = bob.p2p(&["--format", "json", "verify"]).expect_code(0).json();
    assert_eq!(sound["bad"], serde_json::json!([]));
    assert!(sound["checked_blocks"].as_u64().unwrap() > 3, "{sound}");

    // A block of one megabyte of the same byte is stored uncompressed; a part of it is flipped.
    let segment = bob.path().join("store/00000001.seg");
    let length = fs::metadata(&segment).unwrap().len();
    let file = File::options().read(true).write(true).open(&segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, length / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], length / 2).unwrap();
    let found = bob.p2p(&["--format", "json", "verify"]).expect_code(3).json();
    let bad = found["bad"].as_array().unwrap();
    assert_eq!(bad.len(), 1, "{found}");
    assert!(bad[0]["reason"].as_str().unwrap().contains("damaged"), "{found}");
    let human = bob.p2p(&["verify", release]).expect_code(3);
    assert!(human.stdout.contains(bad[0]["cid"].as_str().unwrap()), "{human:?}");
    assert!(human.stderr.contains("verify --repair"), "{human:?}");

    let repaired = bob.p2p(&["--format", "json", "verify", "--repair"]).expect_code(0).json();
    assert_eq!((&repaired["repaired"], &repaired["bad"]), (&1.into(), &serde_json::json!([])));
    bob.p2p(&["verify", release]).expect_code(0);
    bob.p2p(&["fetch", release, "--offline", "-o", "whole"]).expect_code(0);
    assert_eq!(tree(&bob.work().join("whole")), tree(&root));
}

/// Overwrites the record of a block in the first segment from its head on; the block is found by its CID.
fn destroy_head(home: &Home, cid: &str) {
    let segment = home.path().join("store/00000001.seg");
    let (bytes, cid) = (fs::read(&segment).unwrap(), ggen_blockstore::parse_cid(cid).unwrap().to_bytes());
    let head = |window: &[u8]| &window[8..12] == b"gSR1" && window[12] == 1 && window[32..] == cid;
    let at = bytes.windows(32 + cid.len()).position(head).expect("the block is there") as u64;
    File::options().write(true).open(&segment).unwrap().write_all_at(&[0; 40], at).unwrap();
}

fn remove_checkpoints(home: &Home) {
    let files = fs::read_dir(home.path().join("store")).unwrap().map(|entry| entry.unwrap().path());
    let checkpoints = files.filter(|path| path.extension().is_some_and(|extension| extension == "ckpt"));
    checkpoints.for_each(|path| fs::remove_file(path).unwrap());
}

#[test]
fn content_and_pins_whose_record_heads_are_damaged_are_found_and_mended_from_a_peer() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let mut node = alice.start(&[]);
    let published = alice.publish(&root);
    let _mirror = bob.start(&["--bootstrap", node.address()]);
    bob.p2p(&["pin", "add", "acme/http"]).expect_code(0);
    let address = bob.p2p(&["--format", "json", "status"]).json()["listen_addresses"][0].as_str().unwrap().to_owned();
    node.kill();
    alice.configure(&format!(
        "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap_nodes = [\"{address}\"]\n"
    ));
    let json = |args: &[&str]| alice.p2p(&[&["--format", "json"], args].concat());
    let pins = json(&["pin", "ls", "--all"]).expect_code(0).json();
    json(&["verify"]).expect_code(0);

    // Only the release's recursive pin reaches the content's root; a direct pin leads to the release first.
    let cid = published["cid"].as_str().unwrap();
    destroy_head(&alice, cid);
    for without_checkpoint in [false, true] {
        if without_checkpoint {
            remove_checkpoints(&alice);
        }
        let found = alice.p2p(&["verify"]).expect_code(3);
        assert!(found.stdout.lines().any(|line| line.starts_with(cid)), "{found:?}");
        assert!(found.stdout.contains("store/00000001.seg"), "{found:?}");
        assert_eq!(found.stderr.contains("ggen_damage"), without_checkpoint, "opening says so: {found:?}");
    }
    // And the records of all pins.
    let segment = alice.path().join("store/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    for at in 8..bytes.len() - 24 {
        if bytes[at..].starts_with(b"gSR1\x03") {
            bytes[at - 8..at + 24].fill(0);
        }
    }
    fs::write(&segment, bytes).unwrap();
    remove_checkpoints(&alice);
    let restored = alice.p2p(&["pin", "ls", "--all"]).expect_code(0);
    assert!(restored.stderr.contains("a lost pin is set again"), "{restored:?}");
    assert_eq!(json(&["pin", "ls", "--all"]).json(), pins);

    let repaired = json(&["verify", "--repair"]).expect_code(0).json();
    assert!(repaired["repaired"].as_u64().unwrap() > 0, "{repaired}");
    let sound = json(&["verify"]).expect_code(0).json();
    assert_eq!((&sound["damage"], &sound["bad"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(json(&["pin", "ls", "--all"]).json(), pins);
    alice.p2p(&["fetch", "acme/http", "--offline", "-o", "whole"]).expect_code(0);
    assert_eq!(tree(&alice.work().join("whole")), tree(&root));
}

#[test]
fn what_is_not_here_to_be_verified_is_offered_to_be_fetched() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let node = alice.start(&[]);
    alice.publish(&package(&alice.work().join("http"), "http", "1.2.0"));
    bob.p2p(&["fetch", "acme/http", "--provider", node.address(), "-o", "out"]).expect_code(0);
    bob.p2p(&["gc"]).expect_code(0);
    let verify = bob.p2p(&["verify", "acme/http"]).expect_code(4);
    assert!(verify.stderr.contains("verify acme/http --repair"), "{verify:?}");
    assert!(!verify.stderr.contains("--offline"), "{verify:?}");
}

#[test]
fn damage_that_nobody_can_mend_stays_reported() {
    let alice = Home::on_loopback();
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    alice.publish(&root);
    alice.p2p(&["verify", "acme/http"]).expect_code(0);
    let segment = alice.path().join("store/00000001.seg");
    let half = fs::metadata(&segment).unwrap().len() / 2;
    File::options().write(true).open(&segment).unwrap().write_all_at(&[1, 2, 3, 4, 5, 6, 7, 8, 9], half).unwrap();
    let report = alice.p2p(&["--format", "json", "verify", "--repair", "--timeout", "1"]).expect_code(3).json();
    assert_eq!((report["repaired"].as_u64(), report["bad"].as_array().unwrap().len()), (Some(0), 1), "{report}");
    let refused = alice.p2p(&["verify", root.join("gpack.toml").to_str().unwrap()]).expect_code(2);
    assert!(refused.stderr.contains("CAR"), "{refused:?}");
}

#[test]
fn dry_run_of_a_tarball_leaves_nothing_in_the_store() {
    let alice = Home::on_loopback();
    let archive = alice.work().join("http.tgz");
    let entries = [entry("big", EntryType::Regular, &vec![7; 3_000_000])];
    fs::write(&archive, gzip(&tarball(&entries))).unwrap();
    let path = archive.to_str().unwrap();
    let listed = alice.p2p(&["--format", "json", "publish", "--dry-run", path]).expect_code(0).json();
    assert_eq!(listed["entries"], serde_json::json!(["big", "gpack.toml"]));
    assert_eq!(rehash(&alice), (0, 0));
    assert_eq!(alice.publish(&archive)["cid"], listed["cid"], "it is what a publish makes");
}

#[test]
fn mirror_rules_are_kept_listed_and_dropped_without_a_node() {
    let hub = Home::on_loopback();
    hub.configure("mdns = false\n[[mirror.rules]]\nwhat = \"fixed/*\"\nversions = 2\n");
    let added = hub.p2p(&["--format", "json", "mirror", "add", "acme/*", "--versions", "3", "--max-bytes", "1000000"]);
    let added = added.expect_code(0).json();
    assert_eq!(
        (&added["rule"], &added["versions"], &added["max_bytes"]),
        (&"acme/*".into(), &3.into(), &1_000_000.into())
    );
    let rules = hub.p2p(&["--format", "json", "mirror", "ls"]).expect_code(0).json();
    let names: Vec<_> = rules.as_array().unwrap().iter().map(|rule| (&rule["rule"], &rule["origin"])).collect();
    assert_eq!(names, [(&"fixed/*".into(), &"config".into()), (&"acme/*".into(), &"command".into())]);
    hub.p2p(&["mirror", "rm", "fixed/*"]).expect_code(2);
    hub.p2p(&["mirror", "rm", "acme/*"]).expect_code(0);
    hub.p2p(&["mirror", "rm", "acme/*"]).expect_code(4);
    hub.p2p(&["mirror", "add", "everything"]).expect_code(2);
    hub.p2p(&["mirror", "add", "acme/x", "--versions", "0"]).expect_code(2);
    hub.configure("[[mirror.rules]]\nwhat = \"fixed\"\n");
    let wrong = hub.p2p(&["config", "show"]).expect_code(2);
    assert!(wrong.stderr.contains("mirror.rules") && wrong.stderr.contains("ns/*"), "{wrong:?}");
}

#[test]
fn a_store_with_a_limit_lets_old_cache_go_and_refuses_what_cannot_fit() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let node = alice.start(&[]);
    let mut published = Vec::new();
    for (index, name) in ["one", "two", "three"].into_iter().enumerate() {
        let root = package(&alice.work().join(name), name, "1.0.0");
        // Three megabytes that are unique to each, and two that are shared.
        fs::write(root.join("noise"), Random::new(index as u64 + 1).bytes(3_000_000)).unwrap();
        published.push(alice.publish(&root));
    }
    let limit = |bytes: u64| {
        bob.configure(&format!(
            "mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n[limits]\nstore_bytes = {bytes}\n"
        ));
    };
    limit(8_000_000);
    let fetch = |index: usize, more: &[&str]| {
        let release = published[index]["release"].as_str().unwrap();
        drop(fs::remove_dir_all(bob.work().join("out")));
        bob.p2p(&[&["fetch", release, "-o", "out"], more].concat())
    };
    let from = ["--provider", node.address()];
    for index in 0..3 {
        fetch(index, &from).expect_code(0);
        assert!(store_bytes(&bob) <= 8_000_000);
    }
    fetch(2, &["--offline"]).expect_code(0);
    fetch(0, &["--offline"]).expect_code(4);
    limit(2_000_000);
    let refused = fetch(0, &from).expect_code(1);
    assert!(refused.stderr.contains("limits.store_bytes"), "{refused:?}");
}

#[test]
fn many_packages_of_one_publisher_survive_collections_between_their_publishes() {
    let alice = Home::on_loopback();
    let _node = alice.start(&[]);
    // More entries than one leaf of the catalog tree can hold, so that nodes split, and some packages with a second
    // version.
    for number in 0..24 {
        let root = alice.work().join(format!("package{number}"));
        fs::create_dir_all(&root).unwrap();
        let (name, version) = (number % 20, number / 20);
        let gpack = format!("[package]\nname = \"p{name}\"\nversion = \"1.{version}.0\"\ndescription = \"x\"\n");
        fs::write(root.join("gpack.toml"), gpack).unwrap();
        alice.publish(&root);
        if number % 5 == 4 {
            alice.p2p(&["gc"]).expect_code(0);
        }
    }
    alice.p2p(&["--format", "json", "verify"]).expect_code(0);
    for name in [0, 3, 4, 11, 19] {
        let (target, to) = (format!("acme/p{name}"), format!("out{name}"));
        let fetched = alice.p2p(&["--format", "json", "fetch", &target, "--offline", "-o", &to]).expect_code(0).json();
        assert_eq!(fetched["version"], if name < 4 { "1.1.0" } else { "1.0.0" });
    }
    let again = alice.publish(&alice.work().join("package0"));
    assert_eq!(again["unchanged"], true);
}

#[test]
fn a_publish_without_enough_replicas_exits_5_and_is_published_all_the_same() {
    let alice = Home::on_loopback();
    let root = package(&alice.work().join("http"), "http", "1.0.0");
    let path = root.to_str().unwrap();
    let few = ["--format", "json", "publish", path, "--namespace", "acme", "--min-replicas", "2", "--timeout", "1"];
    let refused = alice.p2p(&few).expect_code(5).json();
    let error = refused["error"].to_string();
    assert!(error.contains("acme/http@1.0.0 is published") && error.contains("0 of 2 peers"), "{error}");
    let again = alice.publish(&root);
    assert_eq!((&again["unchanged"], &again["replicas"]), (&true.into(), &0.into()));
    let help = alice.p2p(&["publish", "--help"]).expect_code(0);
    assert!(help.stdout.contains("--min-replicas") && help.stdout.contains("--timeout"), "{help:?}");
}

#[test]
fn mirror_rules_that_cannot_be_read_are_not_taken_for_none() {
    let hub = Home::on_loopback();
    hub.p2p(&["mirror", "add", "acme/http"]).expect_code(0);
    let damage = || fs::write(hub.path().join("mirror.db"), vec![7; 5000]).unwrap();
    damage();
    let mended = hub.p2p(&["mirror", "ls"]).expect_code(0);
    assert!(mended.stdout.contains("acme/http") && mended.stderr.contains("mirror.db"), "{mended:?}");
    damage();
    fs::remove_file(hub.path().join("mirror.rules")).unwrap();
    let refused = hub.p2p(&["mirror", "ls"]).expect_code(1);
    assert!(refused.stderr.contains("mirror.db") && refused.stderr.contains("hint: move that file"), "{refused:?}");
    fs::remove_file(hub.path().join("mirror.db")).unwrap();
    hub.p2p(&["mirror", "ls"]).expect_code(0);
}

#[test]
fn example_topologies_are_configurations_that_load() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/topologies");
    let mut rules = 0;
    for file in
        ["mesh/node.toml", "hub-and-spoke/hub.toml", "hub-and-spoke/spoke.toml", "hybrid/hub.toml", "hybrid/node.toml"]
    {
        let (home, path) = (Home::new(), examples.join(file));
        let path = path.to_str().unwrap();
        let shown = home.p2p(&["--format", "json", "--config", path, "config", "show"]).expect_code(0).json();
        assert!(!shown.as_array().is_some_and(Vec::is_empty), "{file}");
        let listed = home.p2p(&["--format", "json", "--config", path, "mirror", "ls"]).expect_code(0).json();
        rules += listed.as_array().unwrap().len();
    }
    assert_eq!(rules, 3, "the rules of two kinds of hubs");
}

#[test]
fn a_package_outlives_the_process_that_published_it_on_a_hub() {
    let (hub, alice, carol) = (Home::on_loopback(), Home::on_loopback(), Home::on_loopback());
    hub.configure("mdns = false\n[[mirror.rules]]\nwhat = \"acme/*\"\nversions = 2\n");
    let first = hub.start(&[]);
    let mut publisher = alice.start(&["--bootstrap", first.address()]);
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let path = root.to_str().unwrap();
    let with = ["--format", "json", "publish", path, "--namespace", "acme", "--min-replicas", "1"];
    let published = alice.p2p(&with).expect_code(0).json();
    assert_eq!(published["replicas"], 1, "the hub has all of it");
    publisher.kill();
    drop(alice);

    let _late = carol.start(&["--bootstrap", first.address()]);
    let fetched = carol.p2p(&["--format", "json", "fetch", "acme/http@^1"]).expect_code(0).json();
    assert_eq!(fetched["publisher"], published["publisher"], "the publisher's signature was checked");
    assert_eq!(fetched["providers"][0]["peer_id"], first.listening["peer_id"]);
    assert!(carol.work().join("http/src/large").is_file());
    let held = hub.p2p(&["--format", "json", "mirror", "ls"]).expect_code(0).json();
    assert_eq!((&held[0]["releases_held"], &held[0]["packages_held"]), (&1.into(), &1.into()));
}

/// A damaged leaf must not fail the fetches of its file if a provider has the leaf.
#[test]
fn a_damaged_block_of_a_file_is_fetched_again_by_a_fetch() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let root = package(&alice.work().join("http"), "http", "1.2.0");
    let node = alice.start(&[]);
    alice.publish(&root);
    let (by_name, from) = (["fetch", "acme/http"], ["--provider", node.address()]);
    bob.p2p(&[&by_name as &[&str], &from, &["-o", "first"]].concat()).expect_code(0);

    let segment = bob.path().join("store/00000001.seg");
    for (number, more) in [&[] as &[&str], &["--tar", "again.tar"]].into_iter().enumerate() {
        let bytes = fs::read(&segment).unwrap();
        let content = b"description = ";
        let at = bytes.windows(content.len()).position(|window| window == content).expect("gpack.toml is a raw leaf");
        File::options().write(true).open(&segment).unwrap().write_all_at(b"D", at as u64).unwrap();
        let offline = bob.p2p(&[&by_name as &[&str], &["--offline", "-o", &format!("offline{number}")]].concat());
        check_human(&offline, 3, &["is corrupt", "verify --repair"]);
        let to = format!("again{number}");
        let to = if more.is_empty() { vec!["-o", &to] } else { more.to_vec() };
        bob.p2p(&[&by_name as &[&str], &from, &to].concat()).expect_code(0);
    }
    assert_eq!(tree(&bob.work().join("again0")), tree(&root));
    assert!(fs::metadata(bob.work().join("again.tar")).unwrap().len() > 0);
}
