//! Help, version, completions and the manual page.

use crate::support::{Home, Output, package};

const COMMANDS: [&[&str]; 17] = [
    &[],
    &["marketplace"],
    &["marketplace", "p2p"],
    &["marketplace", "p2p", "start"],
    &["marketplace", "p2p", "stop"],
    &["marketplace", "p2p", "status"],
    &["marketplace", "p2p", "publish"],
    &["marketplace", "p2p", "fetch"],
    &["marketplace", "p2p", "search"],
    &["marketplace", "p2p", "key"],
    &["marketplace", "p2p", "key", "list"],
    &["marketplace", "p2p", "bootstrap"],
    &["marketplace", "p2p", "doctor"],
    &["marketplace", "p2p", "config"],
    &["marketplace", "p2p", "config", "show"],
    &["completions"],
    &["man"],
];

#[test]
fn help_of_every_command_has_an_example_and_goes_to_stdout() {
    let home = Home::new();
    for command in COMMANDS {
        let Output { stdout, stderr, .. } = home.run(&[command, &["--help"]].concat()).expect_code(0);
        assert!(stdout.contains("Example:\n  ggen "), "{command:?}: {stdout}");
        assert!(stdout.contains("Usage: ggen"), "{command:?}: {stdout}");
        assert_eq!(stderr, "", "{command:?}");
        assert!(!stdout.contains("--detached"), "{command:?}: an internal flag is shown");
        // The global options take a line or two each, so that the options of the command stand out.
        let common = stdout.split("Global options:").nth(1).unwrap();
        assert!(common.split("Example:").next().unwrap().lines().count() < 12, "{command:?}: {stdout}");
    }
    assert!(!home.path().exists(), "help made a home");
}

#[test]
fn help_prints_the_help_of_a_command_and_the_reference_of_gpack() {
    let home = Home::new();
    let reference = home.run(&["help", "gpack"]).expect_code(0).stdout;
    for words in ["* `keywords`:", ".ggenignore", "--allow-secrets", "[dependencies]"] {
        assert!(reference.contains(words), "no {words:?} in {reference}");
    }
    assert!(home.p2p(&["publish", "--help"]).stdout.contains("ggen help gpack"), "nobody finds it");
    for command in [&[] as &[&str], &["marketplace", "p2p", "publish"], &["completions"]] {
        let asked = home.run(&[&["help"], command].concat()).expect_code(0);
        assert_eq!(asked.stdout, home.run(&[command, &["--help"]].concat()).stdout);
    }
    let unknown = home.run(&["help", "gpakc"]).expect_code(2);
    assert!(unknown.stderr.contains("gpakc"), "{unknown:?}");
}

#[test]
fn version_is_printed() {
    let output = Home::new().run(&["--version"]).expect_code(0);
    assert_eq!(output.stdout, format!("ggen {}\n", env!("CARGO_PKG_VERSION")));
}

/// The candidates of the zsh completion script for a command line with an incomplete last argument.
fn completed(home: &Home, words: &[&str]) -> Vec<String> {
    let mut command = home.command(&[&["--", "ggen"], words].concat());
    command.env("GGEN_COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("IFS", "\n");
    let output = crate::support::finish(&mut command).expect_code(0);
    output.stdout.lines().map(|line| line.split(':').next().unwrap_or(line).to_owned()).collect()
}

#[test]
fn commands_packages_and_peers_are_completed() {
    let home = Home::on_loopback();
    assert_eq!(completed(&home, &["fetch", "acme/"]), [""; 0], "a home that does not exist knows nothing");
    assert!(!home.path().join("catalog.db").exists(), "completing made a catalog");
    for name in ["http", "html", "json"] {
        home.publish(&package(&home.work().join(name), name, "1.0.0"));
    }
    assert_eq!(completed(&home, &["marketplace", "p2p", "publi"]), ["publish"]);
    assert_eq!(completed(&home, &["fetch", "acme/ht"]), ["acme/html", "acme/http"]);
    let other = Home::on_loopback();
    let node = other.start(&[]);
    let _home = home.start(&["--bootstrap", node.address()]);
    let peer = node.listening["peer_id"].as_str().unwrap();
    // A listed peer is written to disk at once.
    home.p2p(&["bootstrap", node.address()]).expect_code(0);
    home.p2p(&["peer", "allow", peer]).expect_code(0);
    assert_eq!(completed(&home, &["marketplace", "p2p", "peer-info", &peer[..20]]), [peer], "beside a running node");
}

#[test]
fn completions_of_every_shell_ask_the_program() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]).expect_code(0).stdout;
        assert!(script.contains("GGEN_COMPLETE") && script.contains("ggen"), "{shell}: {script}");
    }
}

#[test]
fn bash_accepts_its_completion_script() {
    let home = Home::new();
    let script = home.work().join("ggen.bash");
    std::fs::write(&script, home.run(&["completions", "bash"]).expect_code(0).stdout).unwrap();
    let checked = std::process::Command::new("bash").arg("-n").arg(&script).output();
    // A machine without bash needs no bash completion.
    let Ok(checked) = checked else { return };
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn manual_page_is_roff() {
    let page = Home::new().run(&["man"]).expect_code(0).stdout;
    assert!(page.contains(".TH ggen 1"), "{page}");
}

#[test]
fn closed_pipe_is_success() {
    let home = Home::new();
    let mut child = home.command(&["completions", "bash"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
