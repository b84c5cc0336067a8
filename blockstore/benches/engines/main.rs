//! Which engine should keep the blocks? Our segments against fjall (LSM tree with key-value separation) and redb
//! (copy-on-write B-tree), through one small interface, on one directory.
//!
//! `cargo bench -p ggen-blockstore --bench engines -- --dir DIR [--small N] [--large N] [--engines a,b] [--rounds N]`
//!
//! Blocks are incompressible and hashed beforehand; compression is off everywhere. Every engine keeps the contract of
//! `Blockstore`: what a batch wrote survives the death of the process. Each engine also has a child process killed
//! (SIGKILL) in the middle of writing; what it had acknowledged must be there after reopening.
//! With several rounds the engines take turns, and the table holds the best of each value: what else the machine does
//! then weighs less.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod adapters;
mod measure;

use std::{error::Error, path::PathBuf};

use measure::{Row, Sizes};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Number of small blocks, unless told otherwise.
const SMALL_BLOCKS: u64 = 1_000_000;
/// Number of blocks of 1 MiB, unless told otherwise: 4 GiB.
const LARGE_BLOCKS: u64 = 4096;

struct Arguments {
    dir: PathBuf,
    sizes: Sizes,
    engines: Vec<String>,
    rounds: u32,
    /// Write to this store until killed.
    child: Option<(String, PathBuf)>,
}

impl Arguments {
    fn parse() -> Outcome<Self> {
        let mut parsed = Self {
            dir: std::env::temp_dir(),
            sizes: Sizes { small: SMALL_BLOCKS, large: LARGE_BLOCKS },
            engines: adapters::NAMES.iter().map(ToString::to_string).collect(),
            rounds: 1,
            child: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--dir" => parsed.dir = value()?.into(),
                "--small" => parsed.sizes.small = value()?.parse()?,
                "--large" => parsed.sizes.large = value()?.parse()?,
                "--engines" => parsed.engines = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => parsed.rounds = value()?.parse()?,
                "--child" => parsed.child = Some((value()?, value()?.into())),
                // What cargo adds.
                "--bench" => {}
                other => return Err(format!("unknown argument `{other}`").into()),
            }
        }
        Ok(parsed)
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    if let Some((engine, dir)) = arguments.child {
        return measure::write_until_killed(&engine, &dir);
    }
    let mut columns: Vec<(String, Vec<Row>)> = Vec::new();
    for round in 1..=arguments.rounds {
        for engine in &arguments.engines {
            eprintln!("round {round}: {engine}");
            let dir = tempfile::tempdir_in(&arguments.dir)?;
            let rows = measure::measure(engine, dir.path(), &arguments.sizes)?;
            match columns.iter_mut().find(|(name, _)| name == engine) {
                Some((_, best)) => best.iter_mut().zip(rows).for_each(|(best, row)| best.keep_better(&row)),
                None => columns.push((engine.clone(), rows)),
            }
        }
    }
    print_table(&columns);
    Ok(())
}

fn print_table(columns: &[(String, Vec<Row>)]) {
    let Some((_, first)) = columns.first() else { return };
    print!("| {:<48} |", "");
    columns.iter().for_each(|(engine, _)| print!(" {engine:>10} |"));
    print!("\n|{}|", "-".repeat(50));
    columns.iter().for_each(|_| print!("{}:|", "-".repeat(11)));
    println!();
    for (number, row) in first.iter().enumerate() {
        print!("| {:<48} |", row.what);
        columns.iter().for_each(|(_, rows)| print!(" {:>10} |", rows[number].text()));
        println!();
    }
}
