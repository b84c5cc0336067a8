//! Private keys and what was published with them: never written over, and no rival is made of a publisher whose keys are
//! gone.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::support::{Home, check_human, copy_tree, finish, package, refused};

fn key_files(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let entry = |file: std::io::Result<fs::DirEntry>| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
    };
    fs::read_dir(home.path().join("keys")).unwrap().map(entry).collect()
}

fn one(home: &Home, version: &str) -> String {
    package(&home.work().join("one"), "one", version).to_str().unwrap().to_owned()
}

#[test]
fn key_that_was_copied_into_a_new_home_is_not_written_over() {
    let (old, new) = (Home::on_loopback(), Home::on_loopback());
    old.publish(Path::new(&one(&old, "1.0.0")));
    let keys = new.path().join("keys");
    new.p2p(&["key", "list"]).expect_code(0);
    for file in ["default.key", "default.recovery.key"] {
        fs::copy(old.path().join("keys").join(file), keys.join(file)).unwrap();
    }
    let before = key_files(&new);
    let root = one(&new, "1.1.0");
    for more in [&[][..], &["--dry-run"]] {
        let args = [&["publish", root.as_str(), "--namespace", "acme"], more].concat();
        refused(
            &new,
            &args,
            1,
            &["default.identity", "is missing beside `default.key`, `default.recovery.key`", "copy of it back"],
        );
    }
    refused(&new, &["yank", "acme/one@1.0.0"], 1, &["default.identity", "is missing"]);
    let listed = new.p2p(&["key", "list"]).expect_code(0);
    assert!(listed.stdout.contains("default  ") && listed.stdout.contains("default.identity"), "{listed:?}");
    assert_eq!(key_files(&new), before);

    // A peer that knows the publisher brings the identity.
    let node = old.start(&[]);
    new.configure(&format!(
        "bootstrap_nodes = [\"{}\"]\nmdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n",
        node.address()
    ));
    new.p2p(&["info", "acme/one"]).expect_code(0);
    let listed = new.p2p(&["key", "list"]).expect_code(0);
    assert!(listed.stderr.contains("made again") && !listed.stdout.contains("cannot be used"), "{listed:?}");
    let was = old.p2p(&["--format", "json", "info", "acme/one"]).expect_code(0).json();
    let published = new.publish(Path::new(&root));
    assert_eq!(published["publisher"], was["publisher"]);
}

#[test]
fn home_whose_keys_are_gone_makes_no_rival_of_its_publisher() {
    let home = Home::on_loopback();
    home.publish(Path::new(&one(&home, "1.0.0")));
    fs::remove_dir_all(home.path().join("keys")).unwrap();
    let root = one(&home, "2.0.0");
    for without in [None, Some("catalog.db")] {
        without.iter().for_each(|file| fs::remove_file(home.path().join(file)).unwrap());
        // That the catalog is gone is said once, by another command.
        home.p2p(&["pin", "ls"]).expect_code(0);
        for args in [
            &["publish", root.as_str(), "--namespace", "acme"][..],
            &["publish", root.as_str(), "--namespace", "acme", "--dry-run"],
            &["yank", "acme/one@1.0.0"],
        ] {
            refused(&home, args, 1, &["has published as", "keys/default.key", "keys/default.identity", "backup"]);
        }
        assert_eq!(key_files(&home).keys().collect::<Vec<_>>(), ["node.key"]);
    }
    let doctor = home.p2p(&["doctor"]);
    assert!(doctor.stdout.contains("has published as"), "{doctor:?}");
}

#[test]
fn publish_and_yank_after_a_restored_backup_need_no_more_than_a_peer_that_knows_the_names() {
    let (alice, follower) = (Home::on_loopback(), Home::on_loopback());
    let known = follower.start(&[]);
    let hears_of = |version: &str| {
        let hits = || follower.p2p(&["--format", "json", "search", "one", "--local"]).expect_code(0).json();
        while hits()[0]["version"] != version {
            std::thread::yield_now();
        }
    };
    let publishes = |version: &str| drop(alice.publish(Path::new(&one(&alice, version))));
    let publishes_two = |version: &str| drop(alice.publish(&package(&alice.work().join("two"), "two", version)));
    let mut node = alice.start(&["--bootstrap", known.address()]);
    publishes_two("1.0.0");
    publishes("1.0.0");
    hears_of("1.0.0");
    node.kill();
    let saved = alice.work().join("saved");
    copy_tree(&alice.path(), &saved);
    node = alice.start(&["--bootstrap", known.address()]);
    publishes("1.1.0");
    hears_of("1.1.0");
    node.kill();
    let restore = || {
        fs::remove_dir_all(alice.path()).unwrap();
        copy_tree(&saved, &alice.path());
    };
    restore();
    node = alice.start(&["--bootstrap", known.address()]);
    publishes_two("1.1.0");
    let yanked = alice.p2p(&["--format", "json", "yank", "acme/one@1.1.0"]).expect_code(0).json();
    assert_eq!(yanked["yanked"], true);
    publishes("1.2.0");
    let info = alice.p2p(&["--format", "json", "info", "acme/one", "--versions"]).expect_code(0).json();
    assert_eq!(info["releases"].as_array().map(Vec::len), Some(3), "{info}");
    assert_eq!(info["claims"][0]["equivocation"], false, "{info}");
    node.kill();

    // The follower knows the versions from the catalogs alone.
    let shown = follower.p2p(&["--format", "json", "info", "acme/one", "--offline"]).expect_code(0);
    assert_eq!(shown.json()["package"], "acme/one", "{shown:?}");
    assert!(shown.json()["incomplete"].is_string() && shown.stderr.contains("newer versions"), "{shown:?}");
}

#[test]
fn catalog_that_is_gone_is_reported() {
    let home = Home::on_loopback();
    home.publish(Path::new(&one(&home, "1.0.0")));
    let catalog = home.path().join("catalog.db");
    for is_there in [false, true] {
        fs::remove_file(&catalog).unwrap();
        if is_there {
            fs::write(&catalog, "").unwrap();
        }
        let listed = home.p2p(&["pin", "ls"]).expect_code(0);
        assert!(listed.stderr.contains("the catalog is gone and is made again"), "{listed:?}");
        let again = home.p2p(&["pin", "ls"]).expect_code(0);
        assert!(!again.stderr.contains("catalog"), "once is enough: {again:?}");
        home.p2p(&["info", "acme/one", "--offline"]).expect_code(0);
    }
    let new = Home::on_loopback();
    let listed = new.p2p(&["pin", "ls"]).expect_code(0);
    assert!(!listed.stderr.contains("catalog"), "{listed:?}");
}

#[test]
fn version_of_which_a_build_was_published_is_yanked_without_naming_the_build() {
    let home = Home::on_loopback();
    home.publish(Path::new(&one(&home, "3.0.0+b1")));
    let yanked = home.p2p(&["--format", "json", "yank", "acme/one@3.0.0"]).expect_code(0).json();
    assert_eq!((&yanked["version"], &yanked["yanked"]), (&"3.0.0+b1".into(), &true.into()));
    let again = home.p2p(&["--format", "json", "yank", "acme/one@3.0.0"]).expect_code(0).json();
    assert_eq!((&again["version"], &again["unchanged"]), (&"3.0.0+b1".into(), &true.into()));
    home.p2p(&["yank", "acme/one@3.0.0+b2"]).expect_code(4);
}

#[test]
fn mistakes_in_a_version_and_in_a_key_have_their_own_answers() {
    let home = Home::on_loopback();
    let root = one(&home, "1.0.0");
    let publish = ["publish", root.as_str(), "--namespace", "acme"];
    refused(&home, &[&publish[..], &["--version", "v1.0.0"]].concat(), 2, &["write `1.0.0`, without `v`"]);
    refused(
        &home,
        &[&publish[..], &["--key", "node"]].concat(),
        2,
        &["the key of the node itself", "leave out `--key`"],
    );
    refused(&home, &["config", "set", "namespace", "A_B"], 2, &["`namespace`", "A_B"]);
}

/// A command of the home in a shell that has changed what its processes may do.
fn under(home: &Home, limit: &str, args: &[&str]) -> Command {
    let inner = home.command(&[&["marketplace", "p2p"], args].concat());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit}; exec \"$@\""), "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(home.work()).env("GGEN_HOME", home.path()).env("HOME", home.work());
    command
}

#[test]
fn umask_that_takes_from_the_owner_leaves_a_home_that_works() {
    for umask in ["0277", "0377", "0777"] {
        let home = Home::new();
        let root = one(&home, "1.0.0");
        let publish = ["publish", root.as_str(), "--namespace", "acme"];
        finish(&mut under(&home, &format!("umask {umask}"), &publish)).expect_code(0);
        // A superuser could open them whatever they are.
        for (part, mode) in [("", 0o700), ("keys", 0o700), ("keys/default.key", 0o600), ("catalog.db", 0o600)] {
            assert_eq!(fs::metadata(home.path().join(part)).unwrap().permissions().mode() & 0o777, mode, "{part}");
        }
        home.p2p(&["pin", "ls"]).expect_code(0);
    }
}

#[test]
fn too_few_files_are_the_cause_that_is_named() {
    let home = Home::on_loopback();
    home.p2p(&["key", "list"]).expect_code(0);
    let seen = (8..40).map(|count| finish(&mut under(&home, &format!("ulimit -n {count}"), &["key", "list"])));
    for refused in seen.filter(|output| output.code != Some(0) && output.stderr.contains(".db`")) {
        check_human(&refused, 1, &["may not open more files", "ulimit -n 1024"]);
    }
}

#[test]
fn stderr_that_cannot_be_written_to_stops_no_command() {
    let home = Home::on_loopback();
    let verified = finish(under(&home, "exec 2>/dev/full", &["verify"]).env("RUST_LOG", "trace"));
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
