//! Many small packages, published and fetched one after the other: what a command costs beside its bytes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run::Plan;
use crate::system::{Kind, System};
use crate::table::{Place, Table};
use crate::workload::Package;
use crate::{crates, files};

/// Number of packages, unless told otherwise.
pub(crate) const PACKAGES: usize = 200;

/// Runs all rounds: the smallest crates of cargo's registry, each a package with its own name.
pub(crate) fn measure(count: usize, systems: &[System], plan: &Plan, table: &mut Table) -> Result<()> {
    let label = format!("{}{count} small packages", plan.prefix);
    let directory = plan.directories.iter().find(|directory| directory.place == Place::Main);
    let directory = directory.context("there is a main directory")?;
    let gathered = crates::gather_described(count);
    let template = directory.path.join("packages");
    for package in &gathered.packages {
        crates::copy_tree(&package.path, &template.join(&package.name));
    }
    let names: Vec<String> = gathered.packages.iter().map(|package| package.name.clone()).collect();
    let mut order: Vec<&System> = systems.iter().filter(|system| handles(system.kind)).collect();
    for round in 0..directory.rounds {
        let line = format!("// {}", files::nonce());
        for name in &names {
            files::append(&template.join(name).join("round.txt"), &line)?;
        }
        for system in &order {
            let at = directory.path.join(&system.name);
            let Took { publish, fetch, dht_walks } = run(system, &template, &names, &at, plan)
                .with_context(|| format!("{} failed on {label}", system.name))?;
            files::remove(&at)?;
            let each = |time: Duration| time.as_secs_f64() * 1e3 / count as f64;
            if let Some(publish) = publish {
                table.add(&label, "publish each, ms", &system.name, Place::Main, each(publish));
            }
            table.add(&label, "fetch each, ms", &system.name, Place::Main, each(fetch));
            if let Some(walks) = dht_walks {
                table.add(&label, "DHT walks, in all", &system.name, Place::Main, walks as f64);
            }
            eprintln!("round {}: {label}: {}: fetch {:.1} ms each", round + 1, system.name, each(fetch));
        }
        order.rotate_left(1);
    }
    files::remove(&template)
}

fn handles(kind: Kind) -> bool {
    matches!(kind, Kind::Ggen | Kind::Kubo | Kind::Iroh | Kind::CurlGz)
}

/// What all packages took together.
struct Took {
    publish: Option<Duration>,
    fetch: Duration,
    /// Questions to the DHT for the fetches, where the system counts them.
    dht_walks: Option<u64>,
}

/// Publishes and fetches the packages one after the other; returns the sums of the commands' times.
fn run(system: &System, template: &Path, names: &[String], at: &Path, plan: &Plan) -> Result<Took> {
    files::make(at)?;
    let mut pair = system.start(at, &plan.hosts)?;
    let walks_before = pair.dht_walks()?;
    let (mut publishing, mut fetching) = (None, Duration::ZERO);
    for (number, name) in names.iter().enumerate() {
        let path = template.join(name);
        let package = Package { path: path.clone(), label: String::new(), single_file: None, bytes: 0 };
        let published = pair.publish(&package)?;
        if let Some(time) = published.time {
            *publishing.get_or_insert(Duration::ZERO) += time;
        }
        let out = at.join(format!("out-{number}"));
        fetching += pair.fetch(&published.id, &out)?.context("every one of these systems fetches")?;
        files::ensure_same(&path, &out)?;
    }
    let dht_walks = pair.dht_walks()?.zip(walks_before).map(|(after, before)| after - before);
    Ok(Took { publish: publishing, fetch: fetching, dht_walks })
}
