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
    // Others are told of it in the same way: in what they find as in what they fetch.
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
