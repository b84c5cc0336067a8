//! Two Kubo nodes with the profile whose CIDs are ours, connected and without a DHT to search.
//!
//! `ipfs get` walks a tree block by block, and Bitswap's client of boxo collects wants for 20 ms before it sends them:
//! some fifty blocks a second whatever the link. `ipfs pin add` asks for many blocks at once, so that pinning first and
//! writing the tree out of the store then is the fastest way that Kubo has. Both ways are measured.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Pair, Start, timed};
use crate::kubo::{Kubo, Options};

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

    fn start(&self, directory: &Path) -> Result<Box<dyn Pair>> {
        let options = Options { directory: Some(directory.to_owned()), ..Options::default() };
        let (publisher, fetcher) = (Kubo::start(&options), Kubo::start(&options));
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
    fn publish(&mut self, path: &Path) -> Result<(String, Duration)> {
        let args = ["add", "--recursive", "--hidden", "--quieter"].map(OsStr::new);
        let (stdout, time) = timed(self.publisher.command(&args).arg(path))?;
        Ok((stdout.trim().to_owned(), time))
    }

    fn fetch(&mut self, cid: &str, out: &Path) -> Result<Duration> {
        let pinning = match self.way {
            Way::Get => Duration::ZERO,
            Way::PinThenGet => timed(&mut self.fetcher.command(&["pin", "add", "--progress=false", cid]))?.1,
        };
        let (_, getting) = timed(self.fetcher.command(&["get", "--progress=false", cid, "--output"]).arg(out))?;
        Ok(pinning + getting)
    }
}
