//! The rounds of one workload: every system on the same bytes, in turning order, and what they took.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::files;
use crate::host::Host;
use crate::system::{Kind, System};
use crate::table::{Place, Table};
use crate::workload::{Package, Workload};

/// Where, how often and between which hosts to measure.
pub(crate) struct Plan {
    pub(crate) directories: Vec<Directory>,
    /// The one that publishes and the one that fetches.
    pub(crate) hosts: [Host; 2],
    /// Most rounds of what takes minutes, if anything does: Kubo over a long way.
    pub(crate) slow_rounds: Option<u32>,
    /// What stands before a workload's label.
    pub(crate) prefix: &'static str,
}

/// Where stores and files lie.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) place: Place,
    pub(crate) rounds: u32,
}

impl Plan {
    fn most_rounds(&self) -> u32 {
        self.directories.iter().map(|directory| directory.rounds).max().unwrap_or(0)
    }

    fn runs(&self, kind: Kind, round: u32) -> bool {
        let slow = matches!(kind, Kind::Kubo | Kind::KuboPin | Kind::GgenToKubo);
        !slow || self.slow_rounds.is_none_or(|most| round < most)
    }
}

/// What one system took for one package.
struct Sample {
    cid: Option<String>,
    steps: Vec<(&'static str, Duration)>,
}

/// Runs all rounds and adds what they took to the table; returns the package of the last one, whose directory is gone.
pub(crate) fn measure(workload: &Workload, systems: &[System], plan: &Plan, table: &mut Table) -> Result<Package> {
    let template_at = plan.directories[0].path.join("template");
    let template = workload.template(&template_at)?;
    let label = format!("{}{}", plan.prefix, template.label);
    let mut order: Vec<&System> = systems.iter().filter(|system| system.kind.handles(workload)).collect();
    for round in 0..plan.most_rounds() {
        workload.renew(&template)?;
        let change = format!("// {}\n", files::nonce());
        for directory in plan.directories.iter().filter(|directory| round < directory.rounds) {
            let mut cids = BTreeSet::new();
            for system in order.iter().filter(|system| plan.runs(system.kind, round)) {
                let at = directory.path.join(format!("{}-{}", system.name, round));
                let sample = run(system, workload, &template, &change, &at, plan)
                    .with_context(|| format!("{} failed on {}", system.name, template.label))?;
                // On a disk, deleting a tree slows down what is created after it; all goes at the end.
                if directory.place == Place::Main {
                    files::remove(&at)?;
                }
                cids.extend(sample.cid);
                let mut words = Vec::new();
                for (step, time) in &sample.steps {
                    table.add(&label, &format!("{step}, s"), &system.name, directory.place, time.as_secs_f64());
                    words.push(format!("{step} {:.3} s", time.as_secs_f64()));
                }
                eprintln!("round {}: {label}: {}: {}", round + 1, system.name, words.join(", "));
            }
            ensure!(cids.len() <= 1, "the systems made different CIDs of one package: {cids:?}");
        }
        order.rotate_left(1);
    }
    files::remove(&template_at)?;
    Ok(template)
}

/// Runs one system on one package with empty stores, and checks what it fetched.
fn run(
    system: &System,
    workload: &Workload,
    template: &Package,
    change: &str,
    at: &Path,
    plan: &Plan,
) -> Result<Sample> {
    files::make(at)?;
    let (out, next_out) = (at.join("out"), at.join("next"));
    let mut package = template.clone();
    if workload.has_next() {
        // What is edited is this system's own copy, at one place, with the times of its files.
        package.path = at.join("package");
        files::copy(&template.path, &package.path)?;
    }
    let mut pair = system.start(at, &plan.hosts)?;
    let mut published = pair.publish(&package)?;
    let mut fetched = pair.fetch(&published.id, &out)?;
    let mut result = &out;
    if workload.has_next() {
        workload.advance(&package.path, change)?;
        published = pair.publish(&package)?;
        result = if pair.updates_in_place() { &out } else { &next_out };
        fetched = pair.fetch(&published.id, result)?;
    }
    if fetched.is_some() && pair.keeps() {
        match &package.single_file {
            Some(file) if pair.files_alone() => {
                files::ensure_same_file(file, &result.join(crate::workload::SINGLE_FILE))?;
            }
            _ => files::ensure_same(&package.path, result)?,
        }
    }
    drop(pair);
    let steps = [published.time.map(|time| ("publish", time)), fetched.map(|time| ("fetch", time))];
    Ok(Sample { cid: published.cid, steps: steps.into_iter().flatten().collect() })
}
