//! What a daemon costs: until it answers, when it has nothing to do, and while it publishes and serves a large package.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::output_of;
use crate::files;
use crate::host::Host;
use crate::run::Directory;
use crate::system::ggen::{Node, Program};
use crate::table::{Place, Table};

/// How long a daemon is left alone before it is looked at, and then for how long.
const SETTLE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(30);
/// Peers that fetch the large package at once.
const PEERS: usize = 4;

/// Measures start and idling of a daemon that has one connected peer, and its binary.
pub(crate) fn costs(program: &Program, directory: &Directory, table: &mut Table) -> Result<()> {
    let label = "daemon";
    let mut add = |step: &str, value: f64| table.add(label, step, "ggen", Place::Main, value);
    add("binary, MiB", mib(program.path.metadata().context("there is a binary")?.len()));
    let host = Host::loopback();
    let at = directory.path.join("daemon");
    for round in 0..directory.rounds {
        let begin = Instant::now();
        let node = Node::start(program, at.join(format!("start-{round}")), &host)?;
        output_of(&mut node.command("status"))?;
        add("first answer, ms", begin.elapsed().as_secs_f64() * 1e3);
        add("memory after the start, MiB", memory(node.pid, "VmRSS:")?);
    }
    let node = Node::start(program, at.join("idle"), &host)?;
    let peer = Node::start(program, at.join("peer"), &host)?;
    node.meet(&peer.address)?;
    thread::sleep(SETTLE);
    let (before, begin) = (processor_ticks(node.pid)?, Instant::now());
    thread::sleep(WATCH);
    let used = (processor_ticks(node.pid)? - before) as f64 / ticks_per_second()?;
    add("idle processor, %", used / begin.elapsed().as_secs_f64() * 100.0);
    add("idle memory, MiB", memory(node.pid, "VmRSS:")?);
    drop((node, peer));
    files::remove(&at)
}

/// Measures the memory of a daemon that publishes a file of this size and serves it to four peers at once.
pub(crate) fn load(program: &Program, size_mib: u64, directory: &Directory, table: &mut Table) -> Result<()> {
    let label = format!("daemon: load, {size_mib} MiB to {PEERS} peers");
    let mut add = |step: &str, value: f64| table.add(&label, step, "ggen", Place::Main, value);
    let host = Host::loopback();
    let at = directory.path.join("load");
    let package = at.join("package");
    files::make(&package)?;
    files::write_random(&package.join("random.bin"), size_mib << 20)?;
    let manifest = "[package]\nname = \"versus\"\nversion = \"1.0.0\"\ndescription = \"What is measured\"\n";
    fs::write(package.join("gpack.toml"), manifest).context("cannot write gpack.toml")?;
    let node = Node::start(program, at.join("publisher"), &host)?;
    let (answer, time) = node.publish(&package)?;
    add("publish, s", time.as_secs_f64());
    add("memory while publishing, MiB", memory(node.pid, "VmHWM:")?);
    files::remove(&package)?;
    let release = crate::system::ggen::text(&answer["release"], "release")?;
    let peers: Vec<Node> =
        (0..PEERS).map(|peer| Node::start(program, at.join(format!("peer-{peer}")), &host)).collect::<Result<_>>()?;
    let begin = Instant::now();
    let fetches: Vec<Child> = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let mut command = peer.fetch(&release, &at.join(format!("out-{index}")));
            command.args(["--provider", &node.address]).stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().context("cannot run ggen")
        })
        .collect::<Result<_>>()?;
    for mut fetch in fetches {
        let status = fetch.wait().context("cannot await ggen")?;
        ensure!(status.success(), "a fetch failed with {status}");
    }
    add("four fetches at once, s", begin.elapsed().as_secs_f64());
    add("memory at most, MiB", memory(node.pid, "VmHWM:")?);
    let most = peers.iter().map(|peer| memory(peer.pid, "VmHWM:")).collect::<Result<Vec<_>>>()?;
    add("memory of a fetching daemon at most, MiB", most.into_iter().fold(0.0, f64::max));
    drop((node, peers));
    files::remove(&at)
}

/// Returns a line of `/proc/<pid>/status` in MiB: resident memory, or the most of it there ever was.
fn memory(pid: u64, field: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read what a process uses")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    Ok(mib(kib.with_context(|| format!("the kernel tells no {field}"))? << 10))
}

/// Returns the processor time that a process has used, in ticks of the kernel's clock.
fn processor_ticks(pid: u64) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read what a process uses")?;
    // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th words behind it.
    let (_, behind) = text.rsplit_once(')').context("the kernel tells no processor time")?;
    let words: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
    ticks(11).zip(ticks(12)).map(|(user, system)| user + system).context("the kernel tells no processor time")
}

fn ticks_per_second() -> Result<f64> {
    output_of(Command::new("getconf").arg("CLK_TCK"))?.trim().parse().context("no number of ticks")
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
