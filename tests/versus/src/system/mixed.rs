//! One Kubo and one ggen: each fetches what the other has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::ggen::{Node, Program, text};
use super::{Pair, Published, Start, kubo};
use crate::command::{output_of, timed};
use crate::host::Host;
use crate::kubo::Kubo;
use crate::workload::Package;

/// Kubo has the blocks, ggen fetches them: the content by its CID, or a release with its block manifest.
pub(super) struct FromKubo {
    pub(super) program: Program,
    pub(super) release: bool,
}

/// ggen publishes, Kubo gets.
pub(super) struct ToKubo {
    pub(super) program: Program,
}

impl Start for FromKubo {
    fn version(&self) -> Result<String> {
        let what = if self.release { "a release whose blocks Kubo pinned, by its CID" } else { "content by its CID" };
        Ok(format!("Kubo {}, {what}", Kubo::version()))
    }

    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        let publisher = kubo::start(directory, &hosts[0]);
        let fetcher = Node::start(&self.program, directory.join("fetcher"), &hosts[1])?;
        fetcher.meet(publisher.tcp_addr())?;
        let signer = self.release.then(|| (self.program.clone(), directory.join("signer"), hosts[0].clone()));
        Ok(Box::new(KuboThenGgen { publisher, fetcher, signer }))
    }
}

impl Start for ToKubo {
    fn version(&self) -> Result<String> {
        Ok(format!("Kubo {}", Kubo::version()))
    }

    fn start(&self, directory: &Path, hosts: &[Host; 2]) -> Result<Box<dyn Pair>> {
        let publisher = Node::start(&self.program, directory.join("publisher"), &hosts[0])?;
        let fetcher = kubo::start(directory, &hosts[1]);
        fetcher.swarm_connect(&publisher.address);
        Ok(Box::new(GgenThenKubo { publisher, fetcher }))
    }
}

struct KuboThenGgen {
    publisher: Kubo,
    fetcher: Node,
    /// What makes the release that Kubo then holds: it is gone before anything is fetched.
    signer: Option<(Program, PathBuf, Host)>,
}

impl Pair for KuboThenGgen {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let (cid, _) = kubo::add(&self.publisher, &package.path)?;
        let id = match &self.signer {
            None => cid.clone(),
            Some((program, home, host)) => {
                let signer = Node::start(program, home.clone(), host)?;
                let (answer, _) = signer.publish(&package.path)?;
                let release = text(&answer["release"], "release")?;
                self.publisher.swarm_connect(&signer.address);
                // The content is there; with the release come its record and the block manifest.
                output_of(&mut self.publisher.command(&["pin", "add", "--progress=false", &release]))
                    .context("Kubo cannot pin the release")?;
                release
            }
        };
        Ok(Published { id, cid: Some(cid), time: None })
    }

    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>> {
        let mut command = self.fetcher.fetch(id, out);
        Ok(Some(timed(command.args(["--provider", self.publisher.tcp_addr()]))?.1))
    }
}

struct GgenThenKubo {
    publisher: Node,
    fetcher: Kubo,
}

impl Pair for GgenThenKubo {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let (answer, _) = self.publisher.publish(&package.path)?;
        let cid = text(&answer["cid"], "cid")?;
        Ok(Published { id: cid.clone(), cid: Some(cid), time: None })
    }

    fn fetch(&mut self, id: &str, out: &Path) -> Result<Option<Duration>> {
        kubo::get(&self.fetcher, id, out).map(Some)
    }
}
