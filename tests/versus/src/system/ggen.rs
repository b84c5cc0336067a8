//! Two daemons of this project, driven through the command line as `ggen marketplace p2p` documents it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::{Pair, Start, output_of, timed};

/// What the environment could change about a node.
const VARIABLES: [&str; 5] = ["GGEN_HOME", "GGEN_P2P_BOOTSTRAP", "GGEN_P2P_LISTEN", "GGEN_P2P_DHT_SERVER", "RUST_LOG"];

pub(super) struct Starter {
    binary: PathBuf,
}

impl Starter {
    /// Takes the binary that is given, or builds one of this repository.
    pub(super) fn prepare(given: Option<&Path>) -> Result<Self> {
        let binary = match given {
            Some(path) => path.canonicalize().with_context(|| format!("there is no `{}`", path.display()))?,
            None => build()?,
        };
        Ok(Self { binary })
    }
}

impl Start for Starter {
    fn version(&self) -> Result<String> {
        let text = output_of(Command::new(&self.binary).arg("--version"))?;
        Ok(text.trim().trim_start_matches("ggen ").to_owned())
    }

    fn start(&self, directory: &Path) -> Result<Box<dyn Pair>> {
        let publisher = Node::start(&self.binary, directory.join("publisher"))?;
        let fetcher = Node::start(&self.binary, directory.join("fetcher"))?;
        output_of(fetcher.command("bootstrap").arg(&publisher.address))?;
        Ok(Box::new(Nodes { publisher, fetcher }))
    }
}

/// Builds the release binary; cargo says where it is.
fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["build", "--release", "--locked", "--package", "ggen-cli", "--bin", "ggen", "--message-format=json"];
    let messages = output_of(Command::new(cargo).current_dir(root).args(args))?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().ok_or_else(|| anyhow!("cargo built no `ggen` binary"))
}

/// A daemon with a home of its own.
struct Node {
    binary: PathBuf,
    home: PathBuf,
    address: String,
}

impl Node {
    fn start(binary: &Path, home: PathBuf) -> Result<Self> {
        let mut node = Self { binary: binary.to_owned(), home, address: String::new() };
        let started = json(&output_of(node.command("start").args([
            "--daemon",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--no-mdns",
        ]))?)?;
        node.address = text(&started["listen_addresses"][0], "listen_addresses")?;
        Ok(node)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.args(["marketplace", "p2p", "--format", "json", "--home"]).arg(&self.home).arg(name);
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

struct Nodes {
    publisher: Node,
    fetcher: Node,
}

impl Pair for Nodes {
    fn publish(&mut self, path: &Path) -> Result<(String, Duration)> {
        let (stdout, time) = timed(self.publisher.command("publish").arg(path))?;
        Ok((text(&json(&stdout)?["cid"], "cid")?, time))
    }

    fn fetch(&mut self, cid: &str, out: &Path) -> Result<Duration> {
        let mut command = self.fetcher.command("fetch");
        command.args([cid, "--provider", &self.publisher.address, "--output"]).arg(out);
        Ok(timed(&mut command)?.1)
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("ggen printed no JSON: `{text}`"))
}

fn text(value: &Value, field: &str) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("ggen's answer has no `{field}`"))
}
