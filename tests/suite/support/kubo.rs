//! A real Kubo node on loopback, started for one test and killed at its end.
//!
//! It has only the bootstrap nodes that the test gives, dials no peer by itself, and listens on ports that the system
//! chooses. Commands use the stock `ipfs` program, as a user would. On failure, every function panics with Kubo's
//! output, which becomes the report of the test.

#[path = "kubo/binary.rs"]
pub(crate) mod binary;
#[path = "kubo/config.rs"]
mod config;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) use self::config::{Import, Key, Options, Routing, Security};

/// How long a daemon may take until it is ready; a busy machine needs a multiple of the usual second.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one `ipfs` command may take before Kubo cancels it.
const COMMAND_TIMEOUT: &str = "180s";

/// The line the daemon prints once its API and its swarm answer.
const READY_LINE: &str = "Daemon is ready";

/// The CID that `ipfs init` adds and pins.
const EMPTY_DIRECTORY: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

/// A running `ipfs daemon` with a repository of its own; killed and reaped when dropped.
///
/// A `static` is never dropped: keep it in the test that uses it.
pub(crate) struct Kubo {
    child: Child,
    peer_id: String,
    addresses: Vec<String>,
    home: TempDir,
    prefix: Vec<String>,
}

impl Kubo {
    /// Initialises a repository in a temporary directory and starts the daemon on it; returns once it answers.
    pub(crate) fn start(options: &Options) -> Self {
        let home = match &options.directory {
            Some(directory) => TempDir::with_prefix_in("kubo-", directory),
            None => TempDir::with_prefix("kubo-"),
        }
        .unwrap_or_else(|error| panic!("cannot create a directory for Kubo: {error}"));
        let profiles = format!("--profile=test,{}", options.import.profile());
        let mut init = vec!["init", &profiles];
        if let Key::Rsa = options.key {
            init.push("--algorithm=rsa");
        }
        expect_success(&init, ipfs(home.path(), &options.prefix).args(&init).output());
        config::rewrite(&repository(home.path()).join("config"), options);

        let mut daemon = ipfs(home.path(), &options.prefix);
        if let Routing::Amino { .. } | Routing::AminoClient { .. } = options.routing {
            daemon.env("TEST_DHT_STUB", "1");
        }
        let log = File::create(log_path(home.path())).unwrap_or_else(|error| panic!("cannot create a log: {error}"));
        let stderr = log.try_clone().unwrap_or_else(|error| panic!("cannot share the log: {error}"));
        let mut child = daemon
            .args(["daemon", "--migrate=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the Kubo daemon: {error}"));
        let ready = watch_stdout(child.stdout.take().expect("stdout is piped"), log);

        let mut kubo =
            Self { child, peer_id: String::new(), addresses: Vec::new(), home, prefix: options.prefix.clone() };
        kubo.wait_until_ready(&ready);
        kubo.peer_id = kubo.cmd(&["id", "--format=<id>"]);
        kubo.addresses = lines(&kubo.cmd(&["swarm", "addrs", "local", "--id"]));
        assert!(!kubo.addresses.is_empty(), "Kubo listens nowhere\n{}", kubo.log());
        kubo
    }

    /// Returns the program's version, such as `0.42.0`.
    pub(crate) fn version() -> String {
        let output = Command::new(binary::locate()).args(["version", "--number"]).output();
        String::from_utf8_lossy(&expect_success(&["version"], output)).trim().to_owned()
    }

    /// Returns the peer id in base58, as libp2p prints it.
    pub(crate) fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// Returns every listening address, each ending in `/p2p/<peer id>`.
    pub(crate) fn addrs(&self) -> &[String] {
        &self.addresses
    }

    /// Returns the first address over TCP.
    pub(crate) fn tcp_addr(&self) -> &str {
        let tcp = self.addresses.iter().find(|address| address.contains("/tcp/"));
        tcp.expect("every Kubo of these tests listens on TCP")
    }

    /// Returns the first address over QUIC, for a node that listens on it.
    pub(crate) fn quic_addr(&self) -> &str {
        let quic = self.addresses.iter().find(|address| address.contains("/quic-v1/"));
        quic.expect("this Kubo listens on QUIC")
    }

    /// Returns what the daemon wrote to stdout and stderr so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_path(self.home.path())).unwrap_or_else(|error| format!("no log: {error}"))
    }

    /// Runs `ipfs` with these arguments against this node; returns its standard output without the final newline.
    pub(crate) fn cmd<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let stdout = self.cmd_bytes(args);
        String::from_utf8(stdout).expect("ipfs prints UTF-8 here").trim_end().to_owned()
    }

    /// Runs `ipfs` with these arguments; the command may fail, because the test expects a refusal.
    pub(crate) fn try_cmd<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("cannot run ipfs: {error}"))
    }

    /// Returns the command that `cmd` runs, for callers that time it or run it in the background.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        self.command_within(COMMAND_TIMEOUT, args)
    }

    /// Returns the command that `cmd` runs, which Kubo cancels after `timeout`, such as `1h`.
    pub(crate) fn command_within<S: AsRef<OsStr>>(&self, timeout: &str, args: &[S]) -> Command {
        let mut command = ipfs(self.home.path(), &self.prefix);
        command.arg(format!("--timeout={timeout}")).args(args).stdin(Stdio::null());
        command
    }

    /// Connects to a multiaddress that ends in `/p2p/<peer id>`.
    pub(crate) fn swarm_connect(&self, address: &str) {
        self.cmd(&["swarm", "connect", address]);
    }

    /// Returns the ids of the connected peers.
    pub(crate) fn swarm_peers(&self) -> Vec<String> {
        let peers = lines(&self.cmd(&["swarm", "peers"]));
        peers.iter().filter_map(|address| address.rsplit('/').next()).map(str::to_owned).collect()
    }

    /// Adds and pins a file or a directory with its hidden files; returns the root's CID. `extra` are further options
    /// of `ipfs add`.
    pub(crate) fn add_tree(&self, path: &Path, extra: &[&str]) -> String {
        let mut args = vec![OsStr::new("add"), OsStr::new("-r"), OsStr::new("--hidden"), OsStr::new("-Q")];
        args.extend(extra.iter().map(OsStr::new));
        args.push(path.as_os_str());
        self.cmd(&args)
    }

    /// Fetches a tree from any provider that Kubo finds, and writes it to `out`, which must not exist.
    pub(crate) fn get(&self, cid: &str, out: &Path) {
        self.cmd(&[OsStr::new("get"), OsStr::new("-o"), out.as_os_str(), OsStr::new(cid)]);
    }

    /// Returns the bytes of a file.
    pub(crate) fn cat(&self, path: &str) -> Vec<u8> {
        self.cmd_bytes(&["cat", path])
    }

    /// Pins a DAG recursively, fetching what is missing.
    pub(crate) fn pin_add(&self, cid: &str) {
        self.cmd(&["pin", "add", "--recursive", cid]);
    }

    /// Returns the CIDs that are pinned recursively, sorted, without the empty directory that `ipfs init` pins.
    pub(crate) fn pin_ls(&self) -> Vec<String> {
        let mut pins = sorted(lines(&self.cmd(&["pin", "ls", "--type=recursive", "--quiet"])));
        pins.retain(|pin| pin != EMPTY_DIRECTORY);
        pins
    }

    /// Returns the CIDs of all blocks under `cid`, without `cid` itself, each once, sorted.
    pub(crate) fn refs_recursive(&self, cid: &str) -> Vec<String> {
        sorted(lines(&self.cmd(&["refs", "--recursive", "--unique", cid])))
    }

    /// Returns the CIDs of all blocks in the repository, sorted. This listing omits codecs: every CID is a raw CIDv1 of
    /// the block's multihash.
    pub(crate) fn refs_local(&self) -> Vec<String> {
        sorted(lines(&self.cmd(&["refs", "local"])))
    }

    /// Announces that this node has `cid`, once; returns when the records have been sent.
    pub(crate) fn provide(&self, cid: &str) {
        self.cmd(&["routing", "provide", cid]);
    }

    /// Returns the ids of the peers that the DHT names as providers of `cid`.
    pub(crate) fn findprovs(&self, cid: &str) -> Vec<String> {
        sorted(lines(&self.cmd(&["routing", "findprovs", cid])))
    }

    fn cmd_bytes<S: AsRef<OsStr>>(&self, args: &[S]) -> Vec<u8> {
        expect_success(args, self.command(args).output())
    }

    fn wait_until_ready(&mut self, ready: &Receiver<()>) {
        match ready.recv_timeout(START_TIMEOUT) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                panic!("Kubo was not ready after {} s\n{}", START_TIMEOUT.as_secs(), self.log())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("Kubo ended before it was ready\n{}", self.log()),
        }
    }
}

impl Drop for Kubo {
    fn drop(&mut self) {
        // Nothing may panic here: a failing test is unwinding.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end Kubo, process {}: {error}", self.child.id());
        }
    }
}

/// Calls `condition` until it holds, at most for 60 s, for asynchronous events in a DHT.
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_at_most(Duration::from_secs(60), what, condition);
}

/// Calls `condition` until it holds.
pub(crate) fn wait_at_most(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting after {limit:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn repository(home: &Path) -> PathBuf {
    home.join("repository")
}

fn log_path(home: &Path) -> PathBuf {
    home.join("daemon.log")
}

/// Returns an `ipfs` command that sees this node's repository and none of the caller's settings.
fn ipfs(home: &Path, prefix: &[String]) -> Command {
    let mut command = match prefix {
        [] => Command::new(binary::locate()),
        [program, words @ ..] => {
            let mut command = Command::new(program);
            command.args(words).arg(binary::locate());
            command
        }
    };
    for variable in ["IPFS_PROFILE", "IPFS_HTTP_ROUTERS", "IPFS_NS_MAP", "TEST_DHT_STUB", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    command.env("HOME", home).env("IPFS_PATH", repository(home)).env("IPFS_TELEMETRY", "off");
    command
}

/// Copies the daemon's output to its log and reports the line that marks it as ready. The thread ends with the daemon;
/// it must read to the end, or the daemon would block on a full pipe.
fn watch_stdout(stdout: ChildStdout, mut log: File) -> Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let written = writeln!(log, "{line}");
            if line.contains(READY_LINE) && written.is_ok() && sender.send(()).is_err() {
                // The receiver is gone, because the test has failed meanwhile.
                return;
            }
        }
    });
    receiver
}

fn expect_success<S: AsRef<OsStr>>(args: &[S], result: std::io::Result<Output>) -> Vec<u8> {
    let shown = || args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = result.unwrap_or_else(|error| panic!("cannot run `ipfs {}`: {error}", shown()));
    assert!(
        output.status.success(),
        "`ipfs {}` failed with {}\n{}",
        shown(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values
}
