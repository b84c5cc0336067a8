//! Typical first commands of a new user in an empty home, and the hints that lead further.

use std::fs;

use crate::support::{Home, check_human, package, refused};

/// A CID without content.
const ABSENT: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
/// The command, the exit code, and the text that the answer must contain.
const MISTAKES: [(&[&str], i32, &[&str]); 19] = [
    (&["status"], 4, &["no node is running", "ggen marketplace p2p start --daemon"]),
    (&["stop"], 4, &["no node is running", "to stop the node of another home", "--home DIR"]),
    (&["yank", "acme/http@1.0.0"], 4, &["has not published anything yet", "ggen marketplace p2p publish"]),
    (&["fetch", "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3"], 2, &["is not a complete CID", "copy the complete CID"]),
    (
        &["fetch", "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuv"],
        2,
        &["is not a complete CID", "copy the complete CID"],
    ),
    (&["info", ABSENT], 5, &["no provider of", "ggen marketplace p2p start --daemon --bootstrap ADDRESS"]),
    (&["start", "--no-mdns", "--listen", "/ip4/192.0.2.7/tcp/0"], 1, &["no such address", "/ip4/0.0.0.0/tcp/4001"]),
    (&["publish", "./nowhere"], 1, &["nowhere", "check the path"]),
    (&["publish", "./empty"], 1, &["is not a package: it has no gpack.toml", "`name`, `version` and `description`"]),
    (&["publish", "./bad"], 1, &["lacks `name`", "it begins like this: `[package]`"]),
    (&["publish", "./good/gpack.toml"], 1, &["is a file of a package", "ggen marketplace p2p publish"]),
    (&["publish", "./good", "--version", "1"], 2, &["`1` is not a semantic version", "`1.2.0`"]),
    (&["fetch", "http"], 2, &["`http` is neither a CID", "ggen marketplace p2p search http"]),
    (&["fetch", "acme/http"], 4, &["no peer is connected that could be asked", "ggen marketplace p2p doctor"]),
    (&["fetch", "acme/http", "--provider", "here"], 2, &["`here` is not a multiaddress", "/ip4/127.0.0.1/tcp/4001"]),
    (&["bootstrap", "1.2.3.4:4001"], 2, &["`1.2.3.4:4001` is not a multiaddress", "/p2p/<peer id>"]),
    (&["start", "--listen", "127.0.0.1:4001"], 2, &["`127.0.0.1:4001`", "/ip4/127.0.0.1/tcp/4001"]),
    (&["start", "--no-mdns", "--listen", "/ip4/127.0.0.1"], 2, &["no transport supports", "/ip4/0.0.0.0/tcp/4001"]),
    (&["start", "--config", "nofile"], 2, &["nofile", "without `--config`"]),
];

#[test]
fn every_typical_mistake_is_answered_with_what_to_do() {
    let home = Home::on_loopback();
    fs::create_dir(home.work().join("empty")).unwrap();
    fs::create_dir(home.work().join("bad")).unwrap();
    fs::write(home.work().join("bad/gpack.toml"), "[package]\n").unwrap();
    package(&home.work().join("good"), "good", "1.0.0");
    for (args, code, parts) in MISTAKES {
        let output = home.p2p(args);
        assert!(output.stderr.contains("\nhint: "), "{args:?}: {output:?}");
        check_human(&output, code, parts);
    }
}

#[test]
fn a_topic_that_names_no_network_is_refused_with_its_line() {
    let home = Home::new();
    for topic in ["", "two words", &"x".repeat(200)] {
        home.configure(&format!("mdns = false\npackages_topic = \"{topic}\"\n"));
        refused(&home, &["start"], 2, &["p2p-config.toml", "line 2"]);
    }
}

#[test]
fn commands_without_the_words_before_them_are_shown_in_full() {
    let home = Home::new();
    for (typed, meant) in
        [(&["marketplace", "status"] as &[&str], "ggen marketplace p2p status"), (&["p2p", "start"], "marketplace p2p")]
    {
        let output = home.run(typed).expect_code(2);
        assert!(output.stderr.contains(meant), "{typed:?}: {output:?}");
    }
}

#[test]
fn short_forms_are_the_same_commands() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("good"), "good", "1.0.0");
    let root = root.to_str().unwrap();
    let published = home.run(&["--format", "json", "publish", root, "--namespace", "acme"]).expect_code(0).json();
    assert_eq!(published["package"], "acme/good");
    home.run(&["fetch", "acme/good", "--offline", "-o", "out"]).expect_code(0);
    home.run(&["status"]).expect_code(4);
    for version in [&["--version"] as &[&str], &["marketplace", "--version"], &["marketplace", "p2p", "--version"]] {
        let output = home.run(version).expect_code(0);
        assert!(output.stdout.trim_end().ends_with(env!("CARGO_PKG_VERSION")), "{output:?}");
    }
}

#[test]
fn empty_variable_means_the_default_home() {
    let home = Home::new();
    let output = home.p2p_with(&[("GGEN_HOME", "")], &["config", "show"]).expect_code(0);
    let default = home.work().join(".ggen/p2p-config.toml");
    assert!(output.stderr.contains(&format!("{} (does not exist)", default.display())), "{output:?}");
}

#[test]
fn help_names_the_variable_of_the_home() {
    for help in ["-h", "--help"] {
        let output = Home::new().run(&["marketplace", "p2p", "status", help]).expect_code(0);
        assert!(output.stdout.contains("GGEN_HOME"), "{output:?}");
    }
}

#[test]
fn nothing_is_coloured_that_is_not_a_terminal() {
    let home = Home::new();
    for args in [&["status"] as &[&str], &["--help"], &["dance"], &["config", "show"]] {
        for variables in [&[] as &[(&str, &str)], &[("CLICOLOR_FORCE", "1")], &[("NO_COLOR", "1")]] {
            let output = home.p2p_with(variables, args);
            assert!(!output.stdout.contains('\x1b') && !output.stderr.contains('\x1b'), "{args:?}: {output:?}");
        }
    }
}
