//! Damaged files under `keys/`: a file that can be rebuilt is rebuilt, with a warning. Any other damage fails only the
//! operations that need the file, and the error names it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::support::{Home, Random, check_human, copy_tree, package, refused};

fn published() -> Home {
    let home = Home::on_loopback();
    for name in ["one", "two"] {
        home.publish(&package(&home.work().join(name), name, "1.0.0"));
    }
    home
}

/// Publishes the next version of `acme/one`, which must follow what was published before.
#[track_caller]
fn publishes(home: &Home, version: &str) {
    let published = home.publish(&package(&home.work().join("one"), "one", version));
    let info = home.p2p(&["--format", "json", "info", "acme/one", "--offline"]).expect_code(0).json();
    assert_eq!((&info["version"], &info["publisher"]), (&version.into(), &published["publisher"]));
    assert_eq!(info["claims"].as_array().map(Vec::len), Some(1), "a second publisher was made");
}

fn key_files(home: &Home) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(home.path().join("keys")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn one_flipped_bit_in_any_key_file_is_put_right() {
    let mut random = Random::seeded();
    let home = published();
    let saved = home.work().join("saved");
    copy_tree(&home.path(), &saved);
    for without_catalog in [false, true] {
        for path in key_files(&home) {
            fs::remove_dir_all(home.path()).unwrap();
            copy_tree(&saved, &home.path());
            let mut bytes = fs::read(&path).unwrap();
            let bit = random.below(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            if without_catalog {
                fs::remove_file(home.path().join("catalog.db")).unwrap();
            }
            eprintln!("bit {bit} of {}, without the catalog: {without_catalog}", path.display());
            let listed = home.p2p(&["--format", "json", "key", "list"]).expect_code(0);
            assert!(listed.json().as_array().unwrap().iter().all(|key| key.get("problem").is_none()), "{listed:?}");
            home.p2p(&["search", "two", "--local"]).expect_code(0);
            drop(home.start(&[]));
            publishes(&home, "1.1.0");
        }
    }
}

#[test]
fn head_and_identity_that_are_gone_or_unreadable_are_made_again() {
    for file in ["default.head", "default.identity"] {
        for contents in [None, Some(""), Some("nonsense")] {
            for without_catalog in [false, true] {
                let home = published();
                let path = home.path().join("keys").join(file);
                match contents {
                    None => fs::remove_file(&path).unwrap(),
                    Some(contents) => fs::write(&path, contents).unwrap(),
                }
                if without_catalog {
                    fs::remove_file(home.path().join("catalog.db")).unwrap();
                }
                let listed = home.p2p(&["key", "list"]).expect_code(0);
                if contents.is_some() || file == "default.identity" {
                    assert!(
                        listed.stderr.contains("warning: ") && listed.stderr.contains("is made again"),
                        "{listed:?}"
                    );
                }
                assert_eq!(home.p2p(&["key", "list"]).expect_code(0).stderr, "", "once is enough");
                publishes(&home, "1.1.0");
            }
        }
    }
}

#[test]
fn key_that_cannot_be_made_again_stops_what_needs_it_and_nothing_else() {
    let home = published();
    let root = package(&home.work().join("one"), "one", "1.1.0");
    let publish = ["publish", root.to_str().unwrap(), "--namespace", "acme"];
    let damaged = |file: &str| {
        let path = home.path().join("keys").join(file);
        let before = fs::read(&path).unwrap();
        fs::write(&path, [9; 20]).unwrap();
        let listed = home.p2p(&["key", "list"]).expect_code(0);
        for args in [&["search", "one", "--local"][..], &["gc"], &["verify"], &["pin", "ls"]] {
            home.p2p(args).expect_code(0);
        }
        home.p2p(&["fetch", "acme/one", "--offline", "--update", "-o", "copy"]).expect_code(0);
        (path, before, listed)
    };
    let (path, before, listed) = damaged("default.key");
    assert!(
        listed.stdout.contains("cannot be used: the key file") && listed.stdout.contains("default.key"),
        "{listed:?}"
    );
    check_human(&home.p2p(&publish), 1, &["default.key", "is damaged", "put a copy of that file back"]);
    {
        let _node = home.start(&[]);
        check_human(&home.p2p(&publish), 1, &["default.key", "is damaged"]);
    }
    fs::write(&path, before).unwrap();

    let (path, _, _) = damaged("default.timestamp.key");
    home.p2p(&publish).expect_code(0);
    assert_eq!(fs::read(&path).unwrap(), [9; 20], "nothing is made up");

    let (path, _, listed) = damaged("node.key");
    assert!(listed.stdout.contains("node.key"), "{listed:?}");
    check_human(&home.p2p(&["start"]), 1, &["node.key", "is damaged", "move it away"]);
    fs::remove_file(path).unwrap();
    drop(home.start(&[]));
}

#[test]
fn catalog_that_lacks_what_was_signed_last_opens_and_signs_nothing() {
    let home = published();
    let saved = home.work().join("saved");
    copy_tree(&home.path(), &saved);
    publishes(&home, "1.1.0");
    // The head is newer than the rest of the home: a publish on top of it would create a second history.
    let head = fs::read(home.path().join("keys/default.head")).unwrap();
    fs::remove_dir_all(home.path()).unwrap();
    copy_tree(&saved, &home.path());
    fs::write(home.path().join("keys/default.head"), head).unwrap();
    let listed = home.p2p(&["key", "list"]).expect_code(0);
    assert!(listed.stderr.contains("what `default` has published is not all here"), "{listed:?}");
    home.p2p(&["fetch", "acme/one", "--offline", "-o", "copy"]).expect_code(0);
    let root = package(&home.work().join("one"), "one", "1.2.0");
    let refused = home.p2p(&["publish", root.to_str().unwrap(), "--namespace", "acme"]).expect_code(1);
    assert!(refused.stderr.contains("entry 3 of its log") && refused.stderr.contains("second history"), "{refused:?}");
}

#[test]
fn publish_after_a_backup_was_restored_goes_on_from_what_others_have() {
    let (alice, hub) = (Home::on_loopback(), Home::on_loopback());
    hub.configure("mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n[[mirror.rules]]\nwhat = \"all\"\n");
    let kept = hub.start(&[]);
    let publish = |version: &str| {
        let root = package(&alice.work().join("one"), "one", version);
        let path = root.to_str().unwrap().to_owned();
        let args = ["--format", "json", "publish", &path, "--namespace", "acme", "--min-replicas", "1"];
        alice.p2p(&args).expect_code(0).json()
    };
    let mut node = alice.start(&["--bootstrap", kept.address()]);
    publish("1.0.0");
    node.kill();
    let saved = alice.work().join("saved");
    copy_tree(&alice.path(), &saved);
    node = alice.start(&["--bootstrap", kept.address()]);
    publish("1.1.0");
    publish("1.2.0");
    node.kill();
    fs::remove_dir_all(alice.path()).unwrap();
    copy_tree(&saved, &alice.path());

    let _node = alice.start(&["--bootstrap", kept.address()]);
    // The exchange of catalogs delivers the newer head, but not the catalog that it refers to.
    let known = || {
        let hits = alice.p2p(&["--format", "json", "search", "one", "--local"]).expect_code(0).json();
        hits[0]["version"] == "1.2.0"
    };
    while !known() {
        std::thread::yield_now();
    }
    publish("1.3.0");
    let listed = alice.p2p(&["--format", "json", "info", "acme/one", "--versions"]).expect_code(0).json();
    assert_eq!(listed["releases"].as_array().map(Vec::len), Some(4), "{listed}");
    assert_eq!(listed["claims"][0]["equivocation"], false);
    let fetched = hub.p2p(&["--format", "json", "fetch", "acme/one", "-o", "copy"]).expect_code(0).json();
    assert_eq!(fetched["version"], "1.3.0");
}

#[test]
fn key_files_of_another_publisher_are_named_and_sign_nothing() {
    let (home, other) = (published(), published());
    let root = package(&home.work().join("one"), "one", "1.1.0");
    let publish = ["publish", root.to_str().unwrap(), "--namespace", "acme"];
    let keys = home.path().join("keys");
    for foreign in [keys.join("node.key"), other.path().join("keys/default.key")] {
        fs::copy(foreign, keys.join("default.key")).unwrap();
        let listed = home.p2p(&["key", "list"]).expect_code(0);
        assert!(listed.stdout.contains("default.key` holds another key than"), "{listed:?}");
        check_human(&home.p2p(&publish), 1, &["default.key", "another key", "default.identity", "same backup"]);
        home.p2p(&["fetch", "acme/one", "--offline", "--update", "-o", "copy"]).expect_code(0);
        drop(home.start(&[]));
    }
    let files = ["default.key", "default.identity"];
    for file in files {
        fs::copy(other.path().join("keys").join(file), keys.join(file)).unwrap();
    }
    let listed = home.p2p(&["key", "list"]).expect_code(0);
    assert!(listed.stdout.contains("default.head` is of the publisher"), "{listed:?}");
    let refused = home.p2p(&publish).expect_code(1);
    assert!(
        refused.stderr.contains("error: the head file") && refused.stderr.contains("default.identity"),
        "{refused:?}"
    );
    fs::copy(keys.join("node.key"), keys.join("default.recovery.key")).unwrap();
    let refused = home.p2p(&["key", "recovery", "show"]).expect_code(1);
    assert!(refused.stderr.contains("default.recovery.key` holds another key"), "{refused:?}");
}

/// The file modes of a home that was copied under another umask.
#[test]
fn keys_that_others_can_read_are_taken_from_them_and_those_that_others_can_write_refused() {
    let home = published();
    let keys = home.path().join("keys");
    let key = keys.join("default.key");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&keys, 0o755);
    set(&key, 0o644);
    let listed = home.p2p(&["key", "list"]).expect_code(0);
    assert!(
        listed.stderr.contains("other users could read these files") && listed.stderr.contains("default.key"),
        "{listed:?}"
    );
    assert_eq!((mode(&keys), mode(&key)), (0o700, 0o600));
    assert!(!home.p2p(&["key", "list"]).expect_code(0).stderr.contains("other users"));

    for (path, open) in [(&keys, 0o777), (&key, 0o620)] {
        let closed = mode(path);
        set(path, open);
        let message =
            format!("other users can write to `{}`, where private keys are (its mode is {open:03o})", path.display());
        for args in [&["key", "list"] as &[&str], &["publish", "one"], &["start"]] {
            refused(&home, args, 1, &[&message, &format!("chmod -R go-w {}", keys.display())]);
        }
        assert_eq!(mode(path), open);
        set(path, closed);
    }
    publishes(&home, "1.1.0");
}
