//! The rounds of one workload: every system on the same package, in turning order, and what they took.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::system::System;
use crate::workload::{Package, Workload};

/// One line of the table: the times of every system, in their order, for one step of one workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) step: &'static str,
    pub(crate) times: Vec<Vec<Duration>>,
}

/// What one system took for one package.
struct Sample {
    cid: String,
    publish: Duration,
    fetch: Duration,
}

/// Runs all rounds; returns a row for publishing, one for fetching and one for both together.
pub(crate) fn measure(workload: &Workload, systems: &[System], rounds: u32, work: &Path) -> Result<Vec<Row>> {
    let mut samples: Vec<Vec<Sample>> = systems.iter().map(|_| Vec::new()).collect();
    let mut package = workload.create(&work.join("package"))?;
    for round in 0..rounds as usize {
        if round > 0 && workload.changes_every_round() {
            remove(&package.path)?;
            package = workload.create(&work.join("package"))?;
        }
        for turn in 0..systems.len() {
            let index = (turn + round) % systems.len();
            let system = &systems[index];
            let sample = run(system, &package, &work.join("run"))
                .with_context(|| format!("{} failed on {}", system.name, package.label))?;
            eprintln!(
                "round {}: {}: {} published in {:.3} s, fetched in {:.3} s",
                round + 1,
                package.label,
                system.name,
                sample.publish.as_secs_f64(),
                sample.fetch.as_secs_f64()
            );
            samples[index].push(sample);
        }
        let cids: BTreeSet<&str> =
            samples.iter().filter_map(|of_one| of_one.last()).map(|sample| sample.cid.as_str()).collect();
        ensure!(cids.len() == 1, "the systems made different CIDs of one package: {cids:?}");
    }
    remove(&package.path)?;
    let row = |step, time: fn(&Sample) -> Duration| Row {
        workload: package.label.clone(),
        step,
        times: samples.iter().map(|of_one| of_one.iter().map(time).collect()).collect(),
    };
    Ok(vec![
        row("publish", |sample| sample.publish),
        row("fetch", |sample| sample.fetch),
        row("both", |sample| sample.publish + sample.fetch),
    ])
}

/// Runs one system on one package with empty stores, and checks what it fetched.
fn run(system: &System, package: &Package, directory: &Path) -> Result<Sample> {
    fs::create_dir(directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
    let out = directory.join("out");
    let mut pair = system.start(directory)?;
    let (cid, publish) = pair.publish(&package.path)?;
    let fetch = pair.fetch(&cid, &out)?;
    drop(pair);
    ensure_same(&package.path, &out)?;
    remove(directory)?;
    Ok(Sample { cid, publish, fetch })
}

/// Fails unless two trees hold the same files with the same bytes.
fn ensure_same(published: &Path, fetched: &Path) -> Result<()> {
    let (left, right) = (relative_files(published)?, relative_files(fetched)?);
    ensure!(left == right, "the fetched tree has other files than the published one");
    for file in left {
        let read =
            |root: &Path| fs::read(root.join(&file)).with_context(|| format!("cannot read `{}`", file.display()));
        ensure!(read(published)? == read(fetched)?, "`{}` was fetched with other bytes", file.display());
    }
    Ok(())
}

fn relative_files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list `{}`", directory.display()))?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(root).expect("it lies below the root").to_owned());
            }
        }
    }
    Ok(files)
}

fn remove(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove `{}`", directory.display()))
}
