//! `doctor`: reports stage by stage what works and what does not.

use std::{fmt::Write as _, time::Duration};

use ggen_marketplace::{Diagnosis, DoctorRequest, ErrorKind, Failure, Hint, Mode, Stage};

use super::seconds;
use crate::{context::Context, control::Call, error};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p doctor\n  ggen marketplace p2p doctor acme/http\n\nExit code: 0 \
                        if no stage failed, otherwise that of the first one that did (3 verification, 4 not found, 5 timed \
                        out, else 1)."
)]
pub(crate) struct Args {
    /// Target to diagnose: a CID, /ipfs/..., ns/name[@REQ] or <publisher>/ns/name[@REQ]
    #[arg(add = super::completions::packages())]
    target: Option<String>,
    /// Wait at most SECS for the network at each stage
    #[arg(long, value_name = "SECS", default_value = "15", value_parser = seconds)]
    timeout: Duration,
}

/// Prints the diagnosis, and returns the kind of the first fault, if there is one.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<Option<ErrorKind>, Failure> {
    let request = DoctorRequest { target: args.target.clone(), timeout: args.timeout };
    let has_home = context.home.path().exists();
    let diagnosed: Result<(Diagnosis, bool), Failure> =
        context.perform_where(Mode::Ephemeral, Call::Doctor(request)).await;
    let mut diagnosis = match diagnosed {
        Ok((diagnosis, true)) => diagnosis,
        Ok((mut diagnosis, false)) => {
            hints(&mut diagnosis).for_each(error::start_instead_of_bootstrap);
            if let Some(store) = diagnosis.stages.first_mut().filter(|_| !has_home) {
                *store = Stage::unknown("store", "there is no home yet: the first command that writes makes it");
            }
            diagnosis
        }
        // An invalid request or configuration, or a signal, is not a finding of the diagnosis.
        Err(failure) if matches!(failure.kind, ErrorKind::Usage | ErrorKind::Interrupted) => return Err(failure),
        Err(failure) => without_registry(failure),
    };
    hints(&mut diagnosis).for_each(|hint| *hint = error::with_commands(hint).into());
    context.ui.answer(&diagnosis, render)?;
    let looked_at_target = diagnosis.stages.iter().any(|stage| stage.name == "name");
    if args.target.is_some() && !looked_at_target {
        context.ui.note("target not checked: fix the problems above first");
    }
    Ok(diagnosis.fault().map(|stage| stage.kind.unwrap_or(ErrorKind::Failed)))
}

fn hints(diagnosis: &mut Diagnosis) -> impl Iterator<Item = &mut Hint> {
    diagnosis.stages.iter_mut().filter_map(|stage| stage.hint.as_mut())
}

/// The diagnosis of a home that cannot be opened.
fn without_registry(failure: Failure) -> Diagnosis {
    let stage = Stage::failed("store", failure.kind, failure.in_one_line());
    Diagnosis { stages: vec![Stage { hint: failure.hint, ..stage }] }
}

fn render(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    for Stage { name, ok, detail, hint, .. } in &diagnosis.stages {
        let mark = match ok {
            Some(true) => "ok",
            Some(false) => "FAILED",
            None => "unknown",
        };
        writeln!(out, "{name:<13} {mark:<7} {detail}").expect("a string takes everything");
        if let Some(hint) = hint {
            writeln!(out, "{:<21} hint: {hint}", "").expect("a string takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_stands_out_and_its_hint_below_it() {
        let stages = vec![
            Stage::fine("store", "2 blocks"),
            Stage::unknown("reachability", "no visits"),
            Stage::failed("dht", ErrorKind::Failed, "empty").hinted("do `x`"),
        ];
        let text = render(&Diagnosis { stages });
        assert_eq!(
            text,
            "store         ok      2 blocks\nreachability  unknown no visits\ndht           FAILED  empty\n                      \
             hint: do `x`\n"
        );
    }
}
