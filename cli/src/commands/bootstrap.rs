//! `bootstrap`: connects the running node to bootstrap nodes.

use std::{fmt::Write as _, time::Duration};

use ggen_marketplace::{BootstrapReport, BootstrapRequest, ErrorKind, Failure};

use super::seconds;
use crate::{
    context::{Context, within},
    control::Call,
    error,
    ui::text,
};

/// How much longer than the request's timeout the daemon may take to answer.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen marketplace p2p bootstrap /dnsaddr/bootstrap.libp2p.io --timeout 60")]
pub(crate) struct Args {
    /// Addresses of nodes, with /p2p/<peer id> or as /dnsaddr/<name>
    #[arg(required = true)]
    nodes: Vec<String>,
    /// Give up after SECS
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let request = BootstrapRequest { nodes: args.nodes.clone(), timeout: args.timeout };
    // An invalid address is reported whether or not a node runs.
    request.addresses()?;
    let mut daemon = context.running_daemon().await?;
    let call = Call::Bootstrap(request);
    let bar = context.ui.bar();
    let mut report: BootstrapReport = bar.during(within(args.timeout + MARGIN, daemon.call(&call, &*bar))).await?;
    if report.connected.is_empty() {
        return Err(unreachable(&report));
    }
    for hint in report.failed.iter_mut().filter_map(|failed| failed.hint.as_mut()) {
        *hint = error::with_commands(hint).into();
    }
    context.ui.answer(&report, render)
}

fn unreachable(report: &BootstrapReport) -> Failure {
    let causes = report.failed.iter().map(|failed| format!("`{}`: {}", failed.address, failed.reason)).collect();
    let kind = match report.failed.iter().all(|failed| failed.kind == ErrorKind::TimedOut) {
        true => ErrorKind::TimedOut,
        false => ErrorKind::Failed,
    };
    let hint = report
        .failed
        .iter()
        .find_map(|failed| failed.hint.clone())
        .unwrap_or_else(|| "check that the addresses end with `/p2p/<peer id>` and that the nodes run".into());
    Failure { causes, ..Failure::new(kind, "none of the nodes could be reached") }.hinted(hint)
}

fn render(report: &BootstrapReport) -> String {
    let mut out = String::new();
    for failed in &report.failed {
        writeln!(out, "failed {}: {}", failed.address, failed.reason).expect("a string takes everything");
    }
    let connected = text::count(report.connected.len() as u64, "peer");
    let known = text::count(report.routing_table_peers as u64, "peer");
    out + &format!("connected to {connected}, {known} in the routing table\n")
}
