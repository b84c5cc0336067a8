//! What is done to each engine.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Cid, conformance::sample_block};

use crate::{
    Outcome,
    adapters::{Engine, open},
};

const SMALL_BYTES: usize = 200;
const LARGE_BYTES: usize = 1 << 20;
/// Blocks per batch.
const SMALL_BATCH: usize = 1000;
const LARGE_BATCH: usize = 8;
/// Random reads and look-ups that are timed.
const READS: u64 = 100_000;
/// Numbers of the blocks that the child writes start here.
const CHILD_BLOCKS: u64 = 1 << 40;
/// The child is killed once it has acknowledged this part of the number of small blocks.
const CHILD_FRACTION: u64 = 5;

/// How much is stored.
pub(crate) struct Sizes {
    pub(crate) small: u64,
    pub(crate) large: u64,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) value: f64,
    /// Whether the largest value of several rounds counts, not the smallest.
    pub(crate) is_rate: bool,
}

impl Row {
    /// Keeps the better of both values.
    pub(crate) fn keep_better(&mut self, other: &Self) {
        self.value = if self.is_rate { self.value.max(other.value) } else { self.value.min(other.value) };
    }

    /// The value with as many digits as mean something.
    pub(crate) fn text(&self) -> String {
        let decimals = if self.value < 10.0 && self.value.fract() != 0.0 { 2 } else { 0 };
        format!("{:.decimals$}", self.value)
    }
}

/// Measures one engine in an empty directory.
pub(crate) fn measure(engine: &str, dir: &Path, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let small = dir.join("small");
    measure_size(engine, &small, sizes.small, SMALL_BYTES, SMALL_BATCH, &mut rows)?;
    measure_kill(engine, &small, sizes.small, &mut rows)?;
    fs::remove_dir_all(&small)?;
    measure_size(engine, &dir.join("large"), sizes.large, LARGE_BYTES, LARGE_BATCH, &mut rows)?;
    Ok(rows)
}

fn measure_size(
    name: &str,
    dir: &Path,
    count: u64,
    block_bytes: usize,
    batch: usize,
    rows: &mut Vec<Row>,
) -> Outcome<()> {
    let mut row = |what: &str, value: f64| {
        let size = if block_bytes == LARGE_BYTES { "1 MiB".to_owned() } else { format!("{block_bytes} B") };
        let is_rate = what.ends_with("MB/s");
        rows.push(Row { what: format!("{count} x {size}: {what}"), value, is_rate });
    };
    fs::create_dir_all(dir)?;
    let blocks: Vec<_> = (0..count).map(|number| sample_block(number, block_bytes)).collect();
    let engine = open(name, dir)?;
    let time = timed(|| {
        blocks.chunks(batch).try_for_each(|blocks| engine.put(blocks))?;
        engine.sync()
    })?;
    row("write, MB/s", rate(count, block_bytes, time));
    row("size on disk, MB", megabytes(dir)?);
    drop(engine);
    let time = timed(|| open(name, dir).map(drop))?;
    row("reopen after closing, ms", milliseconds(time));
    let engine = open(name, dir)?;
    let reads = if block_bytes == LARGE_BYTES { count } else { READS };
    let order: Vec<Cid> = (0..reads).map(|read| *blocks[shuffled(read, count)].cid()).collect();
    let (total, median) = each(&order, |cid| Ok(engine.get(cid)? == Some(block_bytes)))?;
    row("random read, MB/s", rate(reads, block_bytes, total));
    row("random read, median us", microseconds(median));
    let (_, median) = each(&order, |cid| engine.has(cid))?;
    row("has, median us", microseconds(median));
    let absent: Vec<_> = (0..1000).map(|number| *sample_block(u64::MAX - number, 10).cid()).collect();
    let (_, median) = each(&absent, |cid| Ok(!engine.has(cid)?))?;
    row("has of absent, median us", microseconds(median));
    let half: Vec<_> = blocks.iter().step_by(2).map(|block| *block.cid()).collect();
    let time = timed(|| {
        half.chunks(batch).try_for_each(|cids| engine.delete(cids))?;
        engine.sync()
    })?;
    row("delete half, s", time.as_secs_f64());
    let time = timed(|| engine.compact())?;
    row("give space back, s", time.as_secs_f64());
    drop(engine);
    row("size on disk then, MB", megabytes(dir)?);
    check_half(open(name, dir)?.as_ref(), &blocks)
}

fn check_half(engine: &dyn Engine, blocks: &[Block]) -> Outcome<()> {
    for (number, block) in blocks.iter().enumerate().step_by(97) {
        if engine.has(block.cid())? == (number % 2 == 0) {
            return Err(format!("block {number} is not as it should be after deleting half").into());
        }
    }
    Ok(())
}

/// Kills a child that writes to the store, then reopens it.
fn measure_kill(name: &str, dir: &Path, small: u64, rows: &mut Vec<Row>) -> Outcome<()> {
    let mut child =
        Command::new(std::env::current_exe()?).arg("--child").arg(name).arg(dir).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    let mut acknowledged = 0;
    for line in BufReader::new(output).lines() {
        acknowledged = line?.parse()?;
        if acknowledged >= small / CHILD_FRACTION {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    let start = Instant::now();
    let engine = open(name, dir)?;
    let found = engine.get(sample_block(CHILD_BLOCKS, SMALL_BYTES).cid())?;
    let time = start.elapsed();
    let mut lost = u64::from(found.is_none());
    for number in 1..acknowledged {
        lost += u64::from(!engine.has(sample_block(CHILD_BLOCKS + number, SMALL_BYTES).cid())?);
    }
    rows.push(Row { what: "kill -9 while writing: reopen, ms".into(), value: milliseconds(time), is_rate: false });
    if lost > 0 {
        eprintln!("{name} lost {lost} of {acknowledged} acknowledged blocks");
    }
    rows.push(Row { what: "kill -9 while writing: acknowledged, lost".into(), value: lost as f64, is_rate: true });
    Ok(())
}

/// What the child does: writes batches and says how many blocks are written, until it is killed.
pub(crate) fn write_until_killed(name: &str, dir: &Path) -> Outcome<()> {
    let engine = open(name, dir)?;
    let mut written = 0;
    loop {
        let blocks: Vec<_> =
            (0..SMALL_BATCH as u64).map(|number| sample_block(CHILD_BLOCKS + written + number, SMALL_BYTES)).collect();
        engine.put(&blocks)?;
        written += SMALL_BATCH as u64;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{written}")?;
        output.flush()?;
    }
}

fn timed(action: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    action()?;
    Ok(start.elapsed())
}

/// Total and median time of a look-up that has to answer `true`.
fn each(cids: &[Cid], look_up: impl Fn(&Cid) -> Outcome<bool>) -> Outcome<(Duration, Duration)> {
    let mut times = Vec::with_capacity(cids.len());
    for cid in cids {
        let start = Instant::now();
        if !look_up(cid)? {
            return Err(format!("wrong answer for {cid}").into());
        }
        times.push(start.elapsed());
    }
    let total = times.iter().sum();
    times.sort_unstable();
    Ok((total, times.get(times.len() / 2).copied().unwrap_or_default()))
}

/// Which of `count` blocks is read as number `read`: looks random, is the same in every run.
fn shuffled(read: u64, count: u64) -> usize {
    (read.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % count as usize
}

fn megabytes(dir: &Path) -> Outcome<f64> {
    fn size(dir: &Path) -> std::io::Result<u64> {
        fs::read_dir(dir)?.try_fold(0, |sum, entry| {
            let entry = entry?;
            let metadata = entry.metadata()?;
            Ok(sum + if metadata.is_dir() { size(&entry.path())? } else { metadata.len() })
        })
    }
    Ok(size(dir)? as f64 / 1e6)
}

fn rate(count: u64, block_bytes: usize, time: Duration) -> f64 {
    (count * block_bytes as u64) as f64 / 1e6 / time.as_secs_f64()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
