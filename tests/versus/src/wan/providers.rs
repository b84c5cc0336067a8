//! Several providers of one package, each behind a slow link: do they add up, and what if one of them stops answering?

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::PREFIX;
use super::network::Network;
use crate::command::output_of;
use crate::files;
use crate::run::Directory;
use crate::system::ggen::{Node, Program, text};
use crate::table::{Place, Table};

/// Rate of each provider; the fetching host has no limit.
const PROVIDER_MBIT: f64 = 30.0;
const PROVIDERS: usize = 3;
/// How often it is looked whether half has come.
const LOOK: Duration = Duration::from_millis(5);

/// Runs all rounds: one provider, two, three, and three of which one is stopped half way.
pub(crate) fn measure(
    program: &Program,
    round_trip: Duration,
    mib: u64,
    directory: &Directory,
    table: &mut Table,
) -> Result<()> {
    let label = format!("{PREFIX}providers at {PROVIDER_MBIT} Mbit/s, {mib} MiB");
    for round in 0..directory.rounds {
        let at = directory.path.join("providers");
        let package = at.join("package");
        files::make(&package)?;
        files::write_random(&package.join("random.bin"), mib << 20)?;
        let manifest = "[package]\nname = \"versus\"\nversion = \"1.0.0\"\ndescription = \"What is measured\"\n";
        std::fs::write(package.join("gpack.toml"), manifest).context("cannot write gpack.toml")?;
        let mut rates = vec![PROVIDER_MBIT; PROVIDERS];
        rates.push(0.0);
        let network = Network::start(round_trip, &rates)?;
        let providers = providers(program, &network, &at, &package)?;
        for (system, count, stall) in
            [("one", 1, false), ("two", 2, false), ("three", 3, false), ("three, one stalls", 3, true)]
        {
            let seconds = fetch(
                program,
                &network,
                &at.join(format!("{count}-{stall}")),
                &package,
                &providers.0[..count],
                &providers.1,
                stall,
            )?;
            eprintln!("round {}: {label}: {system}: {seconds:.3} s", round + 1);
            table.add(&label, "fetch, s", system, Place::Main, seconds);
        }
        drop(providers);
        drop(network);
        files::remove(&at)?;
    }
    Ok(())
}

/// Starts the providers: the first publishes, the others fetch from it. Returns them and the release's CID.
fn providers(program: &Program, network: &Network, at: &Path, package: &Path) -> Result<(Vec<Node>, String)> {
    let mut nodes = vec![Node::start(program, at.join("provider-0"), &network.hosts[0])?];
    let (answer, _) = nodes[0].publish(package)?;
    let release = text(&answer["release"], "release")?;
    for index in 1..PROVIDERS {
        let node = Node::start(program, at.join(format!("provider-{index}")), &network.hosts[index])?;
        node.meet(&nodes[0].address)?;
        let out = at.join(format!("provided-{index}"));
        output_of(node.fetch(&release, &out).args(["--provider", &nodes[0].address]))?;
        nodes.push(node);
    }
    Ok((nodes, release))
}

/// Fetches on a new node from the given providers; the last of them is stopped when half of the package has come, and
/// goes on when all is over.
fn fetch(
    program: &Program,
    network: &Network,
    at: &Path,
    package: &Path,
    providers: &[Node],
    release: &str,
    stall: bool,
) -> Result<f64> {
    files::make(at)?;
    let fetcher = Node::start(program, at.join("home"), &network.hosts[PROVIDERS])?;
    for provider in providers {
        fetcher.meet(&provider.address)?;
    }
    let out = at.join("out");
    let mut command = fetcher.fetch(release, &out);
    for provider in providers {
        command.args(["--provider", &provider.address]);
    }
    let half = network.received(PROVIDERS)? + package.join("random.bin").metadata()?.len() / 2;
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot run ggen")?;
    let mut stopped = None;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot watch ggen")? {
            break status;
        }
        if stall && stopped.is_none() && network.received(PROVIDERS)? >= half {
            let last = providers.last().context("there is a provider")?;
            stopped = Some(Stopped::stop(last.pid)?);
        }
        thread::sleep(LOOK);
    };
    let seconds = begin.elapsed().as_secs_f64();
    if stall && stopped.is_none() {
        bail!("the fetch ended before half of it had come");
    }
    drop(stopped);
    ensure!(status.success(), "the fetch failed with {status}");
    files::ensure_same(package, &out)?;
    Ok(seconds)
}

/// A stopped process; it goes on when this is dropped.
struct Stopped(u64);

impl Stopped {
    fn stop(pid: u64) -> Result<Self> {
        output_of(Command::new("kill").args(["-STOP", &pid.to_string()]))?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = output_of(Command::new("kill").args(["-CONT", &self.0.to_string()])) {
            eprintln!("process {} is left stopped: {error:#}", self.0);
        }
    }
}
