//! Two Kubo nodes with the profile whose CIDs are ours, connected and without a DHT to search.
//!
//! `ipfs get` walks a tree block by block, and Bitswap's client of boxo collects wants for 20 ms before it sends them:
//! some fifty blocks a second whatever the link. `ipfs pin add` asks for many blocks at once, so that pinning first and
//! writing the tree out of the store then is the fastest way that Kubo has. Both ways are measured.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Pair, Published, Start};
use crate::command::timed;
use crate::host::Host;
use crate::kubo::{Kubo, Options};
use crate::workload::Package;

/// Longer than anything takes that is measured here.
const TIMEOUT: &str = "1h";

pub(super) struct Starter {
    pub(super) way: Way,
}

/// The commands that fetch.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// `ipfs get`, what a user types.
    Get,
    /// `ipfs pin add`, then `ipfs get` from the local store.
    PinThenGet,
}

impl Start for Starter {
    fn version(&self) -> Result<String> {
        Ok(Kubo::version())
    }

    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        let (publisher, fetcher) = (start(directory, &hosts[0]), start(directory, &hosts[1]));
        fetcher.swarm_connect(publisher.tcp_addr());
        Ok(Box::new(Nodes { publisher, fetcher, way: self.way }))
    }
}

struct Nodes {
    publisher: Kubo,
    fetcher: Kubo,
    way: Way,
}

impl Pair for Nodes {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let (cid, time) = add(&self.publisher, &package.path)?;
        // Pinning before getting changes nothing about adding.
        let time = matches!(self.way, Way::Get).then_some(time);
        Ok(Published { id: cid.clone(), cid: Some(cid), time })
    }

    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>> {
        let pinning = match self.way {
            Way::Get => Duration::ZERO,
            Way::PinThenGet => {
                timed(&mut self.fetcher.command_within(TIMEOUT, &["pin", "add", "--progress=false", id]))?.1
            }
        };
        Ok(Some(pinning + get(&self.fetcher, id, out)?))
    }
}

/// Starts a Kubo on a host, with its repository in `directory`.
pub(super) fn start(directory: &Path, host: &Host) -> Kubo {
    Kubo::start(&Options {
        directory: Some(directory.to_owned()),
        address: host.address,
        prefix: host.prefix(),
        ..Options::default()
    })
}

/// Adds a directory; returns its CID and the time of the command.
pub(crate) fn add(kubo: &Kubo, path: &Path) -> Result<(String, Duration)> {
    let args = ["add", "--recursive", "--hidden", "--quieter"].map(OsStr::new);
    let (stdout, time) = timed(kubo.command_within(TIMEOUT, &args).arg(path))?;
    Ok((stdout.trim().to_owned(), time))
}

/// Fetches and writes out; returns the time of the command.
pub(crate) fn get(kubo: &Kubo, cid: &str, out: &Path) -> Result<Duration> {
    Ok(timed(kubo.command_within(TIMEOUT, &["get", "--progress=false", cid, "--output"]).arg(out))?.1)
}
