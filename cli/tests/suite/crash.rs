//! `kill -9` of the daemon during an operation. The next start finds a consistent store, no completed operation is
//! lost, and the same command then completes.
//!
//! The moment is either a fraction of the duration of an uninterrupted run, or a sign of progress on disk. The seed
//! selects the moments.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Home, Node, Output, Random, Tree, package, rehash, store_bytes, tree};

/// Kills per test.
const ROUNDS: usize = 10;
/// Number of kills at a sign of progress; the others happen at a point in time.
const ROUNDS_BY_PROGRESS: usize = 4;
/// Files of a package, besides those that every test package has.
const FILES: usize = 200;
/// Longest of these files, in bytes.
const MAX_FILE_BYTES: usize = 12_000;
/// The largest file of a package, of several blocks.
const LARGE_FILE_BYTES: usize = 2_000_000;
/// How long to wait for a sign of progress before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The moment of the kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after the command was started.
    After(Duration),
    /// When the store has grown by this number of bytes.
    StoreGrew(u64),
    /// When a partial tree exists beside its destination.
    PartialTree,
    /// When an update has begun to write.
    Replacing,
}

/// A release whose publish completed.
struct Promised {
    name: String,
    version: String,
    cid: Value,
    release: Value,
    content: Tree,
}

#[test]
fn publishing_daemon_that_is_killed_loses_nothing_it_promised() {
    let mut random = Random::seeded();
    let home = Home::on_loopback();
    let whole = time_of_a_publish(&mut random);
    let mut node = home.start(&[]);
    let mut promised: Vec<Promised> = Vec::new();
    for round in 0..ROUNDS {
        let (name, version) = (format!("p{}", round / 2), format!("1.{}.0", round % 2));
        let (root, bytes) = large_package(&home.work().join("packages"), &name, &version, &mut random);
        let moment = if round < ROUNDS - ROUNDS_BY_PROGRESS {
            Moment::After(whole.mul_f64(random.fraction()))
        } else {
            Moment::StoreGrew((bytes as f64 * random.fraction()) as u64)
        };
        let killed = kill_during(&home, &mut node, &["publish", path(&root), "--namespace", "acme"], moment);
        let (blocks, _) = rehash(&home);
        say(&format!("publish {round}: {moment:?}, exit {:?}, {blocks} blocks", killed.code));

        node = home.start(&[]);
        let again = home.publish(&root);
        if killed.code == Some(0) {
            assert_eq!(again["unchanged"], true, "what returned was published");
            assert_eq!(again["release"], killed.json()["release"]);
        }
        let (cid, release) = (again["cid"].clone(), again["release"].clone());
        promised.push(Promised { name, version, cid, release, content: tree(&root) });
        check_promises(&home, &promised);
    }
    node.kill();
    rehash(&home);
}

#[test]
fn fetching_daemon_that_is_killed_resumes() {
    let mut random = Random::seeded();
    let alice = Home::on_loopback();
    let (root, bytes) = large_package(&alice.work().join("packages"), "big", "1.0.0", &mut random);
    let server = alice.start(&[]);
    alice.publish(&root);
    let content = tree(&root);
    let fetch = ["fetch", "acme/big", "--provider", server.address(), "-o", "out"];
    let (whole, blocks) = time_of_a_fetch(&fetch);
    for round in 0..ROUNDS {
        let moment = match round {
            0 | 1 => Moment::PartialTree,
            _ if round < ROUNDS_BY_PROGRESS => Moment::StoreGrew((bytes as f64 * random.fraction()) as u64),
            _ => Moment::After(whole.mul_f64(random.fraction())),
        };
        let bob = Home::on_loopback();
        let mut node = bob.start(&[]);
        // A different name in each round: alice knows the releases of earlier rounds, which were signed by keys that no
        // longer exist.
        let name = format!("own{round}");
        let own = package(&bob.work().join("own"), &name, "1.0.0");
        let published = bob.publish(&own);
        let killed = kill_during(&bob, &mut node, &fetch, moment);
        let out = bob.work().join("out");
        let whole_tree_is_there = out.exists();
        if whole_tree_is_there {
            assert!(tree(&out) == content, "half a tree stands in the place of a whole one");
            fs::remove_dir_all(&out).unwrap();
        }
        rehash(&bob);

        node = bob.start(&[]);
        let fetched = bob.p2p(&[&["--format", "json"], &fetch as &[&str]].concat()).expect_code(0).json();
        say(&format!(
            "fetch {round}: {moment:?}, exit {:?}, {} blocks of {blocks} left",
            killed.code, fetched["blocks_fetched"]
        ));
        assert!(tree(&out) == content, "the tree differs");
        if whole_tree_is_there {
            assert_eq!(fetched["blocks_fetched"], 0, "a tree is shown when all its blocks are here");
        }
        assert_eq!(partial_trees(&out), Vec::<PathBuf>::new(), "the next fetch clears up");
        let (cid, release) = (published["cid"].clone(), published["release"].clone());
        let own = Promised { name, version: "1.0.0".into(), cid, release, content: tree(&own) };
        check_promises(&bob, &[own]);
        node.kill();
        rehash(&bob);
    }
}

#[test]
fn updating_daemon_that_is_killed_leaves_the_old_tree_or_shows_that_it_is_unfinished() {
    let mut random = Random::seeded();
    let home = Home::on_loopback();
    let contents = ["1.0.0", "2.0.0"].map(|version| {
        let (root, _) = large_package(&home.work().join("packages"), "grows", version, &mut random);
        home.publish(&root);
        tree(&root)
    });
    let out = home.work().join("out");
    let fetch = |version: &'static str| ["fetch", version, "--offline", "--update", "-o", "out"];
    let mut node = home.start(&[]);
    for round in 0..ROUNDS {
        home.p2p(&fetch("acme/grows@1")).expect_code(0);
        let moment = match round {
            _ if round < ROUNDS_BY_PROGRESS => Moment::Replacing,
            _ => Moment::After(Duration::from_millis(random.below(60) as u64)),
        };
        let killed = kill_during(&home, &mut node, &fetch("acme/grows@2"), moment);
        let (found, unfinished) = (tree_without_staging(&out), !stagings(&out).is_empty());
        let state = contents.iter().position(|content| found == *content);
        say(&format!("update {round}: {moment:?}, exit {:?}, version {state:?}, unfinished {unfinished}", killed.code));
        assert!(unfinished || state.is_some(), "half an update looks like a whole one");

        node = home.start(&[]);
        home.p2p(&fetch("acme/grows@2")).expect_code(0);
        assert!(tree(&out) == contents[1], "the tree differs");
    }
    node.kill();
}

/// Runs a command against the node, and kills the node at the moment. Returns the outcome of the command.
fn kill_during(home: &Home, node: &mut Node, args: &[&str], moment: Moment) -> Output {
    let before = store_bytes(home);
    let out = home.work().join("out");
    let mut command = home.begin(args);
    match moment {
        Moment::After(time) => thread::sleep(time),
        Moment::StoreGrew(bytes) => wait_until(&mut command, || store_bytes(home) >= before + bytes),
        Moment::Replacing => wait_until(&mut command, || !stagings(&out).is_empty()),
        Moment::PartialTree => wait_until(&mut command, || !partial_trees(&out).is_empty() || out.exists()),
    }
    node.kill();
    let ended: Output = command.wait_with_output().unwrap().into();
    // A command that found no daemon did the work itself; one that found the daemon reports that it ended.
    if ended.code != Some(0) {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.json()["error"]["message"].as_str().is_some_and(|message| message.contains("daemon")),
            "{ended:?}"
        );
        assert_eq!(ended.stderr, "");
    }
    ended
}

/// Polls without a pause until the sign appears or the command ends.
fn wait_until(command: &mut Child, sign: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !sign() && command.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no sign of progress");
        thread::yield_now();
    }
}

/// Every completed release is listed, and can be fetched without any peer: by name, and the last one also by its
/// release CID.
#[track_caller]
fn check_promises(home: &Home, promised: &[Promised]) {
    let hits = home.p2p(&["--format", "json", "search", "test", "--local", "--limit", "100"]).expect_code(0).json();
    for Promised { name, version, cid, content, .. } in promised {
        let listed = hits.as_array().unwrap().iter().any(|hit| hit["package"] == format!("acme/{name}"));
        assert!(listed, "acme/{name} is not listed in {hits}");
        check_copy(home, &format!("acme/{name}@={version}"), cid, content);
    }
    let last = promised.last().unwrap();
    check_copy(home, last.release.as_str().unwrap(), &last.cid, &last.content);
}

#[track_caller]
fn check_copy(home: &Home, target: &str, cid: &Value, content: &Tree) {
    let copy = home.work().join("copy");
    let args = ["--format", "json", "fetch", target, "--offline", "-o", path(&copy)];
    let fetched = home.p2p(&args).expect_code(0).json();
    assert_eq!(fetched["cid"], *cid, "{target}");
    assert!(tree(&copy) == *content, "{target} differs");
    fs::remove_dir_all(&copy).unwrap();
}

fn time_of_a_publish(random: &mut Random) -> Duration {
    let home = Home::on_loopback();
    let (root, _) = large_package(home.work(), "measured", "1.0.0", random);
    let _node = home.start(&[]);
    let started = Instant::now();
    home.publish(&root);
    started.elapsed()
}

/// Duration and number of blocks of an uninterrupted fetch.
fn time_of_a_fetch(fetch: &[&str]) -> (Duration, Value) {
    let home = Home::on_loopback();
    let _node = home.start(&[]);
    let started = Instant::now();
    let fetched = home.p2p(&[&["--format", "json"], fetch].concat()).expect_code(0).json();
    (started.elapsed(), fetched["blocks_fetched"].clone())
}

/// Writes a package of many files that no other package has. Returns its directory and its approximate size in bytes.
fn large_package(place: &Path, name: &str, version: &str, random: &mut Random) -> (PathBuf, u64) {
    let root = package(&place.join(format!("{name}-{version}")), name, version);
    fs::write(root.join("src/large"), random.bytes(LARGE_FILE_BYTES)).unwrap();
    let mut bytes = LARGE_FILE_BYTES;
    for file in 0..FILES {
        let directory = root.join(format!("files/{}", file % 7));
        fs::create_dir_all(&directory).unwrap();
        let length = random.below(MAX_FILE_BYTES);
        bytes += length;
        fs::write(directory.join(file.to_string()), random.bytes(length)).unwrap();
    }
    (root, bytes as u64)
}

/// Files beside `out` that are named like a partial tree.
fn partial_trees(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out.parent().unwrap()).unwrap().flatten();
    let is_partial = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".ggen-partial-");
    entries.map(|entry| entry.path()).filter(is_partial).collect()
}

/// Staging directories in `out` during an update.
fn stagings(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".ggen-update-")).collect()
}

fn tree_without_staging(out: &Path) -> Tree {
    tree(out).into_iter().filter(|(path, _)| !path.to_string_lossy().starts_with(".ggen-update-")).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn say(line: &str) {
    eprintln!("{line}");
}
