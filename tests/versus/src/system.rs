//! The systems that are measured. Each starts a pair of nodes with empty stores, of which one publishes and the other
//! fetches.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

mod ggen;
mod kubo;

/// A system that can be asked for on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// This project's daemon and command line.
    Ggen,
    /// Kubo, the reference implementation of IPFS; it fetches with `ipfs get`.
    Kubo,
    /// Kubo again, fetching with `ipfs pin add` and then `ipfs get`, which is faster for trees.
    KuboPin,
}

impl Kind {
    /// Finds or builds what the system needs, so that no build falls into a measurement.
    pub(crate) fn prepare(self, ggen: Option<&Path>) -> Result<System> {
        match self {
            Self::Ggen => Ok(System { name: "ggen", starter: Box::new(ggen::Starter::prepare(ggen)?) }),
            Self::Kubo => Ok(System { name: "kubo", starter: Box::new(kubo::Starter { way: kubo::Way::Get }) }),
            Self::KuboPin => {
                Ok(System { name: "kubo-pin", starter: Box::new(kubo::Starter { way: kubo::Way::PinThenGet }) })
            }
        }
    }
}

/// A system ready to be started, any number of times.
pub(crate) struct System {
    pub(crate) name: &'static str,
    starter: Box<dyn Start>,
}

impl System {
    /// Returns the version as the system itself tells it.
    pub(crate) fn version(&self) -> Result<String> {
        self.starter.version()
    }

    /// Starts two connected nodes whose stores are new directories below `directory`.
    pub(crate) fn start(&self, directory: &Path) -> Result<Box<dyn Pair>> {
        self.starter.start(directory).with_context(|| format!("cannot start two nodes of {}", self.name))
    }
}

/// How a system comes to life.
trait Start {
    fn version(&self) -> Result<String>;
    fn start(&self, directory: &Path) -> Result<Box<dyn Pair>>;
}

/// Two connected nodes; they end when this is dropped.
pub(crate) trait Pair {
    /// Publishes a directory on the first node; returns its CID and the time of the whole command.
    fn publish(&mut self, path: &Path) -> Result<(String, Duration)>;

    /// Fetches a CID on the second node into `out`, which does not exist; returns the time of the whole command.
    fn fetch(&mut self, cid: &str, out: &Path) -> Result<Duration>;
}

/// Runs a command to its end; returns its standard output and how long it took. Dirty pages of earlier work are
/// written out first, so that they do not count.
fn timed(command: &mut Command) -> Result<(String, Duration)> {
    ensure!(Command::new("sync").status().context("cannot run `sync`")?.success(), "`sync` failed");
    let begin = Instant::now();
    let output = output_of(command)?;
    Ok((output, begin.elapsed()))
}

/// Runs a command to its end and returns its standard output.
fn output_of(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{shown} failed with {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}
