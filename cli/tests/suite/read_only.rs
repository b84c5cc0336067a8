//! A home that this user cannot write to: reading commands work, writing commands report it, and nothing in it changes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_json::Value;

use crate::support::{Frozen, Home, Output, check_human, check_json, package, tree};

/// A home with two packages, one of them yanked, a pin, a mirror rule and a listed peer.
fn used() -> (Home, Value) {
    let home = Home::on_loopback();
    let published = home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
    home.publish(&package(&home.work().join("old"), "old", "0.1.0"));
    for args in [
        &["yank", "acme/old@0.1.0", "--reason", "broken"][..],
        &["pin", "add", "acme/http", "--offline"],
        &["mirror", "add", "acme/*", "--versions", "2"],
        &["peer", "deny", "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"],
    ] {
        home.p2p(args).expect_code(0);
    }
    (home, published)
}

/// Path, modification time and content of every file.
fn snapshot(home: &Home) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let files = tree(&home.path()).into_iter();
    let written = |path: &PathBuf| fs::metadata(home.path().join(path)).unwrap().modified().unwrap();
    files.map(|(path, (bytes, _))| (path.clone(), (written(&path), bytes))).collect()
}

const READING: [&[&str]; 15] = [
    &["search", "http", "--local"],
    &["search", "http"],
    &["info", "acme/http", "--offline"],
    &["info", "acme/http", "--timeout", "1"],
    &["info", "acme/old", "--offline", "--versions"],
    &["pin", "ls", "--all"],
    &["key", "list"],
    &["key", "recovery", "show"],
    &["verify"],
    &["verify", "acme/http"],
    &["config", "show"],
    &["peer-list"],
    &["mirror", "ls"],
    &["gc", "--dry-run"],
    &["publish", "http", "--version", "1.1.0", "--namespace", "acme", "--dry-run"],
];

fn answers(run: impl Fn(&[&str]) -> Output) -> Vec<(Value, String)> {
    let answer = |args: &&[&str]| {
        let output = run(&[&["--format", "json"], *args].concat()).expect_code(0);
        (output.json(), output.stderr)
    };
    READING.iter().map(answer).collect()
}

#[test]
fn what_reads_answers_as_in_any_home_and_changes_nothing() {
    let (home, published) = used();
    let expected = answers(|args| home.p2p(args));
    let before = snapshot(&home);
    let frozen = Frozen::new(&home);
    for (args, (found, expected)) in READING.iter().zip(answers(|args| frozen.p2p(args)).iter().zip(&expected)) {
        assert_eq!(found, expected, "{args:?}");
    }
    let place = frozen.writable("place");
    for (number, target) in ["acme/http", published["cid"].as_str().unwrap()].into_iter().enumerate() {
        let out = place.join(number.to_string());
        frozen.p2p(&["fetch", target, "--offline", "-o", out.to_str().unwrap()]).expect_code(0);
        let executable = number == 0;
        for (path, (bytes, of_package)) in tree(&home.work().join("http")) {
            assert_eq!(tree(&out)[&path], (bytes, of_package && executable), "{}", path.display());
        }
    }
    let tarball = place.join("http.tar");
    frozen.p2p(&["fetch", "acme/http", "--offline", "--tar", tarball.to_str().unwrap()]).expect_code(0);
    let shown = frozen.p2p(&["fetch", "acme/http", "--offline", "--tar", "/dev/null"]).expect_code(0);
    assert!(format!("{shown:?}").contains("acme/http"), "{shown:?}");
    frozen.p2p(&["status"]).expect_code(4);
    let found = frozen.p2p(&["--format", "json", "doctor"]).json();
    let store = &found["stages"][0];
    assert_eq!((&store["name"], &store["ok"]), (&"store".into(), &true.into()), "{found}");
    assert!(store["detail"].as_str().unwrap().contains("only reading works"), "{found}");
    drop(frozen);
    assert!(snapshot(&home) == before, "something was written");
    home.publish(&package(&home.work().join("http"), "http", "1.1.0"));
}

#[test]
fn what_a_killed_node_left_is_read_too() {
    let home = Home::on_loopback();
    let mut node = home.start(&[]);
    home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
    home.p2p(&["mirror", "add", "acme/*"]).expect_code(0);
    node.kill();
    let log = fs::metadata(home.path().join("catalog.db-wal")).unwrap().len();
    assert!(log > 0, "the release is in the catalog's log, not in the catalog");
    let before = snapshot(&home);
    let frozen = Frozen::new(&home);
    let hits = frozen.p2p(&["--format", "json", "search", "http", "--local"]).expect_code(0).json();
    assert_eq!(hits[0]["package"], "acme/http");
    assert_eq!(frozen.p2p(&["--format", "json", "mirror", "ls"]).expect_code(0).json().as_array().unwrap().len(), 1);
    let out = frozen.writable("place").join("copy");
    frozen.p2p(&["fetch", "acme/http", "--offline", "-o", out.to_str().unwrap()]).expect_code(0);
    assert!(tree(&out) == tree(&home.work().join("http")));
    frozen.p2p(&["verify"]).expect_code(0);
    drop(frozen);
    assert!(snapshot(&home) == before, "something was written");
}

/// As root, who may write everywhere: what root made there would lock the owner out.
#[test]
fn root_writes_nothing_to_the_home_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can look at this");
        return;
    }
    let (home, _) = used();
    let expected = answers(|args| home.p2p(args));
    give_away(&home.path());
    let before = snapshot(&home);
    for (args, (found, expected)) in READING.iter().zip(answers(|args| home.p2p(args)).iter().zip(&expected)) {
        assert_eq!(found, expected, "{args:?}");
    }
    home.p2p(&["fetch", "acme/http", "--offline", "-o", "copy"]).expect_code(0);
    package(&home.work().join("http"), "http", "1.1.0");
    for args in WRITING {
        let parts = ["belongs to another user (uid 65534)", "sudo -u '#65534'", "--home DIR"];
        check_human(&home.p2p(args), 1, &parts);
        check_json(&home.p2p(&[&["--format", "json"], args].concat()), 1, &parts);
    }
    assert!(snapshot(&home) == before, "something was written");
    // One that is not there yet, in a directory of the user who called sudo.
    let theirs = home.work().join("theirs");
    fs::create_dir(&theirs).unwrap();
    give_away(&theirs);
    let place = theirs.join(".ggen");
    let args = ["--home", place.to_str().unwrap(), "publish", "http", "--namespace", "acme"];
    check_human(&home.p2p_with(&[("SUDO_UID", "65534")], &args), 1, &["called sudo (uid 65534)", "without sudo"]);
    assert!(!place.exists());
    home.p2p(&args).expect_code(0);
}

fn give_away(path: &Path) {
    std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

const WRITING: [&[&str]; 17] = [
    &["publish", "http", "--namespace", "acme"],
    &["yank", "acme/http@1.0.0"],
    &["fetch", "acme/http", "-o", "nowhere"],
    &["pin", "add", "acme/http"],
    &["pin", "add", "acme/http", "--offline"],
    &["pin", "rm", "acme/http"],
    &["gc"],
    &["verify", "--repair"],
    &["mirror", "add", "acme/http"],
    &["mirror", "rm", "acme/*"],
    &["peer", "allow", "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"],
    &["peer", "reset", "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"],
    &["key", "recovery", "confirm"],
    &["config", "set", "namespace", "acme"],
    &["config", "unset", "mdns"],
    &["start"],
    &["start", "--daemon"],
];

#[test]
fn what_writes_says_that_the_home_cannot_be_written_to_and_what_to_do() {
    let (home, _) = used();
    package(&home.work().join("http"), "http", "1.1.0");
    let before = snapshot(&home);
    let frozen = Frozen::new(&home);
    for args in WRITING {
        let parts = ["cannot be written to", "allow this user to write to it", "--home DIR"];
        check_human(&frozen.p2p(args), 1, &[&parts[..], &["Permission denied"]].concat());
        check_json(&frozen.p2p(&[&["--format", "json"], args].concat()), 1, &parts);
    }
    drop(frozen);
    assert!(snapshot(&home) == before, "something was written");
}
