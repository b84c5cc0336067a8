//! Measures ggen beside other systems that do the same work on the same machine: two nodes, a package published on one
//! and fetched on the other, each command timed as a whole.
//!
//! ```text
//! cargo run --release --manifest-path tests/versus/Cargo.toml
//! cargo run --release --manifest-path tests/versus/Cargo.toml -- --wan
//! ```
//!
//! Every round makes the input afresh and runs every system on it with stores that are empty, in an order that turns
//! from round to round, so that none has the warmer machine. What was fetched is compared with what was published,
//! and the systems of IPFS must agree on the CID. All nodes talk to each other and to nobody else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use tempfile::TempDir;

mod command;
#[allow(dead_code, reason = "shared with the test suite, which uses more of it")]
#[path = "../../suite/support/crates.rs"]
mod crates;
mod daemon;
mod files;
mod goals;
mod host;
#[allow(dead_code, unused_imports, reason = "shared with the test suite, which uses more of it")]
#[path = "../../suite/support/kubo.rs"]
mod kubo;
mod packages;
mod report;
mod run;
mod system;
mod table;
mod wan;
mod workload;

use crate::host::Host;
use crate::run::{Directory, Plan};
use crate::system::{Kind, Programs, System};
use crate::table::{Place, Table};
use crate::workload::Workload;

/// A file system in memory, where one is usual.
const SHARED_MEMORY: &str = "/dev/shm";

/// Systems when none are named, on loopback and over a network.
const LOCAL: [Kind; 14] = [
    Kind::Ggen,
    Kind::GgenCid,
    Kind::Kubo,
    Kind::KuboPin,
    Kind::KuboToGgen,
    Kind::GgenToKubo,
    Kind::RustIpfs,
    Kind::Iroh,
    Kind::Curl,
    Kind::CurlGz,
    Kind::Sha256Copy,
    Kind::StreamTls,
    Kind::StreamNoise,
    Kind::StreamQuic,
];
const REMOTE: [Kind; 6] = [Kind::Ggen, Kind::Curl, Kind::CurlGz, Kind::KuboReleaseToGgen, Kind::KuboToGgen, Kind::Kubo];

/// What can be measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// One file of random bytes.
    File,
    /// A tree of some 3,400 source files.
    Tree,
    /// A new version of that tree with 1 % of its files changed.
    Version,
    /// 200 small packages.
    Packages,
    /// Start-up, idling and binary of the daemon.
    Daemon,
    /// The daemon's memory while it publishes a large file and serves it to four peers.
    Load,
    /// The tree over a network (root only).
    WanTree,
    /// Updates of real crates over a network (root only).
    WanUpdates,
    /// Several slow providers (root only).
    WanProviders,
}

/// Measures ggen beside other systems doing the same work on this machine
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// What to measure [default: file, tree, version, packages, daemon]
    #[arg(long, value_name = "PART", value_delimiter = ',', conflicts_with = "wan")]
    parts: Vec<Part>,
    /// Measure what crosses a network: wan-tree, wan-updates, wan-providers
    #[arg(long)]
    wan: bool,
    /// The `ggen` binary; built with `cargo build --release` when not given
    #[arg(long, value_name = "PATH")]
    ggen: Option<PathBuf>,
    /// The directory with the programs of versus-peers; built when needed and not given
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// The systems to run [default: all that the part can compare with]
    #[arg(long, value_name = "SYSTEM", value_delimiter = ',')]
    systems: Vec<Kind>,
    /// Rounds of each measurement; the table shows medians
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where stores and files lie, best on tmpfs [default: /dev/shm, or the temporary directory where there is none]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure file, tree and version on this disk too, and print it beside
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Rounds on the disk; what they write is deleted at the end only
    #[arg(long, value_name = "N", default_value_t = 3)]
    disk_rounds: u32,
    /// Size of the single file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    file_mib: u64,
    /// The tree to publish [default: made of the crate sources in cargo's registry]
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Number of small packages
    #[arg(long, value_name = "N", default_value_t = packages::PACKAGES)]
    packages: usize,
    /// Size of what the daemon serves to four peers, in MiB; ten times as much must fit into the directory
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    load_mib: u64,
    /// Round-trip time of the network in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50)]
    rtt: u64,
    /// Rate of every host of the network in Mbit/s
    #[arg(long, value_name = "MBIT", default_value_t = 100.0)]
    mbit: f64,
    /// Size of what several providers have, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32)]
    providers_mib: u64,
    /// Rounds of Kubo to Kubo over the network, each of which takes minutes
    #[arg(long, value_name = "N", default_value_t = 1)]
    slow_rounds: u32,
}

impl Args {
    fn parts(&self) -> Vec<Part> {
        match (&self.parts[..], self.wan) {
            ([], true) => vec![Part::WanTree, Part::WanUpdates, Part::WanProviders],
            ([], false) => vec![Part::File, Part::Tree, Part::Version, Part::Packages, Part::Daemon],
            (parts, _) => parts.to_vec(),
        }
    }

    fn systems(&self, remote: bool, programs: &mut Programs) -> Result<Vec<System>> {
        let usual = if remote { &REMOTE[..] } else { &LOCAL[..] };
        let kinds = if self.systems.is_empty() { usual } else { &self.systems };
        kinds.iter().map(|kind| kind.prepare(programs)).collect()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut table = Table::default();
    let outcome = measure(&args, &mut table);
    // What was measured before something failed is worth its minutes.
    print!("{}{}", table.render(), goals::render(&table));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args, table: &mut Table) -> Result<()> {
    let work = work_directory(&args.dir.clone().unwrap_or_else(default_directory))?;
    let disk = args.disk.as_deref().map(work_directory).transpose()?;
    let main = Directory { path: work.path().to_owned(), place: Place::Main, rounds: args.rounds };
    let beside = disk.as_ref().map(|disk| Directory {
        path: disk.path().to_owned(),
        place: Place::Disk,
        rounds: args.disk_rounds,
    });
    let directories: Vec<Directory> = [main.clone()].into_iter().chain(beside).collect();
    let plan = Plan { directories, hosts: [Host::loopback(), Host::loopback()], slow_rounds: None, prefix: "" };
    let parts = args.parts();
    let remote = parts.iter().any(|part| matches!(part, Part::WanTree | Part::WanUpdates | Part::WanProviders));
    if remote {
        wan::network::ensure_possible()?;
    }
    let mut programs = Programs { ggen: args.ggen.clone(), peers: args.peers.clone() };
    let systems = args.systems(remote, &mut programs)?;
    ensure!(!systems.is_empty(), "there is no system to run");
    let link = wan::Link { round_trip: Duration::from_millis(args.rtt), mbit: args.mbit };
    print!("{}", report::header(&systems, &plan));
    if remote {
        println!("{:<20} {} ms round trip, {} Mbit/s, no loss but of full queues", "network", args.rtt, args.mbit);
    }
    let tree = Workload::Tree { source: args.tree.clone() };
    for part in parts {
        match part {
            Part::File => {
                run::measure(&Workload::File { mib: args.file_mib }, &systems, &plan, table)?;
            }
            Part::Tree => {
                run::measure(&tree, &systems, &plan, table)?;
            }
            Part::Version => {
                run::measure(&Workload::Version { source: args.tree.clone() }, &systems, &plan, table)?;
            }
            Part::Packages => packages::measure(args.packages, &systems, &plan, table)?,
            Part::Daemon => daemon::costs(&programs.ggen()?, &main, table)?,
            Part::Load => daemon::load(&programs.ggen()?, args.load_mib, &main, table)?,
            Part::WanTree => wan::tree(&tree, &systems, link, &main, args.slow_rounds, table)?,
            Part::WanUpdates => wan::updates::measure(&programs.ggen()?, link, &main, table)?,
            Part::WanProviders => {
                wan::providers::measure(&programs.ggen()?, link.round_trip, args.providers_mib, &main, table)?;
            }
        }
    }
    Ok(())
}

fn work_directory(parent: &Path) -> Result<TempDir> {
    TempDir::with_prefix_in("versus-", parent)
        .with_context(|| format!("cannot create a directory in `{}`", parent.display()))
}

fn default_directory() -> PathBuf {
    let shared_memory = Path::new(SHARED_MEMORY);
    if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() }
}
