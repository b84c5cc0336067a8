//! A full disk: the error reports it, nothing partially written stays, and with free space the same command completes.
//!
//! One test puts the home on a small file system that is really full, which requires the permission to mount one. The
//! other limits the size of files, which needs no privileges: writes then fail in the same places, with another error.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Home, Node, Random, check_human, check_json, finish, package, rehash, tree};

/// Size of the file system, in bytes.
const DISK_BYTES: u64 = 32 << 20;
/// Free bytes of a "full" disk: enough for keys and catalog, too little for the package.
const LEFT_BYTES: u64 = 3 << 20;
/// Bytes of the package.
const PACKAGE_BYTES: usize = 6 << 20;
/// The limit on file sizes that replaces a full disk, in blocks of 512 bytes (what `ulimit -f` of sh counts).
const FILE_LIMIT_BLOCKS: u64 = LEFT_BYTES / 512;

/// A small file system, unmounted when it is dropped.
struct SmallDisk {
    place: PathBuf,
    ballast: PathBuf,
}

impl SmallDisk {
    /// Lays `home` on one, with its configuration; `None` where that is not allowed.
    fn below(home: &Home) -> Option<Self> {
        let file = home.path().join("p2p-config.toml");
        let configuration = fs::read(&file).unwrap();
        let disk = Self::mount(&home.path())?;
        fs::write(file, configuration).unwrap();
        Some(disk)
    }

    /// Mounts one at `place`; `None` where that is not allowed.
    fn mount(place: &Path) -> Option<Self> {
        // A home that others can write to is refused.
        let size = format!("size={DISK_BYTES},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(place).output().ok()?;
        let ballast = place.join("ballast");
        mounted.status.success().then(|| Self { place: place.to_owned(), ballast })
    }

    /// Fills it, except for the given rest.
    fn fill(&self) {
        fs::write(&self.ballast, vec![1; (DISK_BYTES - LEFT_BYTES) as usize]).unwrap();
    }

    fn free(&self) {
        fs::remove_file(&self.ballast).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // If unmounting fails, the file system is removed with its namespace or manually; the test has its result.
        drop(Command::new("umount").arg("-l").arg(&self.place).status());
    }
}

fn incompressible_package(home: &Home) -> PathBuf {
    let root = package(&home.work().join("x"), "x", "1.0.0");
    fs::write(root.join("src/large"), Random::seeded().bytes(PACKAGE_BYTES)).unwrap();
    root
}

/// Runs a command that fails because of a full disk, in both formats.
#[track_caller]
fn stopped_by_the_disk(home: &Home, args: &[&str]) {
    let run = |format| home.p2p(&[&["--format", format], args].concat());
    check_human(&run("human"), 1, &["cannot ", "No space left", "hint", "resumes"]);
    check_json(&run("json"), 1, &["cannot ", "No space left", "resumes"]);
}

#[test]
fn full_disk_stops_a_publish_and_a_fetch_and_nothing_half_written_stays() {
    let home = Home::on_loopback();
    let root = incompressible_package(&home);
    // Where no mounts are allowed, there is the other test.
    let Some(disk) = SmallDisk::below(&home) else { return };
    let publish = ["publish", root.to_str().unwrap(), "--namespace", "acme"];

    disk.fill();
    stopped_by_the_disk(&home, &publish);
    rehash(&home);
    {
        let _node = home.start(&[]);
        stopped_by_the_disk(&home, &publish);
        let hits = home.p2p(&["--format", "json", "search", "test", "--local"]).expect_code(0).json();
        assert_eq!(hits, serde_json::json!([]), "half a package was published");
        disk.free();
        // The node that met the full disk works again when the disk has space.
        home.publish(&root);
    }
    rehash(&home);

    let out = home.path().join("out");
    let fetch = ["fetch", "acme/x", "--offline", "-o", out.to_str().unwrap()];
    fs::write(&disk.ballast, vec![1; (DISK_BYTES - LEFT_BYTES) as usize - PACKAGE_BYTES]).unwrap();
    stopped_by_the_disk(&home, &fetch);
    let tar = ["fetch", "acme/x", "--offline", "--tar", out.to_str().unwrap()];
    stopped_by_the_disk(&home, &tar);
    assert_eq!(outputs(&home.path()), Vec::<String>::new(), "something half-written stays");
    disk.free();
    home.p2p(&fetch).expect_code(0);
    assert!(tree(&out) == tree(&root));
    rehash(&home);
}

/// A node that has published a large package.
struct Provider {
    _home: Home,
    node: Node,
    release: String,
}

impl Provider {
    fn new() -> Self {
        let home = Home::on_loopback();
        let node = home.start(&[]);
        let published = home.publish(&incompressible_package(&home));
        Self { node, release: published["release"].as_str().unwrap().to_owned(), _home: home }
    }

    /// Fetches the package from it.
    #[track_caller]
    fn fetch_by(&self, home: &Home, out: &Path) {
        let fetch = ["fetch", &self.release, "--provider", self.node.address(), "-o", out.to_str().unwrap()];
        home.p2p(&fetch).expect_code(0);
    }
}

/// Collects, which frees at least the large package.
#[track_caller]
fn collect(home: &Home) {
    let collected = home.p2p(&["--format", "json", "gc"]).expect_code(0).json();
    assert!(collected["freed_bytes"].as_u64().unwrap() >= PACKAGE_BYTES as u64, "{collected}");
}

/// Fills a file system to the last byte.
fn fill_up(ballast: &Path) {
    let mut file = fs::File::create(ballast).unwrap();
    for piece in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
}

#[test]
fn a_collection_frees_a_full_disk_with_a_daemon_and_without_one() {
    let alice = Provider::new();
    let bob = Home::on_loopback();
    // Where no mounts are allowed, the parts of it are seen in the tests of the store.
    let Some(disk) = SmallDisk::below(&bob) else { return };
    let kept = package(&bob.work().join("kept"), "kept", "1.0.0");
    bob.publish(&kept);
    for with_daemon in [false, true] {
        let out = bob.work().join(format!("out-{with_daemon}"));
        alice.fetch_by(&bob, &out);
        let _daemon = with_daemon.then(|| bob.start(&[]));
        fill_up(&disk.ballast);
        collect(&bob);
        // The space is free for others, not only inside of the store.
        let other = bob.path().join("other");
        fs::write(&other, vec![1; PACKAGE_BYTES - (1 << 20)]).expect("the disk has space again");
        fs::remove_file(other).unwrap();
        disk.free();
        bob.p2p(&["verify"]).expect_code(0);
        bob.p2p(&["fetch", "acme/kept", "--offline", "-o", out.with_extension("kept").to_str().unwrap()])
            .expect_code(0);
    }
    rehash(&bob);
}

#[test]
fn space_that_is_kept_for_a_collection_is_left_to_it() {
    let alice = Provider::new();
    let bob = Home::on_loopback();
    let Some(disk) = SmallDisk::below(&bob) else { return };
    alice.fetch_by(&bob, &bob.work().join("out"));
    fill_up(&disk.ballast);
    for (number, args) in [&["key", "list"][..], &["search", "x", "--local"], &["pin", "ls"]].into_iter().enumerate() {
        let parts = ["catalog.db", "no space left on that disk", "`ggen marketplace p2p gc`"];
        check_human(&bob.p2p(args), 1, &parts);
        fill_up(&disk.place.join(format!("more-{number}")));
    }
    collect(&bob);
    bob.p2p(&["key", "list"]).expect_code(0);
}

#[test]
fn limit_on_files_stops_a_publish_and_a_fetch_and_nothing_half_written_stays() {
    let home = Home::on_loopback();
    let root = incompressible_package(&home);
    let out = home.work().join("out");
    let limited = |args: &[&str]| {
        // If the signal for a too large file is ignored, the write returns an error.
        let script = format!("trap '' XFSZ; ulimit -f {FILE_LIMIT_BLOCKS}; exec \"$@\"");
        let inner = home.command(&[&["marketplace", "p2p"], args].concat());
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(home.work()).env("GGEN_HOME", home.path()).env("HOME", home.work());
        finish(&mut command)
    };
    let publish = ["publish", root.to_str().unwrap(), "--namespace", "acme"];
    for format in ["human", "json"] {
        let output = limited(&[&["--format", format], &publish as &[&str]].concat());
        let check = if format == "json" { check_json } else { check_human };
        check(&output, 1, &["cannot ", "too large"]);
    }
    rehash(&home);
    home.publish(&root);
    let fetch = ["fetch", "acme/x", "--offline", "-o", out.to_str().unwrap()];
    check_human(&limited(&fetch), 1, &["cannot ", "too large"]);
    assert_eq!(outputs(home.work()), Vec::<String>::new(), "something half-written stays");
    home.p2p(&fetch).expect_code(0);
    assert!(tree(&out) == tree(&root));
    rehash(&home);
}

/// Names that a fetch to `out` may have written: the destination, or its staging files.
fn outputs(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name == "out" || name.starts_with('.')).collect()
}
