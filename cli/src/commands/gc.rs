//! `gc`: deletes unpinned blocks from the store.

use ggen_marketplace::{Failure, GcReport, GcRequest, Mode};

use crate::{context::Context, control::Call, ui::text};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen marketplace p2p gc --dry-run")]
pub(crate) struct Args {
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let call = Call::Gc(GcRequest { dry_run: args.dry_run });
    let report: GcReport = context.perform(Mode::Offline, call).await?;
    context.ui.answer(&report, render)
}

fn render(report: &GcReport) -> String {
    let verb = if report.dry_run { "would remove" } else { "removed" };
    format!("{verb} {}, {}\n", text::count(report.removed_blocks, "block"), text::bytes(report.freed_bytes))
}
