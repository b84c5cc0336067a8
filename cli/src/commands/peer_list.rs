//! `peer-list`: lists connected or known peers.

use std::fmt::Write as _;

use ggen_marketplace::{Failure, Mode, PeerListRequest, PeerReport};

use super::search::reputation;
use crate::{context::Context, control::Call, ui::text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --verbose each peer's addresses, program, packages and traffic are shown too.\n\nExample:\n  ggen marketplace p2p peer-list --min-reputation 0.7"
)]
pub(crate) struct Args {
    /// Only peers of at least this reputation (0 to 1)
    #[arg(long, value_name = "X", value_parser = reputation)]
    min_reputation: Option<f64>,
}

pub(crate) async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let request = PeerListRequest { min_reputation: args.min_reputation };
    // Without a node no peer is connected, but the home contains records of known peers.
    let call = Call::PeerList(request);
    let (peers, served): (Vec<PeerReport>, bool) = context.perform_where(Mode::Offline, call).await?;
    if peers.is_empty() {
        let such = if args.min_reputation.is_some() { " of that reputation" } else { "" };
        let connect = if served { "bootstrap ADDRESS" } else { "start --daemon --bootstrap ADDRESS" };
        context.ui.note(&format!("no peer{such} is known; `ggen marketplace p2p {connect}` connects to one"));
    }
    let verbose = context.global.verbose;
    context.ui.answer(&peers, |peers| render(peers, verbose))
}

fn render(peers: &[PeerReport], verbose: bool) -> String {
    if peers.is_empty() {
        return String::new();
    }
    let width = peers.iter().map(|peer| peer.peer_id.len()).max().unwrap_or(0);
    let mut out = format!(
        "{:<width$}  {:<9}  {:>10}  {:>4}  {:>6}  {:>9}  last seen\n",
        "peer", "state", "reputation", "ok", "failed", "latency"
    );
    for peer in peers {
        writeln!(
            out,
            "{:<width$}  {:<9}  {:>10.2}  {:>4}  {:>6}  {:>9}  {}",
            peer.peer_id,
            state(peer),
            peer.reputation,
            peer.successful_retrievals,
            peer.failed_retrievals,
            latency(peer),
            peer.last_seen.as_deref().unwrap_or("never"),
        )
        .expect("a string takes everything");
        if verbose {
            out += &details(peer);
        }
    }
    out
}

/// The user's decision takes precedence over the connection state, because it explains why a denied peer is not
/// connected.
pub(super) fn state(peer: &PeerReport) -> &str {
    match (&peer.listed, peer.connected) {
        (Some(listed), false) => listed,
        (_, true) => "connected",
        (None, false) => "-",
    }
}

pub(super) fn latency(peer: &PeerReport) -> String {
    peer.latency_ms.map_or_else(|| "-".to_owned(), |latency| format!("{latency:.1} ms"))
}

fn details(peer: &PeerReport) -> String {
    let agent = peer.agent.as_deref().map_or_else(|| "unknown program".to_owned(), text::one_line);
    let packages = text::count(peer.packages_provided, "package");
    let (sent, received) = (text::bytes(peer.bytes_sent), text::bytes(peer.bytes_received));
    let mut out = format!("    {agent}, {packages}, {sent} sent, {received} received\n");
    for address in &peer.addresses {
        writeln!(out, "    {}", text::one_line(address)).expect("a string takes everything");
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::commands) fn alice() -> PeerReport {
        PeerReport {
            peer_id: "12D3KooWAlice".to_owned(),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
            agent: Some("ggen/0.1.0\nfake line".to_owned()),
            connected: true,
            reputation: 0.75,
            successful_retrievals: 3,
            failed_retrievals: 1,
            packages_provided: 2,
            last_seen: Some("2026-01-02T03:04:05Z".to_owned()),
            latency_ms: Some(1.2),
            bytes_sent: 10,
            bytes_received: 2000,
            listed: None,
            history: None,
        }
    }

    #[test]
    fn peers_are_a_table_and_details_come_when_asked_for() {
        let mallory = PeerReport {
            peer_id: "12D3KooWMallory".to_owned(),
            connected: false,
            reputation: 0.0,
            latency_ms: None,
            last_seen: None,
            listed: Some("denied".to_owned()),
            ..alice()
        };
        let short = render(&[alice(), mallory.clone()], false);
        assert_eq!(
            short.lines().collect::<Vec<_>>(),
            [
                "peer             state      reputation    ok  failed    latency  last seen",
                "12D3KooWAlice    connected        0.75     3       1     1.2 ms  2026-01-02T03:04:05Z",
                "12D3KooWMallory  denied           0.00     3       1          -  never",
            ]
        );
        let long = render(&[alice()], true);
        assert!(long.contains("ggen/0.1.0 fake line, 2 packages, 10 B sent, 2.00 kB received\n"), "{long}");
        assert!(long.ends_with("    /ip4/127.0.0.1/tcp/4001\n"), "{long}");
    }
}
