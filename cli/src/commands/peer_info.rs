//! `peer-info`: shows the record of one peer.

use std::fmt::Write as _;

use ggen_marketplace::{Failure, Mode, PeerEvent, PeerInfoRequest, PeerReport};

use super::peer_list::{latency, state};
use crate::{context::Context, control::Call, ui::text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen marketplace p2p peer-info QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ --full"
)]
pub(crate) struct Args {
    /// Peer id, or an address that ends with it
    #[arg(add = super::completions::peers())]
    peer: String,
    /// Also show the history of the peer
    #[arg(long)]
    full: bool,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let request = PeerInfoRequest { peer: args.peer.clone(), full: args.full };
    let peer: PeerReport = context.perform(Mode::Offline, Call::PeerInfo(request)).await?;
    context.ui.answer(&peer, render)
}

fn render(peer: &PeerReport) -> String {
    let mut rows = vec![("peer id", peer.peer_id.clone()), ("state", state(peer).to_owned())];
    rows.extend(peer.listed.iter().map(|listed| ("you have it", listed.clone())));
    rows.extend(peer.agent.iter().map(|agent| ("program", text::one_line(agent))));
    rows.extend(peer.addresses.iter().map(|address| ("address", text::one_line(address))));
    let (successful, failed) = (peer.successful_retrievals, peer.failed_retrievals);
    rows.extend([
        ("reputation", format!("{:.2} ({successful} retrievals succeeded, {failed} failed)", peer.reputation)),
        ("provides", text::count(peer.packages_provided, "package")),
        ("last seen", peer.last_seen.clone().unwrap_or_else(|| "never".to_owned())),
        ("latency", latency(peer)),
        ("sent to it", text::bytes(peer.bytes_sent)),
        ("received", text::bytes(peer.bytes_received)),
    ]);
    let mut out: String = rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
    if let Some(history) = &peer.history {
        out += if history.is_empty() { "history      nothing yet\n" } else { "history\n" };
        history.iter().for_each(|event| out += &line(event));
    }
    out
}

fn line(event: &PeerEvent) -> String {
    let mut line = format!("  {}  {:<14}", event.time, event.event);
    if let Some(package) = &event.package {
        write!(line, "  {}", text::one_line(package)).expect("a string takes everything");
    }
    if event.bytes > 0 {
        write!(line, "  {}", text::bytes(event.bytes)).expect("a string takes everything");
    }
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::peer_list::tests::alice;

    #[test]
    fn history_is_shown_line_by_line() {
        let event = |event: &str, package: Option<&str>, bytes| PeerEvent {
            time: "2026-01-02T03:04:05Z".to_owned(),
            event: event.to_owned(),
            package: package.map(str::to_owned),
            bytes,
        };
        let history = vec![event("retrieved", Some("acme/http"), 2000), event("stalled", None, 0)];
        let text = render(&PeerReport { history: Some(history), ..alice() });
        assert!(text.contains("reputation   0.75 (3 retrievals succeeded, 1 failed)\n"), "{text}");
        let expected =
            "history\n  2026-01-02T03:04:05Z  retrieved       acme/http  2.00 kB\n  2026-01-02T03:04:05Z  stalled\n";
        assert!(text.ends_with(expected), "{text}");
        assert!(!render(&alice()).contains("history"));
    }
}
