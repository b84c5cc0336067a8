//! Ctrl-C during `publish`: before the commit point nothing is published; after it the command reports the release as
//! published. The message always agrees with the catalog, whenever the signal arrives.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Home, Output, Random, entry, gzip, package, store_bytes, tarball};

/// How long to wait for a sign of progress before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// More than the capacity of a pipe: once it is written, the other end has started to read.
const MORE_THAN_A_PIPE: usize = 4 << 20;
/// Bytes of the package that is interrupted in the middle of its import.
const PACKAGE_BYTES: usize = 24 << 20;

fn interrupt(command: &Child) {
    let sent = Command::new("kill").args(["-INT", &command.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Polls until the sign appears or the command ends.
fn wait_until(command: &mut Child, sign: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !sign() && command.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no sign of progress");
        thread::yield_now();
    }
}

/// Returns whether `acme/<name>` is in the catalog.
fn is_published(home: &Home, name: &str) -> bool {
    let hits = home.p2p(&["--format", "json", "search", name, "--local"]).expect_code(0).json();
    hits.as_array().unwrap().iter().any(|hit| hit["package"] == format!("acme/{name}"))
}

/// Asserts that the command was interrupted, and that its message agrees with the catalog. Returns whether the release
/// was published.
#[track_caller]
fn tells_the_truth(home: &Home, name: &str, ended: &Output) -> bool {
    let published = is_published(home, name);
    match ended.code {
        Some(0) => assert!(published, "{ended:?}"),
        Some(130) => {
            let error = &ended.json()["error"];
            assert_eq!(error["kind"], "interrupted");
            let says = error["message"].as_str().unwrap().contains("is published already");
            assert_eq!(says, published, "{ended:?}");
            assert_eq!(error["message"].as_str() == Some("interrupted"), !published, "{ended:?}");
        }
        _ => panic!("{ended:?}"),
    }
    published
}

fn publish<'a>(path: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["publish", path.to_str().unwrap(), "--namespace", "acme"], more].concat()
}

/// A named pipe.
fn fifo(home: &Home, name: &str) -> PathBuf {
    let path = home.work().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn interrupt_in_the_middle_of_an_import_publishes_nothing() {
    for with_a_daemon in [false, true] {
        let home = Home::on_loopback();
        let _node = with_a_daemon.then(|| home.start(&[]));
        let (pipe, bytes) = (fifo(&home, "bad.tar"), Random::seeded().bytes(MORE_THAN_A_PIPE * 2));
        let archive = tarball(&[entry("large", tar::EntryType::Regular, &bytes)]);
        let command = home.begin(&publish(&pipe, &[]));
        let mut end: File = OpenOptions::new().write(true).open(&pipe).unwrap();
        end.write_all(&archive[..MORE_THAN_A_PIPE]).unwrap();
        interrupt(&command);
        let ended: Output = command.wait_with_output().unwrap().into();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        // The import could continue now if it was not cancelled. The reader may be closed.
        let _closed = end.write_all(&archive[MORE_THAN_A_PIPE..]);
        drop(end);
        // Only one publish runs at a time: when this one has returned, the other one has ended.
        home.publish(&package(&home.work().join("next"), "next", "1.0.0"));
        assert!(!tells_the_truth(&home, "bad", &ended), "with a daemon: {with_a_daemon}");
    }
}

#[test]
fn interrupted_import_that_waits_for_a_pipe_does_not_hold_up_the_next_publish() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let next = package(&home.work().join("next"), "next", "1.0.0");
    // The input is missing completely or partially: of the archive, or of its compressed form.
    for (name, begun) in [("none.tar", 0), ("some.tar", MORE_THAN_A_PIPE), ("some.tar.gz", MORE_THAN_A_PIPE)] {
        let (pipe, bytes) = (fifo(&home, name), Random::seeded().bytes(MORE_THAN_A_PIPE * 2));
        let archive = tarball(&[entry("large", tar::EntryType::Regular, &bytes)]);
        let archive = if name.ends_with(".gz") { gzip(&archive) } else { archive };
        let first = home.begin(&publish(&pipe, &[]));
        let mut end: File = OpenOptions::new().write(true).open(&pipe).unwrap();
        end.write_all(&archive[..begun]).unwrap();
        // It waits for its turn, which is after the first one if that has started already.
        let mut second = home.begin(&publish(&next, &["--version", &format!("1.0.{}", begun + name.len())]));
        interrupt(&first);
        assert_eq!(first.wait_with_output().unwrap().status.code(), Some(130), "{name}");
        // The write end of the pipe is still open.
        wait_until(&mut second, || false);
        let published: Output = second.wait_with_output().unwrap().into();
        published.expect_code(0);
        drop(end);
    }
}

#[test]
fn interrupt_after_the_commit_says_that_it_is_published() {
    for with_a_daemon in [false, true] {
        let home = Home::on_loopback();
        let _node = with_a_daemon.then(|| home.start(&[]));
        let root = package(&home.work().join("x"), "x", "1.0.0");
        // It waits for replicas that do not exist.
        let mut command = home.begin(&publish(&root, &["--min-replicas", "1", "--timeout", "600"]));
        let head = home.path().join("keys/default.head");
        wait_until(&mut command, || head.exists());
        interrupt(&command);
        let ended: Output = command.wait_with_output().unwrap().into();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert!(tells_the_truth(&home, "x", &ended), "with a daemon: {with_a_daemon}");
        let hint = ended.json()["error"]["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("yank acme/x@1.0.0"), "{hint}");
        assert_eq!(home.publish(&root)["unchanged"], true);
    }
}

#[test]
fn interrupt_at_any_moment_tells_the_truth() {
    let mut random = Random::seeded();
    for with_a_daemon in [false, true] {
        let home = Home::on_loopback();
        let _node = with_a_daemon.then(|| home.start(&[]));
        let mut undone = 0;
        for round in 0..4 {
            let name = format!("p{round}");
            let root = package(&home.work().join(&name), &name, "1.0.0");
            fs::write(root.join("src/large"), random.bytes(PACKAGE_BYTES)).unwrap();
            let (before, grows) = (store_bytes(&home), (PACKAGE_BYTES as f64 * random.fraction()) as u64);
            let mut command = home.begin(&publish(&root, &[]));
            wait_until(&mut command, || store_bytes(&home) > before + grows);
            interrupt(&command);
            let ended: Output = command.wait_with_output().unwrap().into();
            if !tells_the_truth(&home, &name, &ended) {
                undone += 1;
            }
            // The same command then publishes.
            home.publish(&root);
            assert!(is_published(&home, &name));
        }
        eprintln!("with a daemon: {with_a_daemon}, {undone} of 4 undone");
    }
}

#[test]
fn client_that_is_killed_takes_its_publish_with_it() {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let (pipe, bytes) = (fifo(&home, "bad.tar"), Random::seeded().bytes(MORE_THAN_A_PIPE * 2));
    let archive = tarball(&[entry("large", tar::EntryType::Regular, &bytes)]);
    let mut command = home.begin(&publish(&pipe, &[]));
    let mut end: File = OpenOptions::new().write(true).open(&pipe).unwrap();
    end.write_all(&archive[..MORE_THAN_A_PIPE]).unwrap();
    command.kill().unwrap();
    command.wait().unwrap();
    // The daemon answers a later request only after or soon after it has noticed that the client is gone. The import
    // itself refuses the remaining input, which is written slowly enough.
    for part in archive[MORE_THAN_A_PIPE..].chunks(1 << 20) {
        home.p2p(&["status"]).expect_code(0);
        if end.write_all(part).is_err() {
            break;
        }
    }
    drop(end);
    home.publish(&package(&home.work().join("next"), "next", "1.0.0"));
    assert!(!is_published(&home, "bad"));
}
