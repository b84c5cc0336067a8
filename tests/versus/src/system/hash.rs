//! What publishing a file cannot do without, done one after the other by the tools of the system: hashing it, copying
//! it, and writing the copy through to the disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Pair, Published, Start};
use crate::command::{output_of, timed};
use crate::host::Host;
use crate::workload::Package;

pub(super) struct Starter;

impl Start for Starter {
    fn version(&self) -> Result<String> {
        Ok(output_of(Command::new("openssl").arg("version"))?.trim().to_owned())
    }

    fn start(&self, directory: &Path, _: &[Host; 2]) -> Result<Box<dyn Pair>> {
        Ok(Box::new(Tools { copy: directory.join("copy") }))
    }
}

struct Tools {
    copy: PathBuf,
}

impl Pair for Tools {
    fn publish(&mut self, package: &Package) -> Result<Published> {
        let file = package.single_file.as_ref().context("only a file is hashed")?;
        let (_, hashing) = timed(Command::new("openssl").args(["dgst", "-sha256"]).arg(file))?;
        let mut copy = Command::new("dd");
        copy.args(["bs=1M", "conv=fsync", "status=none"]);
        copy.arg(format!("if={}", file.display())).arg(format!("of={}", self.copy.display()));
        let (_, copying) = timed(&mut copy)?;
        Ok(Published { id: String::new(), cid: None, time: Some(hashing + copying) })
    }

    fn fetch(&mut self, _: &str, _: &Path) -> Result<Option<Duration>> {
        Ok(None)
    }
}
