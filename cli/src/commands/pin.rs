//! `pin`: what the user wants kept in the store.

use std::time::Duration;

use clap::Subcommand;
use ggen_marketplace::{Failure, Mode, PinReport, PinRequest};

use super::seconds;
use crate::{context::Context, control::Call};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch something, as far as it is not here, and keep it
    #[command(after_help = "Example:\n  ggen marketplace p2p pin add acme/http@^1.2")]
    Add(Add),
    /// Keep something no longer; `gc` removes it
    #[command(after_help = "Example:\n  ggen marketplace p2p pin rm acme/http")]
    Rm {
        /// CID, path or name, as it was pinned, or as `pin ls` shows it; a name alone means all its versions
        target: String,
    },
    /// List everything that is kept, and why
    #[command(after_help = "Example:\n  ggen marketplace p2p pin ls")]
    Ls,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// CID, /ipfs/<cid>[/path], ns/name, ns/name@REQ or <publisher>/ns/name[@REQ]
    target: String,
    /// Seconds without anything new after which to give up
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// Pin only what is here already
    #[arg(long)]
    offline: bool,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), Failure> {
    let (mode, call, verb) = match command {
        Command::Add(Add { target, timeout, offline }) => {
            let request = PinRequest { target: target.clone(), timeout: *timeout, offline: *offline };
            (if *offline { Mode::Offline } else { Mode::Ephemeral }, Call::PinAdd(request), "pinned ")
        }
        Command::Rm { target } => {
            let request = PinRequest { target: target.clone(), timeout: Duration::ZERO, offline: true };
            (Mode::Offline, Call::PinRm(request), "unpinned ")
        }
        Command::Ls => (Mode::Offline, Call::PinLs, ""),
    };
    let pins: Vec<PinReport> = context.perform(mode, call).await?;
    if pins.is_empty() {
        context.ui.note("nothing is pinned");
    }
    context.ui.answer(&pins, |pins| render(pins, verb))
}

fn render(pins: &[PinReport], verb: &str) -> String {
    pins.iter().map(|pin| format!("{verb}{}  {:<9}  {}\n", pin.cid, pin.mode, pin.label)).collect()
}
