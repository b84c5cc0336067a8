//! `verify`: blocks are hashed again, and damaged ones fetched again.

use std::{fmt::Write as _, path::Path, time::Duration};

use ggen_marketplace::{ErrorKind, Failure, Mode, VerifyReport, VerifyRequest};

use super::seconds;
use crate::{context::Context, control::Call, error, ui::text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p verify --repair\n  ggen marketplace p2p verify acme/http@1.2.0"
)]
pub(crate) struct Args {
    /// CID, ns/name, ns/name@REQ or <publisher>/ns/name[@REQ]; without one the whole store is checked
    #[arg(add = super::completions::packages())]
    target: Option<String>,
    /// Drop what is damaged, and fetch it and what is missing again
    #[arg(long)]
    repair: bool,
    /// Seconds without anything new after which to give a repair up
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds, requires = "repair")]
    timeout: Duration,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    refuse_file(args.target.as_deref())?;
    let request = VerifyRequest { target: args.target.clone(), repair: args.repair, timeout: args.timeout };
    let mode = if args.repair { Mode::Ephemeral } else { Mode::Offline };
    let report: VerifyReport = context.perform(mode, Call::Verify(request)).await?;
    context.ui.answer(&report, render)?;
    match report.bad.len() as u64 {
        0 => Ok(()),
        bad => Err(still_bad(bad, args.repair)),
    }
}

/// A file is a CAR or a proof, which this version cannot make or read.
fn refuse_file(target: Option<&str>) -> Result<(), Failure> {
    let Some(target) = target.filter(|target| Path::new(target).is_file()) else { return Ok(()) };
    Err(error::usage(format!("`{target}` is a file: CAR files, proofs and bundles cannot be verified by this version"))
        .hinted("name a CID or a package; without a target the whole store is verified"))
}

fn still_bad(bad: u64, repair: bool) -> Failure {
    let message = format!("{} damaged or missing", text::count(bad, "block"));
    let failure = Failure::new(ErrorKind::Verification, message);
    failure.hinted(match repair {
        false => "`ggen marketplace p2p verify --repair` fetches them again",
        true => "no peer had them: connect to one that does with `ggen marketplace p2p bootstrap ADDRESS`, then repair again",
    })
}

fn render(report: &VerifyReport) -> String {
    let mut out = String::new();
    for bad in &report.bad {
        writeln!(out, "{}  {}", bad.cid, text::one_line(&bad.reason)).expect("a string takes everything");
    }
    let (checked, bad) = (text::count(report.checked_blocks, "block"), report.bad.len());
    out + &format!("checked {checked}: {bad} bad, {} repaired\n", report.repaired)
}
