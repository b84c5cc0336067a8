//! Hints: the command in a hint works, or is the next possible step.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::support::{Home, Output, check_human, on_a_terminal, package, refused};

/// The hint of an error, or the last hint in the notes.
#[track_caller]
fn hint(output: &Output) -> String {
    let hint = output.stderr.lines().rev().find_map(|line| line.strip_prefix("hint: "));
    hint.unwrap_or_else(|| panic!("no hint: {output:?}")).to_owned()
}

/// The text that a hint suggests, or the first command in it.
#[track_caller]
fn quoted(hint: &str) -> String {
    hint.split('`').nth(1).unwrap_or_else(|| panic!("nothing is quoted in {hint:?}")).to_owned()
}

fn published() -> (Home, serde_json::Value) {
    let home = Home::on_loopback();
    let published = home.publish(&package(&home.work().join("http"), "http", "1.0.0"));
    (home, published)
}

#[test]
fn a_target_as_a_hint_writes_it_can_be_fetched() {
    let (home, published) = published();
    let cid = published["cid"].as_str().unwrap();
    let typed = [
        format!("{cid}/run.sh"),
        format!("https://ipfs.io/ipfs/{cid}"),
        format!("https://{cid}.ipfs.dweb.link/src/large"),
        "@acme/http".to_owned(),
        "acme/http/".to_owned(),
        "acme/http@".to_owned(),
        "acme/http@v1.0.0".to_owned(),
    ];
    for (index, typed) in typed.iter().enumerate() {
        let refused = home.p2p(&["fetch", typed, "--offline", "-o", "out"]).expect_code(2);
        let hint = hint(&refused);
        let written = hint.strip_prefix("write `").and_then(|rest| rest.strip_suffix('`'));
        let written = written.unwrap_or_else(|| panic!("{typed}: {hint}"));
        home.p2p(&["fetch", written, "--offline", "-o", &format!("out{index}")]).expect_code(0);
    }
    refused(
        &home,
        &["fetch", "acme/http/run.sh", "-o", "out"],
        2,
        &["without a path", "/ipfs/<cid>/run.sh", "info acme/http"],
    );
    refused(&home, &["fetch", &cid[..30], "-o", "out"], 2, &["is not a complete CID", "copy the complete CID"]);
    home.p2p(&["fetch", "acme/http@latest", "--offline", "-o", "latest"]).expect_code(0);
}

#[test]
fn a_file_in_the_place_of_a_package_is_not_to_be_updated() {
    let (home, _) = published();
    fs::write(home.work().join("file"), "mine").unwrap();
    let taken = home.p2p(&["fetch", "acme/http", "--offline", "-o", "file"]).expect_code(1);
    assert!(!taken.stderr.contains("--update") && hint(&taken).contains("-o PATH"), "{taken:?}");
    fs::remove_file(home.work().join("file")).unwrap();
    home.p2p(&["fetch", "acme/http", "--offline", "-o", "file"]).expect_code(0);
    // A directory can be updated, as the hint suggests.
    let taken = home.p2p(&["fetch", "acme/http", "--offline", "-o", "file"]).expect_code(1);
    assert!(hint(&taken).contains("--update"), "{taken:?}");
    home.p2p(&["fetch", "acme/http", "--offline", "-o", "file", "--update"]).expect_code(0);
}

#[test]
fn misspelt_package_is_answered_with_the_one_that_is_known() {
    let (home, _) = published();
    home.p2p(&["pin", "add", "acme/http", "--offline"]).expect_code(0);
    for args in [
        &["fetch", "acme/htttp", "--offline", "-o", "out"] as &[&str],
        &["fetch", "acme/htttp", "--timeout", "1", "-o", "out"],
        &["info", "acme/htttp", "--offline"],
        &["pin", "add", "amce/http", "--offline"],
        &["pin", "rm", "acme/htttp"],
        &["verify", "acme/htttp"],
        &["yank", "acme/htttp@1.0.0"],
    ] {
        refused(&home, args, 4, &["did you mean `acme/http`?"]);
    }
    let doctor = home.p2p(&["doctor", "acme/htttp"]);
    assert!(doctor.stdout.contains("did you mean `acme/http`?"), "{doctor:?}");
    let other = home.p2p(&["fetch", "other/thing", "--offline", "-o", "out"]).expect_code(4);
    assert!(!other.stderr.contains("did you mean"), "{other:?}");
}

#[test]
fn verify_names_a_repair_only_where_there_is_something_to_repair() {
    let (home, _) = published();
    let _node = home.start(&[]);
    for name in ["acme/nothing-alike", "acme/http@9.0.0"] {
        let output = home.p2p(&["verify", name]).expect_code(4);
        assert!(!output.stderr.contains("--repair"), "{output:?}");
    }
    refused(&home, &["verify", "other/thing"], 4, &["package `other/thing` not found in this home", "check the name"]);
}

#[test]
fn yank_of_what_was_not_published_says_what_was() {
    let (home, _) = published();
    refused(
        &home,
        &["yank", "other/thing@1.0.0"],
        4,
        &["you have not published a package `other/thing`", "`acme/http`"],
    );
    let output = home.p2p(&["yank", "acme/http@9.0.0"]).expect_code(4);
    let command = quoted(&hint(&output));
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[0], "ggen", "{output:?}");
    let listed = home.run(&words[1..]).expect_code(0);
    assert!(listed.stdout.contains("1.0.0"), "{listed:?}");
    check_human(&home.p2p(&["yank", "acme/http@v1.0.0"]), 2, &["write `acme/http@1.0.0`"]);
    home.p2p(&["yank", "acme/http@1.0.0"]).expect_code(0);
}

#[test]
fn a_publisher_id_is_no_package() {
    let (alice, published) = published();
    let publisher = published["publisher"].as_str().unwrap();
    let parts = ["is a publisher id", &format!("`{publisher}/ns/name`")];
    for args in [&["fetch", publisher, "-o", "out"] as &[&str], &["info", publisher], &["pin", "add", publisher]] {
        refused(&alice, args, 2, &parts);
    }
    alice.p2p(&["fetch", &format!("{publisher}/acme/http"), "--offline", "-o", "out"]).expect_code(0);
    // A user who does not know the publisher finds it by its document.
    let (node, bob) = (alice.start(&[]), Home::on_loopback());
    refused(&bob, &["fetch", publisher, "--provider", node.address(), "-o", "out"], 2, &parts);
}

#[test]
fn without_a_node_no_hint_needs_one() {
    let home = Home::on_loopback();
    let start = "ggen marketplace p2p start --daemon --bootstrap ADDRESS";
    let list = home.p2p(&["peer-list"]).expect_code(0);
    assert!(list.stderr.contains(start), "{list:?}");
    check_human(&home.p2p(&["fetch", "acme/http", "-o", "out"]), 4, &["no peer is connected", start]);
    let node = home.start(&[]);
    let list = home.p2p(&["peer-list"]).expect_code(0);
    assert!(list.stderr.contains("`ggen marketplace p2p bootstrap ADDRESS`"), "{list:?}");
    let fetch = home.p2p(&["fetch", "acme/http", "-o", "out"]).expect_code(4);
    assert!(hint(&fetch).contains("`ggen marketplace p2p bootstrap ADDRESS`"), "{fetch:?}");
    // Both commands work as described.
    let other = Home::on_loopback();
    other.start(&["--bootstrap", node.address()]);
    let _others = other.start(&[]);
    other.p2p(&["bootstrap", node.address()]).expect_code(0);
}

#[test]
fn configuration_takes_what_is_typed_or_says_what_it_takes() {
    let home = Home::on_loopback();
    let two = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1";
    for value in ["/ip4/127.0.0.1/tcp/0", two, "[\"/ip4/127.0.0.1/tcp/0\"]"] {
        home.p2p(&["config", "set", "listen_addresses", value]).expect_code(0);
    }
    refused(&home, &["config", "set", "mdns", "off"], 2, &["`mdns` is `true` or `false`"]);
    home.p2p(&["config", "set", "mdns", "false"]).expect_code(0);
    refused(&home, &["config", "unset", "namspace"], 2, &["unknown key `namspace`", "did you mean `namespace`?"]);
    home.p2p(&["config", "unset", "namespace"]).expect_code(0);
    refused(&home, &["start", "--listen", "garbage"], 2, &["invalid address `garbage` in `--listen`"]);
    // The home's own file may be missing, whether it is named or not.
    let new = Home::new();
    let file = new.path().join("p2p-config.toml");
    new.p2p(&["config", "show", "--config", file.to_str().unwrap()]).expect_code(0);
    refused(&new, &["config", "show", "--config", "other.toml"], 2, &["other.toml", "without `--config`"]);
}

#[test]
fn wrong_gpack_is_answered_with_the_line_to_write() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let path = root.to_str().unwrap();
    let head = |name: &str, version: &str| {
        format!("[package]\nname = {name}\nversion = {version}\ndescription = \"x\"\nnamespace = \"acme\"\n")
    };
    for (text, part) in [
        (head("\"acme/http\"", "\"1.0.0\""), "write `namespace = \"acme\"` and `name = \"http\"`"),
        (head("\"My Package\"", "\"1.0.0\""), "`name = \"my-package\"`"),
        (head("\"http\"", "\"1.0\""), "write `version = \"1.0.0\"`"),
        (head("\"http\"", "\"v1.2.0\""), "write `version = \"1.2.0\"`"),
        (head("\"http\"", "1.0"), "write `version = \"1.0.0\"`"),
        (head("\"http\"", "\"1.0.0\"").replace("[package]", "[pakage]"), "did you mean `[package]`"),
        (head("\"http\"", "\"1.0.0\"") + "[dependencies]\n\"a/b\" = \"v1\"\n", "write `1`, without `v`"),
    ] {
        fs::write(root.join("gpack.toml"), &text).unwrap();
        let output = home.p2p(&["publish", path, "--dry-run"]);
        check_human(&output, 1, &[part]);
        assert!(!output.stderr.contains("it begins like this"), "{text}: {output:?}");
    }
    fs::write(root.join("gpack.toml"), head("\"http\"", "\"1.0.0\"")).unwrap();
    home.p2p(&["publish", path, "--dry-run"]).expect_code(0);
}

#[test]
fn what_is_refused_in_a_package_can_be_kept_out_as_the_hint_says() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let path = root.to_str().unwrap();
    let refuse = |make: &dyn Fn(&Path), name: &str| {
        make(&root.join(name));
        let hint = hint(&home.p2p(&["publish", path, "--dry-run"]).expect_code(3));
        assert_eq!(quoted(&hint), name, "{hint}");
        assert!(hint.contains(".ggenignore"), "{hint}");
        fs::write(root.join(".ggenignore"), format!("{name}\n")).unwrap();
        home.p2p(&["publish", path, "--dry-run"]).expect_code(0);
        fs::remove_file(root.join(name)).unwrap();
    };
    refuse(&|place| symlink("../../outside", place).unwrap(), "link");
    refuse(&|place| drop(std::os::unix::net::UnixListener::bind(place).unwrap()), "socket");
    // Of two names that differ by case, either may be removed.
    fs::write(root.join("RUN.sh"), "").unwrap();
    let hint = hint(&home.p2p(&["publish", path, "--dry-run"]).expect_code(3));
    assert!(hint.contains("`RUN.sh`") && hint.contains("`run.sh`") && hint.contains(".ggenignore"), "{hint}");
    fs::write(root.join(".ggenignore"), "RUN.sh\n").unwrap();
    home.p2p(&["publish", path, "--dry-run"]).expect_code(0);
}

#[test]
fn what_is_no_package_is_answered_with_the_forms_of_one() {
    let home = Home::on_loopback();
    fs::write(home.work().join("README.md"), "# not a package\n").unwrap();
    fs::write(home.work().join("x.zip"), b"PK\x03\x04 and more").unwrap();
    for file in ["README.md", "x.zip"] {
        check_human(&home.p2p(&["publish", file]), 1, &["a package is a directory, or a tarball of one", ".tar.gz"]);
    }
    let missing = home.p2p(&["publish", "missing/path"]);
    check_human(&missing, 1, &["missing/path", "check the path"]);
    assert!(!missing.stderr.contains("gpack.toml"), "{missing:?}");
}

#[test]
fn numbers_out_of_range_are_answered_with_the_range() {
    let home = Home::on_loopback();
    for (args, part) in [
        (&["search", "x", "--limit", "0"] as &[&str], "it is not from 1 to 1000"),
        (&["search", "x", "--limit", "many"], "it is not a whole number"),
        (&["mirror", "add", "all", "--versions", "0"], "it is not from 1 to"),
        (&["publish", ".", "--min-replicas", "x"], "it is not a whole number"),
        (&["fetch", "a/b", "--timeout", "0"], "it is not from 1 to"),
    ] {
        let output = home.p2p(args).expect_code(2);
        assert!(output.stderr.contains(part), "{args:?}: {output:?}");
    }
}

#[test]
fn home_that_cannot_be_one_is_a_usage_error_whatever_stands_in_its_way() {
    let home = Home::new();
    fs::write(home.work().join("file"), "").unwrap();
    for place in ["/proc/none/home", "/dev/null", "/dev/null/home", "file", "file/home"] {
        refused(&home, &["--home", place, "yank", "acme/x@1.0.0"], 2, &[place, "--home DIR"]);
        // What only reads makes no home, so it finds what is there, but not that no home could be made.
        if place != "/proc/none/home" {
            refused(&home, &["--home", place, "key", "list"], 2, &[place, "--home DIR"]);
        }
    }
}

#[test]
fn recovery_key_of_a_new_home_was_never_made() {
    let home = Home::on_loopback();
    for what in ["show", "confirm"] {
        let parts = ["has not published anything yet", "ggen marketplace p2p publish"];
        check_human(&home.p2p(&["key", "recovery", what]), 4, &parts);
    }
}

#[test]
fn a_terminal_that_knows_no_colours_gets_none() {
    let home = Home::on_loopback();
    for (terminal, is_coloured) in [("xterm-256color", true), ("dumb", false)] {
        for args in [&["status"] as &[&str], &["dance"]] {
            let shown = on_a_terminal(&home, &[("TERM", terminal)], args);
            assert_ne!(shown.code, Some(0), "{shown:?}");
            assert_eq!(shown.stdout.contains('\x1b'), is_coloured, "{terminal} {args:?}: {shown:?}");
        }
    }
}

#[test]
fn publish_takes_the_current_directory_and_search_takes_words() {
    let home = Home::on_loopback();
    package(home.work(), "here", "1.0.0");
    fs::write(home.work().join(".ggenignore"), "home\n").unwrap();
    home.p2p(&["publish", "--namespace", "acme"]).expect_code(0);
    for name in ["there", "elsewhere"] {
        home.publish(&package(&home.work().join("other").join(name), name, "1.0.0"));
    }
    let found = home.p2p(&["--format", "json", "search", "--local", "test", "package", "here"]).expect_code(0).json();
    assert_eq!(found[0]["package"], "acme/here");
    let first = home.p2p(&["search", "test", "package", "--local", "--limit", "2"]).expect_code(0);
    assert_eq!(first.stdout.matches("acme/").count(), 2, "{first:?}");
    let more = first.stderr.split("--limit ").nth(1).and_then(|rest| rest.split('`').next()).expect("there are more");
    let all = home.p2p(&["search", "test", "package", "--local", "--limit", more]).expect_code(0);
    assert_eq!(all.stdout.matches("acme/").count(), 3, "{all:?}");
    assert!(!all.stderr.contains("--limit"), "{all:?}");
}

#[test]
fn a_package_is_pinned_in_one_line_by_which_it_is_unpinned() {
    let (home, _) = published();
    let pinned = home.p2p(&["pin", "add", "acme/http", "--offline"]).expect_code(0);
    let records = home.p2p(&["--format", "json", "pin", "ls"]).expect_code(0).json().as_array().unwrap().len();
    assert!(records > 1);
    assert_eq!(pinned.stdout, format!("pinned acme/http@1.0.0 ({records} records)\n"));
    let listed = home.p2p(&["pin", "ls"]).expect_code(0).stdout;
    assert_eq!(listed, format!("acme/http@1.0.0 ({records} records)\n"));
    let removed = home.p2p(&["pin", "rm", listed.split(' ').next().unwrap()]).expect_code(0);
    assert_eq!(removed.stdout, format!("unpinned acme/http@1.0.0 ({records} records)\n"));
    assert_eq!(home.p2p(&["--format", "json", "pin", "ls"]).expect_code(0).json(), serde_json::json!([]));
}

#[test]
fn commands_by_the_names_of_other_tools_lead_to_the_ones_here() {
    let home = Home::new();
    for (typed, meant) in [
        (&["unpublish", "acme/x@1.0.0"] as &[&str], "ggen marketplace p2p yank"),
        (&["config", "get"], "ggen marketplace p2p config show"),
        (&["marketplace", "p2p", "config", "list"], "ggen marketplace p2p config show"),
        (&["peer", "info", "X"], "ggen marketplace p2p peer-info"),
        (&["peer", "list"], "ggen marketplace p2p peer-list"),
        (&["version"], "ggen --version"),
        (&["view", "acme/x"], "ggen marketplace p2p info"),
        (&["show", "acme/x"], "ggen marketplace p2p info"),
        (&["daemon"], "ggen marketplace p2p start --daemon"),
    ] {
        let output = home.run(typed).expect_code(2);
        assert!(output.stderr.contains(&format!("'{meant}'")), "{typed:?}: {output:?}");
    }
}
