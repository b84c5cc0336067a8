//! `verify`: hashes stored blocks again, and fetches damaged ones again.

use std::{fmt::Write as _, path::Path, time::Duration};

use ggen_marketplace::{
    ErrorKind, Failure, Hint, Mode, Operation, StoreDamage, UnpinnedRelease, VerifyReport, VerifyRequest,
};

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
    /// Delete damaged blocks, and fetch them and missing ones from peers
    #[arg(long)]
    repair: bool,
    /// Give up the repair after SECS without progress
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds, requires = "repair")]
    timeout: Duration,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    refuse_file(args.target.as_deref())?;
    let request = VerifyRequest { target: args.target.clone(), repair: args.repair, timeout: args.timeout };
    let mode = if args.repair { Mode::Ephemeral } else { Mode::Offline };
    let (report, by_node): (VerifyReport, bool) = context.perform_where(mode, Call::Verify(request)).await?;
    context.ui.answer(&report, render)?;
    let bad = report.bad.len() as u64;
    // After a repair these two findings are resolved.
    let (damage, pins) = match args.repair {
        true => (0, 0),
        false => (report.damage.len() as u64, report.lost_pins.len() as u64),
    };
    let unknown_pins = report.lost_records && !args.repair;
    match bad + damage + pins == 0 && !unknown_pins {
        true => Ok(()),
        false => {
            let mut failure = still_bad(bad, damage, pins, unknown_pins, args.repair);
            failure.hint.iter_mut().filter(|_| !by_node).for_each(error::start_instead_of_bootstrap);
            Err(failure)
        }
    }
}

/// Refuses a file: it may be a CAR or a proof, which this version cannot verify.
fn refuse_file(target: Option<&str>) -> Result<(), Failure> {
    let Some(target) = target.filter(|target| Path::new(target).is_file()) else { return Ok(()) };
    Err(error::usage(format!("`{target}` is a file: CAR files, proofs and bundles cannot be verified by this version"))
        .hinted("name a CID or a package; without a target the whole store is verified"))
}

fn still_bad(bad: u64, damage: u64, pins: u64, unknown_pins: bool, repair: bool) -> Failure {
    let mut wrong = Vec::new();
    if bad > 0 {
        wrong.push(format!("{} damaged or missing", text::count(bad, "block")));
    }
    if damage > 0 {
        wrong.push(format!("{} in the files of the store damaged", text::count(damage, "record")));
    }
    if pins > 0 {
        wrong.push(format!("{} lost", text::count(pins, "pin")));
    }
    if unknown_pins {
        wrong.push("records of the store lost, pins of yours perhaps among them".to_owned());
    }
    let failure = Failure::new(ErrorKind::Verification, wrong.join(", "));
    failure.hinted(match repair {
        false => "`ggen marketplace p2p verify --repair` fetches blocks again, and puts pins and files in order".into(),
        true => Hint::from("no connected peer has them: connect to one that does with ").and(Operation::Bootstrap.on("ADDRESS")).and(
            ", then repair again. A release of yours is whole again when the same files are published again, and `gc` waits for \
             none of them any more",
        ),
    })
}

fn render(report: &VerifyReport) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
    for bad in &report.bad {
        line(format!("{}  {}", bad.cid, text::one_line(&bad.reason)));
    }
    for StoreDamage { file, offset, bytes, lost } in &report.damage {
        let what = match lost {
            true => "cannot be read: a block, a pin or a deletion is lost",
            false => "one bit is wrong, nothing is lost",
        };
        line(format!("store/{file}  {bytes} bytes from byte {offset}: {what}"));
    }
    for pin in &report.lost_pins {
        line(format!("{}  its pin `{}` is lost", pin.cid, text::one_line(&pin.label)));
    }
    for pin in &report.incomplete {
        line(format!("{}  not all of it is here, and it is pinned as `{}`", pin.cid, text::one_line(&pin.label)));
    }
    for UnpinnedRelease { cid, name, publisher } in &report.unpinned {
        line(format!("{cid}  no pin keeps {} of {publisher}, which is all here", text::one_line(name)));
    }
    if report.lost_records {
        line(
            "records of the store are lost: compare `pin ls` with what you had pinned, and pin again what is missing"
                .to_owned(),
        );
    }
    let (checked, bad) = (text::count(report.checked_blocks, "block"), report.bad.len());
    out + &format!("checked {checked}: {bad} bad, {} repaired\n", report.repaired)
}
