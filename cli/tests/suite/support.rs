//! A home in a temporary directory, and the binary run in it.

mod archive;
mod clock;
#[allow(dead_code, reason = "shared with the tests of the nodes, which use all of it")]
#[path = "../../../tests/suite/support/dns.rs"]
mod dns;
mod frozen;
mod random;
mod refusal;
mod store;
mod terminal;
mod tree;

use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use archive::{entry, gzip, tarball};
pub(crate) use dns::Dns;
pub(crate) use frozen::Frozen;
pub(crate) use random::Random;
pub(crate) use refusal::{check_human, check_json, is_untouched, refused, works};
pub(crate) use store::{rehash, store_bytes};
pub(crate) use terminal::on_a_terminal;
pub(crate) use tree::{Tree, copy_tree, package, tree};

/// A temporary home; removed with everything in it.
pub(crate) struct Home {
    place: TempDir,
    /// By how many seconds the clock of its commands is wrong.
    clock: Cell<i64>,
}

/// The outcome of a run of the binary.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|cause| panic!("not one JSON document ({cause}): {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory can be made");
        Self { place, clock: Cell::new(0) }
    }

    /// A home whose commands keep to loopback, with or without a daemon.
    pub(crate) fn on_loopback() -> Self {
        let home = Self::new();
        home.configure("mdns = false\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n");
        home
    }

    /// The home directory. The commands that need it create it.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// The working directory of commands, which is also the home directory of their user.
    pub(crate) fn work(&self) -> &Path {
        self.place.path()
    }

    /// Writes the home's configuration file.
    pub(crate) fn configure(&self, text: &str) {
        fs::create_dir_all(self.path()).expect("the home can be made");
        fs::write(self.path().join("p2p-config.toml"), text).expect("the configuration can be written");
    }

    /// The binary with this home, without the environment variables of the test process.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggen"));
        for name in ["GGEN_P2P_BOOTSTRAP", "GGEN_P2P_LISTEN", "GGEN_P2P_DHT_SERVER", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env("GGEN_HOME", self.path()).env("HOME", self.work()).current_dir(self.work()).stdin(Stdio::null());
        command.args(args);
        if self.clock.get() != 0 {
            clock::shift(&mut command, self.clock.get());
        }
        if self.clock_file().exists() {
            clock::follow(&mut command, &self.clock_file());
        }
        command
    }

    /// Sets the clock of its commands, and of nodes that they start, fast by this number of seconds; negative values
    /// are slow.
    pub(crate) fn set_clock(&self, seconds: i64) {
        self.clock.set(seconds);
    }

    /// Sets the clock of its commands wrong by this number of seconds, including commands that are running and were
    /// started after the first call.
    pub(crate) fn move_clock(&self, seconds: i64) {
        let beside = self.clock_file().with_extension("new");
        fs::write(&beside, seconds.to_string()).expect("the clock can be written");
        fs::rename(beside, self.clock_file()).expect("the clock can be moved");
    }

    fn clock_file(&self) -> PathBuf {
        self.work().join("clock")
    }

    /// Runs `ggen <args>`.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        finish(&mut self.command(args))
    }

    /// Runs `ggen marketplace p2p <args>`.
    pub(crate) fn p2p(&self, args: &[&str]) -> Output {
        self.run(&[&["marketplace", "p2p"], args].concat())
    }

    /// Runs `ggen marketplace p2p <args>` with environment variables.
    pub(crate) fn p2p_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Output {
        finish(self.command(&[&["marketplace", "p2p"], args].concat()).envs(variables.iter().copied()))
    }

    /// Starts `ggen marketplace p2p --format json <args>`.
    pub(crate) fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(&[&["marketplace", "p2p", "--format", "json"], args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
    }

    /// Publishes the package in `root` under the namespace `acme`.
    #[track_caller]
    pub(crate) fn publish(&self, root: &Path) -> Value {
        let root = root.to_str().expect("temporary paths are UTF-8");
        self.p2p(&["--format", "json", "publish", root, "--namespace", "acme"]).expect_code(0).json()
    }

    /// Starts a node in the foreground on loopback, and returns when it listens and answers requests.
    pub(crate) fn start(&self, args: &[&str]) -> Node {
        let fixed =
            ["marketplace", "p2p", "--format", "json", "start", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
        let mut command = self.command(&[&fixed, args].concat());
        Node::spawn(command.stdout(Stdio::piped()).stderr(Stdio::inherit()))
    }
}

/// Kills a detached node when it is dropped, if it is still running.
pub(crate) struct Detached {
    /// The output of its start.
    pub(crate) listening: Value,
    home: PathBuf,
}

impl Detached {
    /// Starts a node in the background on loopback, in `home` or, if given, in the directory `other`.
    pub(crate) fn start(home: &Home, other: Option<&Path>) -> Self {
        let path = other.map_or_else(|| home.path(), Path::to_owned);
        let text = path.to_str().expect("temporary paths are UTF-8");
        let args = ["--format", "json", "--home", text, "start", "--daemon", "--no-mdns"];
        // Created first: a start with an invalid output leaves a node nevertheless.
        let mut node = Self { listening: Value::Null, home: path.clone() };
        let output = home.p2p(&[&args as &[&str], &["--listen", "/ip4/127.0.0.1/tcp/0"]].concat());
        node.listening = output.expect_code(0).json();
        node
    }

    pub(crate) fn pid(&self) -> u64 {
        self.listening["pid"].as_u64().expect("a start says its pid")
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let path = self.home.join("daemon.json");
        let Ok(file) = fs::File::open(&path) else { return };
        // Only the lock proves that the pid in the file belongs to a running node of this home.
        if let Err(fs::TryLockError::WouldBlock) = file.try_lock_shared() {
            let holder: Value = serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
            let pid = holder["pid"].as_u64().map(|pid| pid.to_string()).unwrap_or_default();
            drop(Command::new("kill").args(["-KILL", &pid]).status());
        }
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Output {
    command.output().expect("the binary runs").into()
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the binary speaks UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A node in the foreground, killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    /// Its output when it started to listen.
    pub(crate) listening: Value,
}

impl Node {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        // A node that cannot start closes stdout, after its error.
        BufReader::new(stdout).read_line(&mut line).expect("stdout can be read");
        let listening: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let node = Self { child, listening };
        assert!(node.listening.get("peer_id").is_some(), "the node did not start: {line}");
        node
    }

    /// The first address it listens on.
    pub(crate) fn address(&self) -> &str {
        self.listening["listen_addresses"][0].as_str().expect("it listens somewhere")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("the process is ours").code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
