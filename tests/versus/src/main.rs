//! Measures ggen beside other systems that do the same work on the same machine: two nodes on loopback, a package
//! published on one and fetched on the other, each command timed as a whole.
//!
//! ```text
//! cargo run --release --manifest-path tests/versus/Cargo.toml
//! ```
//!
//! Every round makes the input afresh and runs every system on it with stores that are empty, in an order that turns
//! from round to round, so that none has the warmer machine. What was fetched is compared with what was published,
//! and the systems must agree on the CID.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tempfile::TempDir;

#[allow(dead_code, reason = "shared with the test suite, which uses more of it")]
#[path = "../../suite/support/crates.rs"]
mod crates;
#[allow(dead_code, unused_imports, reason = "shared with the test suite, which uses more of it")]
#[path = "../../suite/support/kubo.rs"]
mod kubo;
mod report;
mod run;
mod system;
mod workload;

use crate::system::{Kind, System};
use crate::workload::Workload;

/// A file system in memory, where one is usual.
const SHARED_MEMORY: &str = "/dev/shm";

/// Measures ggen beside other systems doing the same work on this machine
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The `ggen` binary; built with `cargo build --release` when not given
    #[arg(long, value_name = "PATH")]
    ggen: Option<PathBuf>,
    /// The systems to run; ratios are those of the first to each other one
    #[arg(long, value_name = "SYSTEM", value_delimiter = ',', default_value = "ggen,kubo,kubo-pin")]
    systems: Vec<Kind>,
    /// Rounds of each measurement; the table shows medians
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where stores and files lie, best on tmpfs [default: /dev/shm, or the temporary directory where there is none]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Size of the single file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    file_mib: u64,
    /// The tree to publish [default: made of the crate sources in cargo's registry]
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    ensure!(!args.systems.is_empty(), "there is no system to run");
    let parent = args.dir.clone().unwrap_or_else(default_directory);
    let work = TempDir::with_prefix_in("versus-", &parent)
        .with_context(|| format!("cannot create a directory in `{}`", parent.display()))?;
    let systems: Vec<System> =
        args.systems.iter().map(|kind| kind.prepare(args.ggen.as_deref())).collect::<Result<_>>()?;
    let workloads = [Workload::File { mib: args.file_mib }, Workload::Tree { source: args.tree.clone() }];

    print!("{}", report::header(&systems, &parent, args.rounds));
    let mut rows = Vec::new();
    for workload in &workloads {
        rows.extend(run::measure(workload, &systems, args.rounds, work.path())?);
    }
    print!("{}", report::table(&systems, &rows));
    Ok(())
}

fn default_directory() -> PathBuf {
    let shared_memory = Path::new(SHARED_MEMORY);
    if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() }
}
