//! Other systems in the programs of `versus-peers`: processes that are started, untimed, and then told what to do over
//! a pipe. So their times hold no start of a command, which those of ggen, Kubo and curl do.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::ggen::executables;
use super::{Pair, Programs, Published, Start};
use crate::command::{output_of, sync};
use crate::files;
use crate::host::Host;
use crate::workload::{Package, SINGLE_FILE};

/// The argument that stands for the node's own directory.
const STORE: &str = "{store}";

impl Programs {
    /// Returns a program of `versus-peers`, built unless a directory with them was given.
    pub(crate) fn peer(&mut self, name: &str) -> Result<PathBuf> {
        if self.peers.is_none() {
            self.peers = Some(build()?);
        }
        let path = self.peers.iter().map(|directory| directory.join(name)).next().context("there are no peers")?;
        path.canonicalize().with_context(|| format!("there is no `{}`", path.display()))
    }
}

/// Builds the peers, which takes minutes at the first time; returns the directory that has them.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["build", "--release", "--locked", "--package", "versus-peers", "--message-format=json"];
    let messages = output_of(Command::new(cargo).current_dir(env!("CARGO_MANIFEST_DIR")).args(args))?;
    let program = executables(&messages).pop().context("cargo built no peers")?;
    Ok(program.parent().context("a program lies in a directory")?.to_owned())
}

pub(super) struct Starter {
    version: &'static str,
    program: PathBuf,
    args: Vec<String>,
}

impl Starter {
    /// `{store}` among the arguments is replaced by a directory of the node's own.
    pub(super) fn new(version: &'static str, program: PathBuf, args: &[&str]) -> Self {
        Self { version, program, args: args.iter().map(|&arg| arg.to_owned()).collect() }
    }
}

impl Start for Starter {
    fn version(&self) -> Result<String> {
        Ok(self.version.to_owned())
    }

    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        ensure!(hosts[0].address.is_loopback(), "these peers listen on loopback only");
        let publisher = Node::start(&self.program, &self.args, &directory.join("publisher"))?;
        let fetcher = Node::start(&self.program, &self.args, &directory.join("fetcher"))?;
        Ok(Box::new(Nodes { publisher, fetcher, keeps: self.args.iter().any(|arg| arg == STORE) }))
    }
}

/// One process.
struct Node {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Node {
    fn start(program: &Path, args: &[String], store: &Path) -> Result<Self> {
        files::make(store)?;
        let mut command = Command::new(program);
        command.args(args.iter().map(|arg| if arg == STORE { store.as_os_str() } else { arg.as_ref() }));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`", program.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("standard output is piped")?);
        let mut node = Self { child, input, output: BufReader::new(output), address: String::new() };
        node.address = node.answer("ready")?;
        Ok(node)
    }

    /// Gives one command; returns what follows `ok`, and the time it took.
    fn tell(&mut self, words: &[&str]) -> Result<(String, Duration)> {
        sync()?;
        let begin = Instant::now();
        let input = self.input.as_mut().context("standard input is piped")?;
        writeln!(input, "{}", words.join("\t")).context("the peer has ended")?;
        let answer = self.answer("ok")?;
        Ok((answer, begin.elapsed()))
    }

    fn answer(&mut self, wanted: &str) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("cannot read what the peer says")?;
        let line = line.trim_end();
        match line.split_once('\t').unwrap_or((line, "")) {
            (word, rest) if word == wanted => Ok(rest.to_owned()),
            _ => bail!("the peer says `{line}`"),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The process ends with its input; some take their time to close what nobody needs any more.
        drop(self.input.take());
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end process {}: {error}", self.child.id());
        }
    }
}

struct Nodes {
    publisher: Node,
    fetcher: Node,
    /// Whether what is fetched is written.
    keeps: bool,
}

impl Pair for Nodes {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let path = package.single_file.as_ref().unwrap_or(&package.path);
        let (id, time) = self.publisher.tell(&["add", utf8(path)?])?;
        Ok(Published { id, cid: None, time: self.keeps.then_some(time) })
    }

    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>> {
        files::make(out)?;
        let out = if id.contains(':') { out.to_owned() } else { out.join(SINGLE_FILE) };
        let (_, time) = self.fetcher.tell(&["get", id, &self.publisher.address, utf8(&out)?])?;
        Ok(Some(time))
    }

    fn keeps(&self) -> bool {
        self.keeps
    }

    fn files_alone(&self) -> bool {
        true
    }
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))
}
