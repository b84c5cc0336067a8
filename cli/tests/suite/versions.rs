//! Versions: maintenance releases, and builds of one version.

use crate::support::{Home, check_human, check_json, package};

fn publish(home: &Home, version: &str) -> crate::support::Output {
    let root = package(&home.work().join("x"), "x", version);
    home.p2p(&["publish", root.to_str().unwrap(), "--namespace", "acme"])
}

#[track_caller]
fn newest_is(home: &Home, version: &str) {
    let json = |args: &[&str]| home.p2p(&[&["--format", "json"], args].concat()).expect_code(0).json();
    assert_eq!(json(&["info", "acme/x", "--offline"])["version"], version);
    assert_eq!(json(&["search", "x", "--local"])[0]["version"], version);
    assert_eq!(json(&["fetch", "acme/x", "--offline", "--update", "-o", "copy"])["version"], version);
}

#[test]
fn maintenance_release_needs_no_flag_and_newest_stays_the_highest() {
    let (home, bob) = (Home::on_loopback(), Home::on_loopback());
    for version in ["1.0.0", "1.1.0", "1.0.5", "2.0.0-rc.1", "0.9.9"] {
        publish(&home, version).expect_code(0);
    }
    newest_is(&home, "1.1.0");
    let node = home.start(&[]);
    // Other nodes receive it too: in search results and in fetches.
    let fetched = ["--format", "json", "fetch", "acme/x", "--provider", node.address()];
    assert_eq!(bob.p2p(&fetched).expect_code(0).json()["version"], "1.1.0");
    let hits = bob.p2p(&["--format", "json", "search", "x", "--local"]).expect_code(0).json();
    assert_eq!(hits[0]["version"], "1.1.0", "a pre-release is not the newest: {hits}");
    let older = ["--format", "json", "fetch", "acme/x@~1.0", "--provider", node.address(), "-o", "older"];
    assert_eq!(bob.p2p(&older).expect_code(0).json()["version"], "1.0.5");
}

#[test]
fn second_build_of_a_version_is_refused_and_the_first_is_found_by_its_name() {
    let home = Home::on_loopback();
    publish(&home, "1.0.0+a").expect_code(0);
    for other in ["1.0.0+b", "1.0.0"] {
        let parts = ["acme/x 1.0.0+a is already published", "build metadata", "raise the version"];
        check_human(&publish(&home, other), 1, &parts);
    }
    newest_is(&home, "1.0.0+a");
    home.p2p(&["yank", "acme/x@1.0.0+a"]).expect_code(0);
    check_human(&publish(&home, "1.0.0+b"), 1, &["already published"]);
    for (requirement, code) in [("=1.0.0+a", 0), ("=1.0.0", 0), ("=1.0.0+b", 4), ("^1", 4)] {
        let target = format!("acme/x@{requirement}");
        let out = format!("out-{requirement}");
        let fetched = home.p2p(&["--format", "json", "fetch", &target, "--offline", "-o", &out]).expect_code(code);
        match code {
            0 => assert_eq!(fetched.json()["version"], "1.0.0+a", "{requirement}"),
            _ => check_json(&fetched, 4, &["acme/x"]),
        }
    }
}

/// A publish does what the dry run reports, and the dry run refuses what the publish refuses.
#[test]
fn dry_run_refuses_what_publish_refuses() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    let path = root.to_str().unwrap();
    let run = |args: &[&str]| home.p2p(&[&["publish", path, "--namespace", "acme"], args].concat());
    let dry = |args: &[&str]| run(&[&["--dry-run", "--format", "json"], args].concat());

    let promised = dry(&[]).expect_code(0).json();
    let published = run(&["--format", "json"]).expect_code(0).json();
    for field in ["cid", "blocks", "new_blocks", "unchanged"] {
        assert_eq!(promised[field], published[field], "{field}");
    }
    assert!(promised["new_blocks"].as_u64().unwrap() > 0, "{promised}");
    let again = dry(&[]).expect_code(0).json();
    assert_eq!((&again["new_blocks"], &again["unchanged"]), (&0.into(), &true.into()));
    let shown = run(&["--dry-run"]).expect_code(0).stdout;
    assert!(shown.contains("already published acme/x@1.0.0"), "{shown}");

    for args in [&["--version", "1.0.0+b"] as &[&str], &["--key", "other"], &["--namespace", "A"]] {
        let refusal = run(args);
        assert_ne!(refusal.code, Some(0), "{args:?}");
        assert_eq!(
            dry(args).expect_code(refusal.code.unwrap()).json(),
            run(&[args, &["--format", "json"]].concat()).json()
        );
    }
    std::fs::write(root.join("new"), "bytes").unwrap();
    check_human(
        &run(&["--dry-run"]),
        1,
        &["acme/x 1.0.0 is already published with other content", "raise the version"],
    );
    check_human(&run(&[]), 1, &["acme/x 1.0.0 is already published with other content", "raise the version"]);
}

#[test]
fn a_version_with_other_executable_files_is_refused_by_their_name() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::on_loopback();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    std::fs::write(root.join("run"), "#!/bin/sh\n").unwrap();
    home.publish(&root);
    std::fs::set_permissions(root.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for more in [&[] as &[&str], &["--dry-run"]] {
        let again = home.p2p(&[&["publish", root.to_str().unwrap(), "--namespace", "acme"], more].concat());
        check_human(&again, 1, &["already published with other executable files (`run`)", "raise the version"]);
        assert!(!again.stderr.contains("bafy"), "{again:?}");
    }
}

/// An invalid namespace or key is reported before the package is read into the store.
#[test]
fn what_cannot_be_signed_is_not_imported() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("x"), "x", "1.0.0");
    for (args, code) in [(["--namespace", "A"], 2), (["--key", "other"], 4)] {
        home.p2p(&["publish", root.to_str().unwrap(), args[0], args[1]]).expect_code(code);
    }
    assert!(home.publish(&root)["new_blocks"].as_u64().unwrap() > 0);
}

/// A release without enough replicas is published nevertheless: the message reports it, with everything that a publish
/// reports.
#[test]
fn publish_without_replicas_says_what_it_published() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let root = package(&home.work().join("x"), "x", "1.0.0");
    let args = ["publish", root.to_str().unwrap(), "--namespace", "acme", "--min-replicas", "1", "--timeout", "1"];
    let parts = [
        "acme/x@1.0.0 is published, but only",
        "its release is bafy",
        "only 0 of 1 peers confirmed a full copy",
        "key recovery show",
    ];
    check_human(&home.p2p(&args), 5, &parts);
    assert_eq!(home.publish(&root)["unchanged"], true);
}

#[test]
fn search_marks_a_package_of_which_every_version_is_yanked() {
    let home = Home::on_loopback();
    publish(&home, "1.0.0").expect_code(0);
    let hit = || home.p2p(&["--format", "json", "search", "x", "--local"]).expect_code(0).json()[0].clone();
    assert_eq!(hit()["yanked"], false);
    home.p2p(&["yank", "acme/x@1.0.0", "--reason", "bad"]).expect_code(0);
    assert_eq!(hit()["yanked"], true);
    let shown = home.p2p(&["search", "x", "--local"]).expect_code(0).stdout;
    assert!(shown.contains("acme/x@1.0.0  (yanked)"), "{shown}");
    let again = home.p2p(&["--format", "json", "yank", "acme/x@1.0.0"]).expect_code(0).json();
    assert_eq!((&again["unchanged"], &again["reason"]), (&true.into(), &"bad".into()));
}
