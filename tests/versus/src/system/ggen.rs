//! Two daemons of this project, driven through the command line as `ggen marketplace p2p` documents it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::{Pair, Programs, Published, Start};
use crate::command::{output_of, timed};
use crate::host::Host;
use crate::workload::Package;

/// What the environment could change about a node.
const VARIABLES: [&str; 5] = ["GGEN_HOME", "GGEN_P2P_BOOTSTRAP", "GGEN_P2P_LISTEN", "GGEN_P2P_DHT_SERVER", "RUST_LOG"];

/// The `ggen` binary.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
}

impl Programs {
    /// Takes the binary that is given, or builds one of this repository.
    pub(crate) fn ggen(&mut self) -> Result<Program> {
        let path = match &self.ggen {
            Some(path) => path.canonicalize().with_context(|| format!("there is no `{}`", path.display()))?,
            None => build()?,
        };
        self.ggen = Some(path.clone());
        Ok(Program { path })
    }
}

/// Builds the release binary; cargo says where it is.
fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["build", "--release", "--locked", "--package", "ggen-cli", "--bin", "ggen", "--message-format=json"];
    let messages = output_of(Command::new(cargo).current_dir(root).args(args))?;
    executables(&messages).pop().ok_or_else(|| anyhow!("cargo built no `ggen` binary"))
}

/// Returns the programs that cargo says it has built.
pub(super) fn executables(messages: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().filter_map(path).collect()
}

/// A daemon with a home of its own; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    program: Program,
    home: PathBuf,
    pub(crate) address: String,
    pub(crate) pid: u64,
}

impl Node {
    /// Starts a daemon that knows nobody, and listens on the host's address alone.
    pub(crate) fn start(program: &Program, home: PathBuf, host: &Host) -> Result<Self> {
        let mut node = Self { program: program.clone(), home, address: String::new(), pid: 0 };
        let command = node.command("start");
        let mut words = host.command(command.get_program());
        words.args(command.get_args()).args(["--daemon", "--no-mdns", "--listen"]);
        for variable in VARIABLES {
            words.env_remove(variable);
        }
        let started = json(&output_of(words.arg(format!("/ip4/{}/tcp/0", host.address)))?)?;
        node.address = text(&started["listen_addresses"][0], "listen_addresses")?;
        node.pid = started["pid"].as_u64().context("ggen's answer has no `pid`")?;
        Ok(node)
    }

    /// Returns the command of this name for this node; more arguments can follow.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program.path);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.args(["marketplace", "p2p", "--format", "json", "--home"]).arg(&self.home).arg(name);
        command
    }

    /// Connects to another node.
    pub(crate) fn meet(&self, address: &str) -> Result<()> {
        output_of(self.command("bootstrap").arg(address)).map(drop)
    }

    /// Publishes a directory; returns ggen's answer and the time of the command.
    pub(crate) fn publish(&self, path: &Path) -> Result<(Value, Duration)> {
        let (stdout, time) = timed(self.command("publish").arg(path))?;
        Ok((json(&stdout)?, time))
    }

    /// Returns the command that fetches `target` to `out`, over what is there if anything is.
    pub(crate) fn fetch(&self, target: &str, out: &Path) -> Command {
        let mut command = self.command("fetch");
        command.args([target, "--output"]).arg(out);
        if out.exists() {
            command.arg("--update");
        }
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A start that failed leaves nothing to stop; what `stop` says then is not the error of interest.
        if let Err(error) = output_of(&mut self.command("stop"))
            && !self.address.is_empty()
        {
            eprintln!("warning: a ggen daemon may be left running: {error:#}");
        }
    }
}

/// What a package is fetched by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    Name,
    Cid,
}

pub(super) struct Starter {
    pub(super) program: Program,
    pub(super) by: By,
}

impl Start for Starter {
    fn version(&self) -> Result<String> {
        let text = output_of(Command::new(&self.program.path).arg("--version"))?;
        let how = match self.by {
            By::Name => "by name and publisher",
            By::Cid => "by content CID",
        };
        Ok(format!("{}, {how}", text.trim().trim_start_matches("ggen ")))
    }

    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        let publisher = Node::start(&self.program, directory.join("publisher"), &hosts[0])?;
        let fetcher = Node::start(&self.program, directory.join("fetcher"), &hosts[1])?;
        fetcher.meet(&publisher.address)?;
        Ok(Box::new(Nodes { publisher, fetcher, by: self.by }))
    }
}

struct Nodes {
    publisher: Node,
    fetcher: Node,
    by: By,
}

impl Pair for Nodes {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let (answer, time) = self.publisher.publish(&package.path)?;
        let cid = text(&answer["cid"], "cid")?;
        Ok(match self.by {
            By::Name => {
                let [publisher, package, version] =
                    ["publisher", "package", "version"].map(|field| text(&answer[field], field));
                let id = format!("{}/{}@={}", publisher?, package?, version?);
                Published { id, cid: Some(cid), time: Some(time) }
            }
            By::Cid => Published { id: cid.clone(), cid: Some(cid), time: None },
        })
    }

    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>> {
        let mut command = self.fetcher.fetch(id, out);
        if self.by == By::Cid {
            command.args(["--provider", &self.publisher.address]);
        }
        Ok(Some(timed(&mut command)?.1))
    }

    fn updates_in_place(&self) -> bool {
        true
    }

    fn dht_walks(&self) -> Result<Option<u64>> {
        let status = json(&output_of(&mut self.fetcher.command("status"))?)?;
        status["dht_walks"].as_u64().context("ggen's status has no `dht_walks`").map(Some)
    }
}

/// Reads what ggen printed with `--format json`.
pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("ggen printed no JSON: `{text}`"))
}

/// Returns a text of ggen's answer.
pub(crate) fn text(value: &Value, field: &str) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("ggen's answer has no `{field}`"))
}
