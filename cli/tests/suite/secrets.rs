//! Files that must never leave a machine, and the warnings to a publisher.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tar::EntryType;

use crate::support::{Home, Output, entry, gzip, package, refused, tarball};

/// A key that signs nothing.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let place = root.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, content).unwrap();
}

/// Turns a directory into a home, with the configuration of the other one.
fn make_home(user: &Home, place: &Path) {
    fs::create_dir_all(place).unwrap();
    fs::copy(user.path().join("p2p-config.toml"), place.join("p2p-config.toml")).unwrap();
}

/// The paths that a dry run lists, and its warnings.
#[track_caller]
fn dry_run(home: &Home, path: &str, more: &[&str]) -> (Vec<String>, Vec<String>) {
    let args = [&["--format", "json", "publish", "--dry-run", path], more].concat();
    let listed = home.p2p(&args).expect_code(0).json();
    (strings(&listed["entries"]), strings(&listed["warnings"]))
}

fn strings(array: &Value) -> Vec<String> {
    array.as_array().expect("an array").iter().map(|text| text.as_str().expect("a string").to_owned()).collect()
}

/// The contents of all files of a directory.
fn contents(directory: &Path) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => contents.extend(self::contents(&path)),
            false => contents.extend(fs::read(&path)),
        }
    }
    contents
}

#[test]
fn a_home_in_a_package_is_left_out_with_a_line_that_says_so() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    // No ignore file excludes it, and one tries to include it.
    write(&root, ".ggenignore", "!.ggen\n!*\n");
    let home = root.join("deep/.ggen");
    make_home(&user, &home);
    let args = |version: &'static str| {
        let home = home.to_str().unwrap();
        let offline =
            ["--format", "json", "--home", home, "publish", "pkg", "--namespace", "acme", "--version", version];
        offline.map(str::to_owned)
    };
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        let args = args(version);
        let published: Output = user.p2p(&args.iter().map(String::as_str).collect::<Vec<_>>()).expect_code(0);
        assert!(published.stderr.contains("`deep/.ggen` is left out: it is the home of a node"), "{published:?}");
        let warnings = strings(&published.json()["warnings"]);
        assert!(warnings[0].starts_with("`deep/.ggen` is left out"), "{warnings:?}");
    }
    let (entries, warnings) = dry_run(&user, "pkg", &[]);
    assert!(!entries.iter().any(|path| path.starts_with("deep/")), "{entries:?}");
    assert!(warnings[0].starts_with("`deep/.ggen` is left out"), "{warnings:?}");
    // None of it reaches a peer that fetches the package.
    let fetch = ["--home", home.to_str().unwrap(), "fetch", "acme/pkg@3.0.0", "--offline", "-o", "copy"];
    user.p2p(&fetch).expect_code(0);
    let fetched = contents(&user.work().join("copy"));
    for key in contents(&home.join("keys")) {
        assert!(!fetched.contains(&key), "a file of `keys/` was published");
    }
}

#[test]
fn a_home_itself_its_parts_and_a_tarball_with_one_are_refused() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    user.publish(&root);
    // The package is the home itself, also for a command that uses another home.
    let itself = package(&user.work().join("itself"), "itself", "1.0.0");
    make_home(&user, &itself);
    let path = itself.to_str().unwrap();
    let message = "the home of a node";
    refused(&user, &["--home", path, "publish", path], 3, &[message]);
    refused(&user, &["publish", path], 3, &[message]);
    refused(&user, &["publish", path, "--dry-run", "--allow-secrets"], 3, &[message]);
    package(&user.path().join("keys/pkg"), "pkg", "1.0.0");
    refused(&user, &["publish", user.path().join("keys/pkg").to_str().unwrap()], 3, &[message]);
    // A package that is merely inside a home is accepted.
    package(&user.path().join("packages/pkg"), "other", "1.0.0");
    user.publish(&user.path().join("packages/pkg"));

    let gpack = fs::read(root.join("gpack.toml")).unwrap();
    let archive = tarball(&[
        entry("pkg/gpack.toml", EntryType::Regular, &gpack),
        entry("pkg/state/lock", EntryType::Regular, b"4711\n"),
        entry("pkg/state/keys/node.key", EntryType::Regular, b"x"),
    ]);
    write(user.work(), "pkg.tgz", gzip(&archive));
    for more in [&[] as &[&str], &["--allow-secrets"], &["--dry-run"]] {
        refused(&user, &[&["publish", "pkg.tgz"], more].concat(), 3, &["`pkg/state`", message]);
    }
}

/// A copy of a home without `keys/`, and a database alone.
#[test]
fn what_a_node_keeps_is_left_out_without_its_keys_too() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    user.publish(&package(&user.work().join("x"), "x", "1.0.0"));
    let catalog = fs::read(user.path().join("catalog.db")).unwrap();
    let peers = fs::read(user.path().join("peers.db")).unwrap();
    write(&root, "state/catalog.db", &catalog);
    write(&root, "state/peers.db", &peers);
    write(&root, "state/store/1", "x");
    let (entries, warnings) = dry_run(&user, "pkg", &["--allow-secrets"]);
    assert!(!entries.iter().any(|path| path.starts_with("state")), "{entries:?}");
    assert_eq!(warnings[0], "`state` is left out: it is the home of a node, without its keys");
    let gpack = fs::read(root.join("gpack.toml")).unwrap();
    let archive = tarball(&[
        entry("pkg/gpack.toml", EntryType::Regular, &gpack),
        entry("pkg/state/catalog.db", EntryType::Regular, &catalog),
        entry("pkg/state/ggen.log", EntryType::Regular, b"x"),
    ]);
    write(user.work(), "pkg.tgz", gzip(&archive));
    for path in ["pkg.tgz", "pkg/state"] {
        write(&root, "state/gpack.toml", &gpack);
        refused(&user, &["publish", path, "--allow-secrets"], 3, &["the home of a node"]);
    }
    fs::remove_dir_all(root.join("state")).unwrap();
    write(&root, "a/catalog.db", "a database of another program");
    write(&root, "a/data/x", "x");
    assert_eq!(dry_run(&user, "pkg", &[]).0[..4], ["a", "a/catalog.db", "a/data", "a/data/x"]);
    write(&root, "a/data/one.db", &catalog);
    write(&root, "a/data/other.db", &peers);
    refused(&user, &["publish", "pkg"], 3, &["`a/data/one.db`: a database of a node", "`a/data/other.db`"]);
}

/// What .ggenignore cannot keep out, and names that mean something else as a pattern.
#[test]
fn hints_name_what_mends_the_package() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    let link = root.join("a[b]");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    refused(&user, &["publish", "pkg"], 3, &["[b]` in .ggenignore"]);
    let shown = user.p2p(&["publish", "pkg"]).stderr;
    assert!(shown.contains("name `a\\[b]` in .ggenignore"), "{shown}");
    write(&root, ".ggenignore", "a\\[b]\n");
    let gpack = fs::read_to_string(root.join("gpack.toml")).unwrap();
    write(&root, "GPACK.toml", &gpack);
    refused(&user, &["publish", "pkg"], 3, &["rename `GPACK.toml`, or name it in .ggenignore"]);
    fs::remove_file(root.join("GPACK.toml")).unwrap();

    fs::remove_file(root.join("gpack.toml")).unwrap();
    write(user.work(), "outside.toml", &gpack);
    for (target, code, message) in [
        ("../outside.toml", 3, "put gpack.toml itself in the root of the package"),
        ("../gone.toml", 1, "is a symlink to `../gone.toml`, which is no file of the package"),
    ] {
        std::os::unix::fs::symlink(target, root.join("gpack.toml")).unwrap();
        refused(&user, &["publish", "pkg"], code, &[message]);
        fs::remove_file(root.join("gpack.toml")).unwrap();
    }
    write(&root, "gpack.toml", format!("{gpack}\n# {}", KEY.replace('\n', "\n# ")));
    refused(&user, &["publish", "pkg"], 3, &["`gpack.toml`: a private key", "take the secret out of gpack.toml"]);
}

#[test]
fn secrets_are_refused_by_name_and_published_if_that_is_allowed() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    write(&root, "deploy/.env", "PASSWORD=x\n");
    write(&root, ".env.example", "PASSWORD=\n");
    write(&root, "certs/server.pem", KEY);
    write(&root, "src/pem.rs", "const BEGIN: &str = \"-----BEGIN PRIVATE KEY-----\";\n");
    // A key in ggen's own format, under an inconspicuous name.
    user.publish(&package(&user.work().join("x"), "x", "1.0.0"));
    fs::copy(user.path().join("keys/default.key"), root.join("data.bin")).unwrap();
    let mut entries = Vec::new();
    for path in ["deploy/.env", "certs/server.pem", "data.bin", ".env.example", "src/pem.rs"] {
        entries.push(entry(path, EntryType::Regular, &fs::read(root.join(path)).unwrap()));
    }
    write(user.work(), "pkg.tgz", gzip(&tarball(&entries)));

    let files = ["`deploy/.env`", "`certs/server.pem`", "`data.bin`"];
    let parts = [&files[..], &["--allow-secrets", "name them in .ggenignore"]].concat();
    let of_tarball = [&files[..], &["--allow-secrets", "make the tarball again"]].concat();
    for (path, parts) in [("pkg", &parts), ("pkg.tgz", &of_tarball)] {
        for more in [&[] as &[&str], &["--dry-run"], &["--skip-verify"]] {
            let args = [&["publish", path, "--namespace", "acme"], more].concat();
            refused(&user, &args, 3, parts);
            let message = user.p2p(&args).stderr;
            assert!(!message.contains(".env.example") && !message.contains("pem.rs"), "{message}");
            // Ignore files are not applied to a tarball.
            assert_eq!(message.contains(".ggenignore"), path == "pkg", "{message}");
        }
    }
    let node = user.start(&[]);
    refused(&user, &["publish", "pkg", "--namespace", "acme"], 3, &parts);
    drop(node);

    for (path, version) in [("pkg", "1.0.0"), ("pkg.tgz", "1.1.0")] {
        let more = ["--namespace", "acme", "--version", version, "--allow-secrets"];
        let expected: Vec<_> = dry_run(&user, path, &more).1;
        let args = [&["--format", "json", "publish", path], &more as &[&str]].concat();
        let published = user.p2p(&args).expect_code(0);
        assert_eq!(strings(&published.json()["warnings"]), expected, "the dry run says the same");
        for part in ["`deploy/.env` is published", "`certs/server.pem` is", "`data.bin` is"] {
            assert!(published.stderr.contains(part), "{part}: {published:?}");
        }
    }
    // An ignored file does not cause a refusal.
    write(&root, ".ggenignore", ".env\n*.pem\n/data.bin\n");
    user.p2p(&["publish", "pkg", "--namespace", "acme", "--version", "2.0.0"]).expect_code(0);
}

/// gpack.toml names files that may contain secrets: these are published with one line each, and other files are still
/// refused.
#[test]
fn secrets_that_gpack_toml_allows_are_published_and_others_refused() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    let gpack = fs::read_to_string(root.join("gpack.toml")).unwrap();
    let allows = |patterns: &str| gpack.replace("[package]\n", &format!("[package]\nallow-secrets = {patterns}\n"));
    let make = |gpack: &str| {
        write(&root, "gpack.toml", gpack);
        // The key precedes the gpack.toml that allows it.
        let mut archive = Vec::new();
        for path in ["Tests/key.pem", "gpack.toml", "other.pem"] {
            if let Ok(content) = fs::read(root.join(path)) {
                archive.extend(entry(&format!("top/{path}"), EntryType::Regular, &content));
            }
        }
        archive.extend([0; 1024]);
        write(user.work(), "pkg.tgz", gzip(&archive));
    };
    write(&root, "Tests/key.pem", KEY);
    make(&allows("[\"/Tests/\"]"));
    let note =
        "`Tests/key.pem` is published for everybody to read, as `allow-secrets` in gpack.toml says: a private key";
    for (path, version) in [("pkg", "1.0.0"), ("pkg.tgz", "1.1.0")] {
        let more = ["--namespace", "acme", "--version", version];
        let (_, warnings) = dry_run(&user, path, &more);
        assert!(warnings.iter().any(|warning| warning.starts_with(note)), "{warnings:?}");
        let published = user.p2p(&[&["publish", path], &more[..]].concat()).expect_code(0);
        assert!(published.stderr.contains(note), "{published:?}");
    }
    // The tarball is complete, including what was found before gpack.toml was read.
    user.p2p(&["fetch", "acme/pkg@1.1.0", "--offline", "-o", "copy"]).expect_code(0);
    assert_eq!(fs::read_to_string(user.work().join("copy/Tests/key.pem")).unwrap(), KEY);
    let piped = |version: &str| {
        let args = ["marketplace", "p2p", "publish", "-", "--namespace", "acme", "--version", version];
        let mut command = user.command(&args);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let tarball = fs::read(user.work().join("pkg.tgz")).unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &tarball).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = piped("2.0.0");
    assert!(code == Some(3) && message.contains("publish the tarball from a file"), "{code:?} {message}");

    write(&root, "other.pem", KEY);
    make(&allows("[\"/Tests/\"]"));
    for path in ["pkg", "pkg.tgz"] {
        for more in [&[] as &[&str], &["--dry-run"]] {
            let args = [&["publish", path, "--namespace", "acme", "--version", "3.0.0"], more].concat();
            refused(&user, &args, 3, &["a file holds a secret", "`other.pem`", "allow-secrets"]);
            assert!(!user.p2p(&args).stderr.contains("key.pem"));
        }
    }
    make(&allows("[\"*\"]"));
    refused(&user, &["publish", "pkg"], 1, &["gpack.toml:2: `allow-secrets` has `*`", "--allow-secrets"]);
    // It does not allow a home.
    make(&allows("[\"keys\", \"*.pem\", \"state\"]"));
    make_home(&user, &root.join("state"));
    write(&root, "state/lock", "1\n");
    write(&root, "state/keys/node.key", "x");
    let (entries, _) = dry_run(&user, "pkg", &["--namespace", "acme", "--version", "4.0.0"]);
    assert!(!entries.iter().any(|path| path.starts_with("state")), "{entries:?}");
}

/// Of two of them the last one counts, and what the first one allows is not allowed.
#[test]
fn a_gpack_toml_that_another_one_replaces_allows_no_secrets() {
    let user = Home::on_loopback();
    let gpack =
        "[package]\nname = \"bad\"\nversion = \"1.0.0\"\ndescription = \"A test package\"\nnamespace = \"acme\"\n";
    let allows = gpack.replace("[package]\n", "[package]\nallow-secrets = [\"key.pem\"]\n");
    let [allows, gpack] = [&allows, gpack].map(|text| entry("gpack.toml", EntryType::Regular, text.as_bytes()));
    let key = entry("key.pem", EntryType::Regular, KEY.as_bytes());
    for (parts, code) in [([&allows, &key, &gpack], 3), ([&gpack, &key, &allows], 3), ([&allows, &key, &key], 0)] {
        write(user.work(), "pkg.tar", [parts.map(Vec::as_slice).concat(), vec![0; 1024]].concat());
        let output = user.p2p(&["publish", "pkg.tar", "--dry-run"]).expect_code(code);
        assert_eq!(output.stderr.contains("more than once"), code == 0, "{output:?}");
    }
}

/// A package in a git work tree: what git ignores there is left out, with a daemon that runs in another environment too.
#[test]
fn what_git_ignores_in_a_work_tree_is_left_out() {
    let user = Home::on_loopback();
    let root = user.work().join("mono");
    let packaged = package(&root.join("packages/pkg"), "pkg", "1.0.0");
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.current_dir(&root).args(args).env("HOME", user.work()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env_remove("XDG_CONFIG_HOME").env_remove("GIT_CONFIG_GLOBAL");
        assert!(command.status().expect("git is there").success(), "{args:?}");
    };
    git(&["init", "--quiet"]);
    write(&root, ".gitignore", "*.secret\n/packages/pkg/local.settings\n");
    write(&root, ".git/info/exclude", "excluded\n");
    write(user.work(), ".config/git/ignore", "by-default\n");
    write(user.work(), "mine", "configured\n");
    for name in ["x.secret", "local.settings", "excluded", "by-default", "configured", "plain"] {
        write(&packaged, name, "x");
    }
    let environment = [("GIT_CONFIG_NOSYSTEM", "1"), ("XDG_CONFIG_HOME", "")];
    let path = packaged.to_str().unwrap().to_owned();
    let list = || {
        let args = ["--format", "json", "publish", "--dry-run", &path];
        let listed = user.p2p_with(&environment, &args).expect_code(0).json();
        let names = strings(&listed["entries"]);
        let left = ["x.secret", "local.settings", "excluded", "by-default", "configured", "plain"];
        left.into_iter().filter(|name| names.iter().any(|listed| listed == name)).collect::<Vec<_>>()
    };
    assert_eq!(list(), ["configured", "plain"]);
    git(&["config", "--global", "core.excludesFile", "~/mine"]);
    assert_eq!(list(), ["by-default", "plain"]);
    git(&["config", "core.excludesFile", ""]);
    assert_eq!(list(), ["by-default", "configured", "plain"]);
    git(&["config", "--unset", "core.excludesFile"]);
    let _node = user.start(&[]);
    let published = user.p2p_with(&environment, &["--format", "json", "publish", &path, "--namespace", "acme"]);
    let files = &published.expect_code(0).json()["files"];
    let without = user.p2p(&["--format", "json", "publish", "--dry-run", &path]);
    assert_eq!(files, &without.expect_code(0).json()["files"]);
    user.p2p(&["fetch", "acme/pkg", "--offline", "-o", "copy"]).expect_code(0);
    let copy = user.work().join("copy");
    assert!(copy.join("plain").exists() && copy.join("by-default").exists());
    assert!(!copy.join("configured").exists() && !copy.join("x.secret").exists());

    // A package that is ignored as a whole is published nevertheless, with a note.
    write(&root, ".gitignore", "/packages/\n*.secret\n");
    let args = ["--format", "json", "publish", "--dry-run", &path];
    let listed = user.p2p_with(&environment, &args).expect_code(0).json();
    assert!(strings(&listed["entries"]).contains(&"x.secret".to_owned()), "{listed}");
    assert!(
        listed["warnings"].to_string().contains("a `.gitignore` above the package keeps all of it out"),
        "{listed}"
    );
}

/// Keys in files of more than 256 KiB: at the end, across the border of two chunks (1 MiB each), and in front.
#[test]
fn a_key_in_a_long_file_is_found_wherever_it_stands() {
    const MIB: usize = 1 << 20;
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    let with_key = |at: usize, length: usize| {
        let mut content = b"0123456 not a key: PRIVATE KEY\n".repeat(length.div_ceil(31));
        content.truncate(length);
        content[at..at + KEY.len()].copy_from_slice(KEY.as_bytes());
        content
    };
    let keys = [
        ("at-the-end.log", with_key(MIB - KEY.len(), MIB)),
        ("across.sql", with_key(2 * MIB - 40, 3 * MIB + 1)),
        ("across-the-last.sql", with_key(MIB - KEY.len() + 2, MIB + 2)),
        ("in-front.bin", with_key(0, (256 << 10) + 1)),
    ];
    for (name, content) in &keys {
        write(&root, name, content);
    }
    // Half of a key, and text that mentions a key.
    write(&root, "plain.log", [&with_key(MIB, 2 * MIB)[..MIB + 60], &vec![b'x'; MIB]].concat());
    let files = ["at-the-end.log", "across.sql", "across-the-last.sql", "in-front.bin", "plain.log"];
    let files = files.map(|name| entry(name, EntryType::Regular, &fs::read(root.join(name)).unwrap()));
    write(user.work(), "pkg.tgz", gzip(&tarball(&files)));

    let parts = ["`at-the-end.log`: a private key", "`across.sql`", "`across-the-last.sql`", "`in-front.bin`"];
    for path in ["pkg", "pkg.tgz"] {
        for more in [&[] as &[&str], &["--dry-run"]] {
            let args = [&["publish", path, "--namespace", "acme"], more].concat();
            refused(&user, &args, 3, &parts);
            let message = user.p2p(&args).stderr;
            assert!(!message.contains("plain.log"), "{message}");
        }
    }
    let (_, warnings) = dry_run(&user, "pkg", &["--namespace", "acme", "--allow-secrets"]);
    assert_eq!(warnings.len(), keys.len(), "{warnings:?}");
}

/// The directory is cached as it was published with secrets: the next publish refuses them nevertheless.
#[test]
fn a_secret_that_was_allowed_once_is_refused_again() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    write(&root, "server.pem", KEY);
    // Files are cached once their times are older than a step of the clock.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options().write(true).open(root.join("server.pem")).unwrap().set_modified(old).unwrap();
    for version in ["1.0.0", "1.1.0"] {
        user.p2p(&["publish", "pkg", "--version", version, "--allow-secrets"]).expect_code(0);
    }
    refused(&user, &["publish", "pkg", "--version", "1.2.0"], 3, &["`server.pem`"]);
}

#[test]
fn gpack_toml_goes_in_whatever_the_ignore_files_say_and_through_a_link() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    write(&root, ".gitignore", "*.toml\n*\n!real.toml\n");
    let (entries, _) = dry_run(&user, "pkg", &[]);
    assert_eq!(entries, ["gpack.toml"]);
    let first = user.publish(&root);
    assert_eq!(first["version"], "1.0.0");

    let text = fs::read_to_string(root.join("gpack.toml")).unwrap().replace("1.0.0", "1.1.0");
    fs::remove_file(root.join("gpack.toml")).unwrap();
    write(&root, "real.toml", &text);
    std::os::unix::fs::symlink("real.toml", root.join("gpack.toml")).unwrap();
    let (entries, _) = dry_run(&user, "pkg", &[]);
    assert_eq!(entries, ["gpack.toml", "real.toml"]);
    let dry = user.p2p(&["--format", "json", "publish", "pkg", "--dry-run"]).expect_code(0).json();
    let published = user.publish(&root);
    assert_eq!((&published["version"], &published["cid"]), (&json!("1.1.0"), &dry["cid"]));

    // It links to an ignored file: both are reported.
    write(&root, ".gitignore", "real.toml\n");
    for more in [&[] as &[&str], &["--dry-run"]] {
        let args = [&["publish", "pkg", "--namespace", "acme"], more].concat();
        refused(&user, &args, 1, &["gpack.toml` is a symlink to `real.toml`, which is no file of the package"]);
    }
}

#[test]
fn publisher_is_warned_of_keys_versions_and_generated_directories() {
    let user = Home::on_loopback();
    let root = package(&user.work().join("pkg"), "pkg", "1.0.0");
    let gpack = fs::read_to_string(root.join("gpack.toml")).unwrap();
    write(&root, "gpack.toml", gpack.replace("[package]\n", "[package]\nlicence = \"MIT\"\nxyz = 1\n"));
    write(&root, "web/node_modules/a/index.js", "x");
    std::os::unix::fs::symlink("rules", root.join(".gitignore")).unwrap();
    write(&root, ".GIT/config", "x");
    std::os::unix::fs::symlink(".GIT", root.join("history")).unwrap();
    let expected = [
        "`.gitignore` is a symlink, and not read",
        "`.gitignore` is a symlink to `rules`, which leads to nothing in the package",
        "`history` is a symlink to `.GIT`, which leads to nothing in the package",
        "gpack.toml:2: the key `licence` in `[package]` has no meaning here; did you mean `license`?",
        "gpack.toml:3: the key `xyz` in `[package]` has no meaning here",
        "publishing version 1.5.0, but gpack.toml in the package says 1.0.0",
        "`web/node_modules` looks generated (1 file, 1 MB): a line `/web/node_modules/` in .ggenignore keeps it out",
    ];
    let (_, warnings) = dry_run(&user, "pkg", &["--version", "1.5.0", "--namespace", "acme"]);
    assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
    let published = user.p2p(&["publish", "pkg", "--version", "1.5.0", "--namespace", "acme"]).expect_code(0);
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning}");
        assert!(published.stderr.contains(&format!("warning: {expected}")), "{published:?}");
    }
}
