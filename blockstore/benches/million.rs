//! Does a store with a million blocks open in under a second, also after a crash, and answer `has` in under 20
//! microseconds? Fails if not.
//!
//! `cargo bench -p ggen-blockstore --bench million -- [--dir DIR] [--blocks N]`

#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Blockstore, Cid, SegmentBlockstore, SegmentOptions, conformance::sample_block};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Blocks in the store, unless told otherwise.
const BLOCKS: u64 = 1_000_000;
const BLOCK_BYTES: usize = 200;
const BATCH: u64 = 1000;
/// Questions that are timed.
const QUESTIONS: u64 = 100_000;
/// What the store is held to.
const MAX_OPEN: Duration = Duration::from_secs(1);
const MAX_HAS: Duration = Duration::from_micros(20);

fn main() -> Outcome<()> {
    let (mut dir, mut count) = (std::env::temp_dir(), BLOCKS);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--dir" => dir = PathBuf::from(value()?),
            "--blocks" => count = value()?.parse()?,
            // What cargo adds.
            "--bench" => {}
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    let place = tempfile::tempdir_in(dir)?;
    let (store, crashed) = (place.path().join("store"), place.path().join("crashed"));
    fill(&store, &crashed, count)?;
    let mut failed = false;
    let mut row = |what: &str, time: Duration, limit: Option<Duration>| {
        let slow = limit.is_some_and(|limit| time >= limit);
        println!("| {what:<44} | {:>12.2} us |{}", time.as_secs_f64() * 1e6, if slow { " TOO SLOW" } else { "" });
        failed |= slow;
    };
    row("open after closing", timed_open(&store)?.1, Some(MAX_OPEN));
    row("open after a crash", timed_open(&crashed)?.1, Some(MAX_OPEN));
    let store = timed_open(&store)?.0;
    let there: Vec<Cid> = (0..QUESTIONS).map(|number| cid(shuffled(number, count))).collect();
    let absent: Vec<Cid> = (0..QUESTIONS).map(|number| cid(u64::MAX - number)).collect();
    for (what, cids, answer) in [("has", &there, true), ("has of an absent block", &absent, false)] {
        let [median, worst] = ask(&store, cids, answer)?;
        row(&format!("{what}: median"), median, Some(MAX_HAS));
        row(&format!("{what}: 99.9 % within"), worst, None);
    }
    println!("| {:<44} | {:>12.2} MB |", "memory of the process", resident()? / 1e6);
    if failed { Err("the store is too slow".into()) } else { Ok(()) }
}

/// Fills a store, closes it, and leaves a copy of it as it was before: as a crash would.
fn fill(dir: &Path, crashed: &Path, count: u64) -> Outcome<()> {
    let store = SegmentBlockstore::open(dir, SegmentOptions::default())?;
    for start in (0..count).step_by(BATCH as usize) {
        let blocks: Vec<Block> =
            (start..count.min(start + BATCH)).map(|number| sample_block(number, BLOCK_BYTES)).collect();
        store.put_many(&blocks)?;
    }
    store.sync()?;
    fs::create_dir(crashed)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        fs::copy(&path, crashed.join(path.file_name().ok_or("a file without a name")?))?;
    }
    Ok(())
}

fn timed_open(dir: &Path) -> Outcome<(SegmentBlockstore, Duration)> {
    let start = Instant::now();
    let store = SegmentBlockstore::open(dir, SegmentOptions::default())?;
    Ok((store, start.elapsed()))
}

/// The median of the times that the answers took, and what all but one in a thousand stayed within.
fn ask(store: &SegmentBlockstore, cids: &[Cid], expected: bool) -> Outcome<[Duration; 2]> {
    let mut times = Vec::with_capacity(cids.len());
    for cid in cids {
        let start = Instant::now();
        let answer = store.has(cid)?;
        times.push(start.elapsed());
        if answer != expected {
            return Err(format!("wrong answer for {cid}").into());
        }
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[times.len() - 1 - times.len() / 1000]])
}

fn cid(number: u64) -> Cid {
    *sample_block(number, BLOCK_BYTES).cid()
}

/// Which of `count` blocks is asked for as number `number`: looks random, is the same in every run.
fn shuffled(number: u64, count: u64) -> u64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % count
}

/// Bytes of memory that this process has; 0 where the system does not say.
fn resident() -> Outcome<f64> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return Ok(0.0) };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}
