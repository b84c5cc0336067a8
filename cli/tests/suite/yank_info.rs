//! `yank` and `info` through the binary, with a daemon and without one.

use crate::support::{Home, package};

#[test]
fn yanked_version_is_no_longer_chosen_and_info_says_so() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let first = alice.start(&[]);
    for version in ["1.0.0", "1.1.0"] {
        let published = alice.publish(&package(&alice.work().join(version), "http", version));
        assert_eq!(published["version"], version);
    }
    let _second = bob.start(&["--bootstrap", first.address()]);
    let info = |args: &[&str]| bob.p2p(&[&["--format", "json", "info"], args].concat()).expect_code(0).json();

    let before = info(&["acme/http"]);
    assert_eq!(before["version"], "1.1.0");
    assert_eq!(before["releases"].as_array().unwrap().len(), 2);
    assert_eq!(before["claims"][0]["publisher"], before["publisher"]);
    assert_eq!(before["providers"][0]["peer_id"], first.listening["peer_id"]);
    assert_eq!(before["dependencies"], serde_json::json!([]));

    let yanked =
        alice.p2p(&["--format", "json", "yank", "acme/http@1.1.0", "--reason", "broken"]).expect_code(0).json();
    assert_eq!(yanked["package"], "acme/http");
    assert_eq!(yanked["version"], "1.1.0");
    assert_eq!(yanked["yanked"], true);
    let again = alice.p2p(&["--format", "json", "yank", "acme/http@1.1.0"]).expect_code(0).json();
    assert_eq!(again["unchanged"], true);

    let after = bob.p2p(&["--format", "json", "fetch", "acme/http", "-o", "after"]).expect_code(0).json();
    assert_eq!(after["version"], "1.0.0");
    let exact = bob.p2p(&["--format", "json", "fetch", "acme/http@=1.1.0", "-o", "exact"]).expect_code(0).json();
    assert_eq!(exact["version"], "1.1.0", "who names it exactly still gets it");
    assert_eq!((&exact["yanked"], &exact["yank_reason"]), (&true.into(), &"broken".into()));
    let warned = bob.p2p(&["fetch", "acme/http@=1.1.0", "-o", "warned"]).expect_code(0);
    assert!(warned.stderr.contains("warning: acme/http@1.1.0 is yanked: broken\n"), "{warned:?}");
    let all = info(&["acme/http", "--versions"]);
    assert_eq!(all["version"], "1.0.0");
    assert_eq!(all["yank_reason"], serde_json::Value::Null);
    assert_eq!(all["releases"][1]["yanked"], true);
    assert_eq!(all["releases"][1]["yank_reason"], "broken");
    assert!(all["releases"][1]["cid"].is_string(), "{all}");

    let undone = alice.p2p(&["--format", "json", "yank", "acme/http@1.1.0", "--undo"]).expect_code(0).json();
    assert_eq!(undone["yanked"], false);
    let restored = bob.p2p(&["--format", "json", "fetch", "acme/http", "-o", "restored"]).expect_code(0).json();
    assert_eq!(restored["version"], "1.1.0");
}

#[test]
fn a_package_that_is_yanked_altogether_is_shown_and_kept_as_yanked_and_not_fetched() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let first = alice.start(&[]);
    for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        alice.publish(&package(&alice.work().join(version), "http", version));
    }
    for (version, reason) in [("1.0.0", "old"), ("1.1.0", "a first reason"), ("1.1.0", "loses data")] {
        let yank = alice.p2p(&["--format", "json", "yank", &format!("acme/http@{version}"), "--reason", reason]);
        assert_eq!(yank.expect_code(0).json()["unchanged"], false, "{reason}");
    }
    let _second = bob.start(&["--bootstrap", first.address()]);
    let json = |args: &[&str]| bob.p2p(&[&["--format", "json"], args].concat());

    let info = json(&["info", "acme/http"]).expect_code(0).json();
    assert_eq!(info["version"], "1.1.0", "no pre-release stands in for what is yanked");
    assert_eq!((&info["yanked"], &info["yank_reason"]), (&true.into(), &"loses data".into()));
    let human = bob.p2p(&["info", "acme/http"]).expect_code(0);
    assert!(human.stdout.contains("package       acme/http@1.1.0 (yanked)\nyanked        loses data\n"), "{human:?}");

    let fetch = json(&["fetch", "acme/http", "-o", "none"]).expect_code(4).json();
    let message = fetch["error"]["message"].as_str().unwrap();
    assert!(message.contains("every version of `acme/http` that matches `latest` is yanked"), "{fetch}");
    assert!(fetch.to_string().contains("1.1.0 is yanked: loses data"), "{fetch}");
    assert!(!bob.work().join("none").exists());

    let pinned = bob.p2p(&["pin", "add", "acme/http"]).expect_code(0);
    assert!(pinned.stdout.starts_with("pinned acme/http@1.1.0 ("), "{pinned:?}");
    assert!(pinned.stderr.contains("warning: acme/http@1.1.0 is yanked: loses data\n"), "{pinned:?}");
    let by_cid = json(&["info", info["cid"].as_str().unwrap()]).expect_code(0).json();
    assert_eq!(by_cid["yank_reason"], "loses data", "{by_cid}");

    // A yank without a reason keeps the former reason, and undoing the yank removes it.
    alice.p2p(&["yank", "acme/http@1.1.0"]).expect_code(0);
    alice.p2p(&["yank", "acme/http@1.1.0", "--undo"]).expect_code(0);
    alice.p2p(&["yank", "acme/http@1.1.0"]).expect_code(0);
    let again = alice.p2p(&["--format", "json", "info", "acme/http@=1.1.0"]).expect_code(0).json();
    assert_eq!((&again["yanked"], &again["yank_reason"]), (&true.into(), &serde_json::Value::Null));
}

#[test]
fn yank_and_info_work_without_a_daemon() {
    let alice = Home::on_loopback();
    let published = alice.publish(&package(&alice.work().join("http"), "http", "1.0.0"));
    let human = alice.p2p(&["info", "acme/http", "--offline"]).expect_code(0);
    assert!(human.stdout.contains("package       acme/http@1.0.0\n"), "{human:?}");
    let by_release = alice.p2p(&["--format", "json", "info", published["release"].as_str().unwrap(), "--offline"]);
    assert_eq!(by_release.expect_code(0).json()["publisher"], published["publisher"]);
    let by_cid = alice.p2p(&["--format", "json", "info", published["cid"].as_str().unwrap(), "--offline"]);
    let by_cid = by_cid.expect_code(0).json();
    assert_eq!(by_cid["package"], "acme/http");
    assert_eq!(by_cid["here"], true);
    alice.p2p(&["yank", "acme/http@1.0.0"]).expect_code(0);
    let all_yanked = alice.p2p(&["--format", "json", "info", "acme/http", "--offline"]).expect_code(0).json();
    assert_eq!(all_yanked["yanked"], true);
    let exact = alice.p2p(&["--format", "json", "info", "acme/http@=1.0.0", "--offline"]).expect_code(0).json();
    assert_eq!(exact["yanked"], true);
}

#[test]
fn what_cannot_be_yanked_or_is_not_known_has_the_exit_code_of_its_reason() {
    let alice = Home::on_loopback();
    alice.p2p(&["yank", "acme/http@1.0.0"]).expect_code(4);
    alice.publish(&package(&alice.work().join("http"), "http", "1.0.0"));
    let cases: [(&[&str], i32); 7] = [
        (&["yank", "acme/http@2.0.0"], 4),
        (&["yank", "acme/http"], 2),
        (&["yank", "acme/http@^1"], 2),
        (&["yank", "acme/http@1.0.0", "--key", "nobody"], 4),
        (&["yank", "acme/http@1.0.0", "--reason", "x", "--undo"], 2),
        (&["info", "nobody/claims"], 4),
        (&["info", "no name at all"], 2),
    ];
    for (args, code) in cases {
        let output = alice.p2p(&[&["--format", "json"], args].concat()).expect_code(code);
        assert!(output.json()["error"]["message"].is_string(), "{args:?}: {output:?}");
    }
    let long = "x".repeat(600);
    alice.p2p(&["yank", "acme/http@1.0.0", "--reason", &long]).expect_code(2);
}

#[test]
fn fetch_of_a_release_by_its_cid_warns_of_a_yank_that_this_home_knows() {
    let (alice, bob) = (Home::on_loopback(), Home::on_loopback());
    let first = alice.start(&[]);
    let published = alice.publish(&package(&alice.work().join("http"), "http", "1.0.0"));
    let release = published["release"].as_str().unwrap();
    alice.p2p(&["yank", "acme/http@1.0.0", "--reason", "loses data"]).expect_code(0);
    let fetch = |home: &Home, out: &str| {
        let fetched = home.p2p(&["--format", "json", "fetch", release, "-o", out]).expect_code(0).json();
        (fetched["yanked"].clone(), fetched["yank_reason"].clone())
    };
    let known = (true.into(), "loses data".into());
    assert_eq!(fetch(&alice, "own"), known);
    let _second = bob.start(&["--bootstrap", first.address()]);
    bob.p2p(&["info", "acme/http"]).expect_code(0);
    assert_eq!(fetch(&bob, "copy"), known);
    let warned = bob.p2p(&["fetch", release, "-o", "again", "--offline"]).expect_code(0);
    assert!(warned.stderr.contains("warning: acme/http@1.0.0 is yanked: loses data\n"), "{warned:?}");
    let pinned = bob.p2p(&["pin", "add", release, "--offline"]).expect_code(0);
    assert!(pinned.stderr.contains("is yanked: loses data"), "{pinned:?}");
    alice.p2p(&["yank", "acme/http@1.0.0", "--undo"]).expect_code(0);
    assert_eq!(fetch(&alice, "restored"), (false.into(), serde_json::Value::Null));
}
