//! A stopped daemon and a slow one: the command gives up on the first with a message, and waits for the second. If a
//! daemon makes no progress, the command reports it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{Home, Output, package};

/// A home whose commands give up on a silent daemon after two seconds.
fn impatient() -> Home {
    let home = Home::new();
    home.configure("mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n[timeouts]\ndaemon_seconds = 2\n");
    home
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn every_command_gives_a_stopped_daemon_up_and_says_how_to_let_it_go_on() {
    let home = impatient();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let node = home.start(&[]);
    home.publish(&root);
    signal(node.pid(), "-STOP");
    let peer = node.listening["peer_id"].as_str().unwrap();
    let commands: [&[&str]; 19] = [
        &["status"],
        &["stop"],
        &["publish", "http", "--namespace", "acme"],
        &["publish", "http", "--dry-run"],
        &["fetch", "acme/http", "--offline", "-o", "copy"],
        &["search", "http", "--local"],
        &["search", "http"],
        &["info", "acme/http"],
        &["yank", "acme/http@1.0.0"],
        &["key", "list"],
        &["peer-list"],
        &["peer-info", peer],
        &["peer", "allow", peer],
        &["bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"],
        &["doctor"],
        &["verify"],
        &["pin", "ls"],
        &["gc"],
        &["mirror", "ls"],
    ];
    // All at once: each waits independently.
    let running: Vec<_> = commands
        .iter()
        .map(|command| {
            let mut command = home.command(&[&["marketplace", "p2p"], *command].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (command, child) in commands.iter().zip(running) {
        let output = child.wait_with_output().unwrap();
        // `doctor` reports it in its answer, the other commands on stderr.
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(5), "{command:?}: {said}");
        assert!(said.contains("has not answered for 2 s"), "{command:?}: {said}");
        assert!(said.contains(&format!("kill -CONT {}", node.pid())), "{command:?}: {said}");
    }
    assert!(!home.work().join("copy").exists());
    signal(node.pid(), "-CONT");
    home.p2p(&["status"]).expect_code(0);
}

#[test]
fn interrupt_ends_a_command_at_once_whose_daemon_is_stopped() {
    let home = Home::on_loopback();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let node = home.start(&[]);
    home.publish(&root);
    signal(node.pid(), "-STOP");
    let commands: [&[&str]; 4] = [
        &["publish", "http", "--namespace", "acme"],
        &["yank", "acme/http@1.0.0"],
        &["fetch", "acme/http", "--offline", "-o", "copy"],
        &["gc"],
    ];
    let running: Vec<_> = commands.iter().map(|command| home.begin(command)).collect();
    for (command, mut child) in commands.iter().zip(running) {
        // Once it says that it waits, it has asked.
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("Waiting for the daemon"), "{command:?}: {line}");
        let began = Instant::now();
        signal(child.id(), "-INT");
        let ended: Output = child.wait_with_output().unwrap().into();
        assert_eq!(ended.code, Some(130), "{command:?}: {ended:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{command:?} took {:?}", began.elapsed());
        let error = &ended.json()["error"];
        assert!(error["message"].as_str().unwrap().starts_with("interrupted"), "{command:?}: {error}");
        // Those that sign say what else is known.
        let hint = error["hint"].as_str().unwrap_or_default();
        assert_eq!(hint.contains(&format!("kill -CONT {}", node.pid())), ["publish", "yank"].contains(&command[0]));
    }
    signal(node.pid(), "-CONT");
    home.publish(&root);
}

#[test]
fn request_that_takes_longer_than_a_silent_daemon_is_given_is_not_cut() {
    let home = impatient();
    let _node = home.start(&[]);
    // A package whose bytes arrive later, from the command's own pipe.
    let archive = crate::support::tarball(&[]);
    fs::write(home.work().join("bad.tar"), archive).unwrap();
    let line =
        "(head -c 1000 bad.tar; sleep 4; tail -c +1001 bad.tar) | \"$GGEN\" marketplace p2p publish --namespace acme -";
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("GGEN", env!("CARGO_BIN_EXE_ggen")).env("GGEN_HOME", home.path());
    let output = command.env("HOME", home.work()).current_dir(home.work()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn request_that_another_one_holds_up_is_said_to_wait_and_goes_on_later() {
    let home = impatient();
    let root = package(&home.work().join("http"), "http", "1.0.0");
    let _node = home.start(&[]);
    // One release is signed at a time, and this one waits for its tarball.
    let mut holder = home.command(&["marketplace", "p2p", "publish", "-", "--namespace", "acme"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Once more than the capacity of a pipe is written, the daemon has started to read.
    let archive = crate::support::tarball(&[crate::support::entry("x", tar::EntryType::Regular, &vec![7; 1 << 20])]);
    let mut pipe = holder.stdin.take().unwrap();
    std::io::Write::write_all(&mut pipe, &archive[..1 << 19]).unwrap();

    let mut waiting = home.begin(&["publish", root.to_str().unwrap(), "--namespace", "acme"]);
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "Waiting for the daemon: no progress with `publish` so far. Ctrl-C ends the command\n");
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    drop(pipe);
    assert!(!holder.wait().unwrap().success(), "half an archive is none");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(waiting.wait().unwrap().success(), "{rest}");
    assert!(!rest.contains("Waiting"), "it is said once: {rest}");
}
