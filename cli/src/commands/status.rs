//! `status`: shows the state of the running node.

use ggen_marketplace::{Failure, Status};

use crate::{
    context::{Context, ask},
    control::Call,
    ui::text,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen marketplace p2p status --format json")]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, _: &Args) -> Result<(), Failure> {
    let mut daemon = context.running_daemon().await?;
    let status: Status = ask(&mut daemon, Call::Status).await?;
    context.ui.answer(&status, render)
}

fn render(status: &Status) -> String {
    let mut rows = vec![("peer id", status.peer_id.clone()), ("agent", status.agent.clone())];
    rows.extend(status.listen_addresses.iter().map(|address| ("listening on", address.clone())));
    rows.extend(status.external_addresses.iter().map(|address| ("reachable at", address.clone())));
    rows.extend([
        ("connected peers", status.connected_peers.to_string()),
        ("DHT mode", status.dht_mode.clone()),
        ("NAT", status.nat.clone()),
        ("network", status.packages_topic.clone()),
        ("packages", format!("{} known, {} published here", status.packages_known, status.packages_published)),
    ]);
    rows.extend(status.unannounced.iter().map(|reason| ("not announced", reason.clone())));
    rows.extend([
        ("store", format!("{}, {}", text::count(status.blocks, "block"), text::bytes(status.store_bytes))),
        ("sent", text::bytes(status.bytes_sent)),
        ("received", text::bytes(status.bytes_received)),
        ("DHT lookups", status.dht_walks.to_string()),
        ("up for", text::duration(status.uptime_seconds)),
    ]);
    rows.iter().map(|(name, value)| format!("{name:<16} {value}\n")).collect()
}
