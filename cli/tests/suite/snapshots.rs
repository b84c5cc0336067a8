//! What a user reads, kept as text: the help of every command, and a session of commands with their output and exit codes.
//!
//! The files stand in `cli/tests/snapshots`. `UPDATE_SNAPSHOTS=1 cargo test snapshots` writes them again; the change is then
//! reviewed like any other.

use std::{fs, path::PathBuf};

use crate::support::{Home, Node, Output, package};

/// Compares with a file, line by line, or writes it.
#[track_caller]
fn assert_snapshot(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, found).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differing = kept.lines().zip(found.lines()).position(|(kept, found)| kept != found);
    let at = differing.unwrap_or_else(|| kept.lines().count().min(found.lines().count()));
    let around = |text: &str| text.lines().skip(at.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
    assert!(
        kept == found,
        "{name} differs from line {}: `UPDATE_SNAPSHOTS=1 cargo test snapshots` writes it again\n--- kept\n{}\n--- found\n{}",
        at + 1,
        around(&kept),
        around(found)
    );
}

/// The subcommands that the help of a command lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

fn collect_help(home: &Home, command: &[String], collected: &mut String) {
    let help = home.run(&[command, &["--help".to_owned()]].concat()).expect_code(0).stdout;
    collected.push_str(&format!("$ ggen {} --help\n{help}\n", command.join(" ")));
    for name in subcommands(&help) {
        collect_help(home, &[command, &[name]].concat(), collected);
    }
}

#[test]
fn the_help_of_every_command_is_the_one_that_was_reviewed() {
    let mut collected = String::new();
    collect_help(&Home::new(), &[], &mut collected);
    for name in ["publish", "mirror add", "key recovery show", "config set", "pin rm"] {
        assert!(collected.contains(&format!("marketplace p2p {name} --help")), "no help of {name}");
    }
    assert_snapshot("help.txt", &collected);
}

/// Puts placeholders for what differs from run to run: paths, ids, ports, processes, times.
fn normalised(home: &Home, text: &str) -> String {
    let text = text.replace(home.path().to_str().unwrap(), "HOME").replace(home.work().to_str().unwrap(), "WORK");
    let mut out = String::new();
    let mut token = String::new();
    for character in text.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() {
            token.push(character);
            continue;
        }
        let after = |before: &str| out.ends_with(before);
        let is_number = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
        out.push_str(match token.as_str() {
            id if id.starts_with("12D3Koo") => "PEER",
            id if id.len() > 40 && id.starts_with("baf") => "CID",
            id if id.len() > 11 && id.starts_with("baf") => "CID...",
            _ if is_number && (after("/tcp/") || after("/udp/")) => "PORT",
            _ if is_number && (after("pid ") || after("process ")) => "PID",
            _ if is_number && token.len() > 5 && character == ' ' => "BYTES",

            other => other,
        });
        token.clear();
        out.push(character);
    }
    out.pop();
    let is_date = |line: &&str| line.starts_with("published  ");
    out.lines().find(is_date).map(str::to_owned).map_or(out.clone(), |line| out.replace(&line, "published     TIME"))
}

/// A session at a prompt: each command with what it prints.
struct Session<'a> {
    home: &'a Home,
    transcript: String,
}

impl Session<'_> {
    fn run(&mut self, line: &str) -> &mut Self {
        let args: Vec<&str> = line.split(' ').collect();
        let Output { code, stdout, stderr } = self.home.run(&args);
        let line = normalised(self.home, line);
        self.transcript.push_str(&format!("$ ggen {line}\n{}", normalised(self.home, &stdout)));
        let stderr = normalised(self.home, &stderr);
        stderr.lines().for_each(|line| self.transcript.push_str(&format!("! {line}\n")));
        match code {
            Some(0) => self.transcript.push('\n'),
            code => self.transcript.push_str(&format!("exit code {}\n\n", code.unwrap_or(-1))),
        }
        self
    }
}

#[test]
fn what_commands_say_without_a_node_is_what_was_reviewed() {
    let home = Home::on_loopback();
    package(&home.work().join("http"), "http", "1.0.0");
    let cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
    let mut session = Session { home: &home, transcript: String::new() };
    session
        .run("publsh ./http")
        .run("publish ./http --nmespace acme")
        .run("publish ./missing --namespace acme")
        .run("publish ./http --namespace acme --version v1.0.0")
        .run("publish ./http --namespace Acme")
        .run("publish ./http --namespace acme --dry-run")
        .run("publish ./http --namespace acme")
        .run("publish ./http --namespace acme")
        .run("publish ./http --namespace acme --version 1.1.0")
        .run("info acme/http")
        .run("info acme/htp --offline")
        .run("search http --local")
        .run("search nothing --local")
        .run("fetch acme/http --offline -o out")
        .run("fetch acme/http --offline -o out")
        .run("fetch acme/http --offline -o out --update")
        .run("fetch acme/http@^2 --offline -o other")
        .run("fetch acme/http@1.0.5 --offline -o other")
        .run("fetch acme/none --offline -o other")
        .run(&format!("fetch {cid} --offline -o other"))
        .run(&format!("fetch {} --offline -o other", &cid[..30]))
        .run("fetch not/a/name -o other")
        .run("yank acme/http@1.1.0 --reason broken")
        .run("yank acme/http@1.1.0 --reason broken")
        .run("fetch acme/http@1.1.0 --offline -o yanked")
        .run("yank acme/http@1.1.0 --undo")
        .run("yank acme/http@9.9.9")
        .run("pin ls")
        .run("pin add acme/http --offline")
        .run("pin ls")
        .run("pin rm acme/none")
        .run("pin rm acme/http")
        .run("mirror add acme/*")
        .run("mirror ls")
        .run("mirror rm acme/*")
        .run("mirror rm acme/*")
        .run("verify")
        .run("gc --dry-run")
        .run("status")
        .run("stop")
        .run("bootstrap /ip4/127.0.0.1/tcp/1")
        .run("bootstrap garbage")
        .run("peer deny garbage")
        .run("peer-list")
        .run("key list")
        .run("config get mdns")
        .run("config set timeouts.dial_seconds -1")
        .run("config set no.such.key 1");
    assert_snapshot("offline.txt", &session.transcript);
}

#[test]
fn what_commands_say_with_a_node_is_what_was_reviewed() {
    let home = Home::on_loopback();
    package(&home.work().join("http"), "http", "1.0.0");
    let node: Node = home.start(&[]);
    let mut session = Session { home: &home, transcript: String::new() };
    session
        .run("start")
        .run("publish ./http --namespace acme")
        .run("fetch acme/http -o out")
        .run("fetch acme/none -o other")
        .run("info acme/http")
        .run("search http")
        .run("peer-list")
        .run("doctor")
        .run("doctor acme/http")
        .run("verify acme/http")
        .run("stop");
    drop(node);
    assert_snapshot("node.txt", &session.transcript);
}
