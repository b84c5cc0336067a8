//! A user who follows the guide: a home, other nodes, and a minimal shell.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Dns, Home, Node, Output, finish};

/// How long to wait for events in the network.
const PATIENCE: Duration = Duration::from_secs(60);
/// Address and peer id of the node through which the guide enters the network.
const PUBLIC_NODE: &str = "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ";
const PUBLIC_PEER: &str = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ";
/// A peer id without a running peer.
pub(crate) const NOBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const PUBLIC_IP: &str = "104.131.131.82";
/// The same node and a second one, as abbreviated in the API guide.
const PUBLIC_NODE_CUT: &str = "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMG...";
const SECOND_NODE_CUT: &str = "/ip4/192.168.1.1/tcp/4001/p2p/QmXYZ...";
/// Leads to the public node too.
const NAMED_NODE: &str = "/dnsaddr/bootstrap.libp2p.io";
const ANY_PORT: &str = "/ip4/127.0.0.1/tcp/0";

/// A block of the guide that is run or written to a file.
pub(crate) enum Block {
    Shell(Vec<String>),
    Configuration(String),
}

/// The blocks in their sequence. Diagrams and formulas are skipped, and `tests/api_guide` compiles and runs Rust.
pub(crate) fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in guide.split("\n```").skip(1).step_by(2) {
        let (language, text) = part.split_once('\n').expect("a fence ends its line");
        match language {
            "bash" => blocks.push(Block::Shell(commands(text))),
            "toml" => blocks.push(Block::Configuration(text.to_owned())),
            "text" | "rust" => {}
            other => panic!("a block of `{other}`, which nobody runs"),
        }
    }
    blocks
}

fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", "");
    let lines = joined.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// The reader; see the module documentation.
pub(crate) struct Reader {
    home: Home,
    /// The "public" node, and its home.
    pub(crate) hub: Node,
    pub(crate) hub_home: Home,
    dns: Dns,
    running: Option<Foreground>,
    /// Variables that `export` set in this block.
    pub(crate) environment: Vec<(String, String)>,
    /// The value for `<cid>`.
    pub(crate) cid: String,
    /// The value for `<package>`: the package that the reader has published.
    pub(crate) package: String,
    /// A peer that has sent wrong bytes to the reader, and has stopped.
    pub(crate) liar: Option<String>,
    /// A second node, if the guide names one.
    pub(crate) other: Option<(Home, Node)>,
}

/// A node in the foreground.
struct Foreground {
    child: Child,
    log: Receiver<String>,
}

impl Drop for Foreground {
    fn drop(&mut self) {
        // Ctrl-C, so that it releases its home.
        drop(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status());
        drop(self.child.wait());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.running = None;
        drop(self.finish(&["marketplace", "p2p", "stop", "--quiet"]));
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        let hub_home = Home::new();
        let hub = hub_home.start(&[]);
        let dns = Dns::serve(&[("_dnsaddr.bootstrap.libp2p.io", &[format!("dnsaddr={}", hub.address())])]);
        let reader = Self {
            home: Home::new(),
            hub,
            hub_home,
            dns,
            running: None,
            environment: Vec::new(),
            cid: String::new(),
            package: String::new(),
            liar: None,
            other: None,
        };
        reader.write_configuration("listen_addresses = [\"/ip4/0.0.0.0/tcp/0\"]\n");
        reader
    }

    /// The working directory of the reader.
    pub(crate) fn work(&self) -> PathBuf {
        self.home.work().to_owned()
    }

    /// Writes `~/.ggen/p2p-config.toml`, with the keys that keep the node to loopback.
    pub(crate) fn write_configuration(&self, text: &str) {
        let place = self.work().join(".ggen");
        fs::create_dir_all(&place).unwrap();
        self.write_configuration_in(&place, text);
    }

    /// As `write_configuration`, in another home.
    pub(crate) fn write_configuration_in(&self, place: &Path, text: &str) {
        let around = format!("mdns = false\ndns_servers = [\"{}\"]\n", self.dns.address());
        fs::write(place.join("p2p-config.toml"), around + &self.substitute(text)).unwrap();
    }

    /// Replaces internet addresses by loopback.
    pub(crate) fn substitute(&self, text: &str) -> String {
        let hub = self.hub.address();
        let peer = self.hub.listening["peer_id"].as_str().expect("a node has a peer id");
        let mut text = text.replace(PUBLIC_NODE, hub).replace(PUBLIC_NODE_CUT, hub);
        text = text.replace(PUBLIC_PEER, peer).replace(PUBLIC_IP, "127.0.0.1");
        if let Some((_, other)) = &self.other {
            text = text.replace(SECOND_NODE_CUT, other.address());
        }
        for address in ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/tcp/9000", "/ip4/0.0.0.0/tcp/0"] {
            text = text.replace(address, ANY_PORT);
        }
        // Some machines have no IPv6, even on loopback.
        let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
        text = text.replace("/ip6/::/tcp/4001", if has_ipv6 { "/ip6/::1/tcp/0" } else { ANY_PORT });
        let port = hub.split('/').nth(4).expect("an address has a port");
        text = text.replace("-i :4001", &format!("-i :{port}"));
        for nodes in ["<nodes...>", "<bootstrap-nodes>"] {
            text = text.replace(nodes, &format!("{hub} {NAMED_NODE}"));
        }
        text = text.replace("<multiple-nodes>", &format!("{hub},{NAMED_NODE}"));
        text.replace("<cid>", &self.cid).replace("<package>", &self.package).replace("<peer-id>", NOBODY)
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn type_in(&mut self, command: &str) -> Output {
        let mut process = self.process(command);
        if command.contains("--daemon") {
            self.end_node();
        }
        finish(process.stdin(Stdio::null()))
    }

    /// Runs a command that must succeed, and returns its output.
    #[track_caller]
    pub(crate) fn works(&mut self, command: &str) -> String {
        self.type_in(command).expect_code(0).stdout
    }

    /// Sets a variable by `export NAME=VALUE`, or by `NAME=VALUE`, which the guide puts before a command.
    pub(crate) fn export(&mut self, command: &str) {
        let text = self.substitute(command.strip_prefix("export ").unwrap_or(command));
        let (name, value) = text.split_once('=').expect("it has a value");
        self.environment.push((name.to_owned(), value.trim_matches('"').to_owned()));
    }

    /// Runs a `start` in the foreground; returns its output once the node runs.
    #[track_caller]
    pub(crate) fn start(&mut self, command: &str) -> String {
        self.end_node();
        let mut child =
            self.process(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, log) = mpsc::channel();
        // Read to the end, or the node would block on a full pipe.
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                drop(sender.send(std::mem::take(&mut line)));
            }
        });
        let mut printed = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        self.running = Some(Foreground { child, log });
        while !printed.contains("node started") {
            let bytes = stdout.read_line(&mut printed).unwrap();
            assert!(bytes > 0, "`{command}` did not start: {printed}{}", self.log_until("\u{0}"));
        }
        std::thread::spawn(move || drop(stdout.read_to_end(&mut Vec::new())));
        printed
    }

    /// The log of the node in the foreground, up to a line that contains `words`.
    pub(crate) fn log_until(&self, words: &str) -> String {
        let mut lines = String::new();
        let running = self.running.as_ref().expect("a node runs in the foreground");
        while !lines.contains(words)
            && let Ok(line) = running.log.recv_timeout(Duration::from_secs(10))
        {
            lines += &line;
        }
        lines
    }

    /// Ends the node by Ctrl-C, or by `stop` if it is in the background.
    pub(crate) fn end_node(&mut self) {
        if self.running.take().is_none() {
            let stopped = self.finish(&["marketplace", "p2p", "stop"]);
            assert!(matches!(stopped.code, Some(0 | 4)), "{stopped:?}");
        }
    }

    /// Runs a command that is not in the guide against the node.
    #[track_caller]
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        self.finish(&[&["--format", "json", "marketplace", "p2p"], args].concat()).expect_code(0).json()
    }

    /// A stage of `doctor`, whether or not it succeeded.
    #[track_caller]
    pub(crate) fn stage(&self, name: &str) -> Value {
        let diagnosis = self.finish(&["--format", "json", "marketplace", "p2p", "doctor"]).json();
        let stages = diagnosis["stages"].as_array().expect("a diagnosis has stages");
        let stage = stages.iter().find(|stage| stage["name"] == name);
        stage.unwrap_or_else(|| panic!("no stage {name}: {diagnosis}")).clone()
    }

    /// Returns whether this machine has the system tool that a command begins with.
    pub(crate) fn has_tool(&self, command: &str) -> bool {
        let tool = command.split(' ').next().expect("a command has words");
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
        let is_there = found.is_ok_and(|status| status.success());
        if !is_there {
            eprintln!("`{command}` is not run: this machine has no {tool}");
        }
        is_there
    }

    /// Runs a command that may never end, and ends it once it has printed `wanted`. An output with `excused` means that
    /// the user lacks the permission.
    #[track_caller]
    pub(crate) fn output_until(&mut self, command: &str, wanted: &str, excused: &str) {
        let mut process = self.process(command);
        let mut child =
            process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is there");
        let mut printed = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        while !printed.contains(wanted) && stdout.read_line(&mut printed).is_ok_and(|bytes| bytes > 0) {}
        // It has ended already, or would never end.
        drop(child.kill());
        let mut said = String::new();
        child.stderr.take().expect("stderr is piped").read_to_string(&mut said).expect("it speaks UTF-8");
        child.wait().expect("the process is ours");
        assert!(printed.contains(wanted) || said.contains(excused), "`{command}`: {printed}{said}");
    }

    pub(crate) fn finish(&self, args: &[&str]) -> Output {
        finish(self.binary().args(args).stdin(Stdio::null()))
    }

    /// Repeats a query until the answer is as expected.
    pub(crate) fn until(&self, args: &[&str], holds: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        while !holds(&self.ask(args)) {
            assert!(started.elapsed() < PATIENCE, "still waiting: {args:?} says {}", self.ask(args));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn binary(&self) -> Command {
        let mut command = self.home.command::<&str>(&[]);
        command.env_remove("GGEN_HOME");
        command.envs(self.environment.iter().filter(|(name, _)| name == "GGEN_HOME").cloned());
        command
    }

    fn process(&self, command: &str) -> Command {
        let words = words(&self.substitute(command));
        let is_assignment = |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.contains(['-', '/']));
        let assignments = words.iter().take_while(is_assignment).count();
        let mut process = match words[assignments].as_str() {
            "ggen" => self.binary(),
            other => Command::new(other),
        };
        let variables = words[..assignments].iter().filter_map(|word| word.split_once('='));
        process.envs(variables).envs(self.environment.iter().cloned());
        let home = format!("{}/", self.work().display());
        let expand = |word: &String| word.strip_prefix("~/").map_or(word.clone(), |rest| format!("{home}{rest}"));
        process.args(words[assignments + 1..].iter().map(expand));
        process
    }
}

/// Splits a command line into arguments; double quotes preserve spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("it starts with one").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
