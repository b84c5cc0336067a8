//! What crosses a network with a round-trip time and a rate: the tree, updates of real crates, several providers.

use std::time::Duration;

use anyhow::Result;

use crate::run::{self, Directory, Plan};
use crate::system::System;
use crate::table::{Place, Table};
use crate::workload::Workload;

pub(crate) mod network;
pub(crate) mod providers;
pub(crate) mod updates;

use self::network::Network;

/// What stands before the label of everything here.
pub(crate) const PREFIX: &str = "over a WAN: ";

/// The network to measure over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) round_trip: Duration,
    pub(crate) mbit: f64,
}

/// Measures a tree between two hosts, beside what the rate and the round-trip time allow.
pub(crate) fn tree(
    workload: &Workload,
    systems: &[System],
    link: Link,
    directory: &Directory,
    slow_rounds: u32,
    table: &mut Table,
) -> Result<()> {
    let network = Network::start(link.round_trip, &[link.mbit, link.mbit])?;
    let hosts = [network.hosts[0].clone(), network.hosts[1].clone()];
    let directories = vec![Directory { place: Place::Main, ..directory.clone() }];
    let plan = Plan { directories, hosts, slow_rounds: Some(slow_rounds), prefix: PREFIX };
    let package = run::measure(workload, systems, &plan, table)?;
    let least = package.bytes as f64 / (link.mbit * 1e6 / 8.0) + 6.0 * link.round_trip.as_secs_f64();
    table.add(&format!("{PREFIX}{}", package.label), "fetch, s", "raw / rate + 6 RTT", Place::Main, least);
    Ok(())
}
