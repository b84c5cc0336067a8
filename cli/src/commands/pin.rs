//! `pin`: what the user wants kept in the store.

use std::time::Duration;

use clap::Subcommand;
use ggen_marketplace::{Failure, Mode, PinReport, PinRequest};

use super::seconds;
use crate::{context::Context, control::Call, ui::text};

/// Label of the pins that the user set; a slash and what was pinned may follow.
const USER: &str = "user";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch something, as far as it is not here, and keep it
    #[command(after_help = "Example:\n  ggen marketplace p2p pin add acme/http@^1.2")]
    Add(Add),
    /// Keep something no longer; `gc` removes it
    #[command(after_help = "Example:\n  ggen marketplace p2p pin rm acme/http")]
    Rm {
        /// CID, path or name, as it was pinned, or as `pin ls` shows it; a name alone means all its versions
        #[arg(add = super::completions::packages())]
        target: String,
    },
    /// List what you have pinned
    #[command(after_help = "Example:\n  ggen marketplace p2p pin ls --all")]
    Ls {
        /// List also what is kept because it was published here or is mirrored
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// CID, /ipfs/<cid>[/path], ns/name, ns/name@REQ or <publisher>/ns/name[@REQ]
    #[arg(add = super::completions::packages())]
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
        Command::Ls { .. } => (Mode::Offline, Call::PinLs, ""),
    };
    let mut pins: Vec<PinReport> = context.perform(mode, call).await?;
    let others = match command {
        Command::Ls { all: false } => keep_users(&mut pins),
        _ => 0,
    };
    if pins.is_empty() {
        context.ui.note("nothing is pinned");
    }
    if others > 0 {
        let others = text::count(others as u64, "pin");
        context.ui.note(&format!("{others} of published and mirrored packages not shown; `pin ls --all` shows them"));
    }
    context.ui.answer(&pins, |pins| render(pins, verb))?;
    if let Some(pin) = pins.iter().find(|pin| pin.yanked) {
        context.ui.note(&super::yanked(&pin.label, pin.yank_reason.as_deref()));
    }
    Ok(())
}

/// Drops the pins that the user did not set; returns how many.
fn keep_users(pins: &mut Vec<PinReport>) -> usize {
    let before = pins.len();
    pins.retain(|pin| pin.label == USER || pin.label.strip_prefix(USER).is_some_and(|rest| rest.starts_with('/')));
    before - pins.len()
}

fn render(pins: &[PinReport], verb: &str) -> String {
    pins.iter().map(|pin| format!("{verb}{}  {:<9}  {}\n", pin.cid, pin.mode, pin.label)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_publishes_and_mirrors_are_not_the_users() {
        let pin = |label: &str| PinReport {
            cid: "c".to_owned(),
            mode: "direct".to_owned(),
            label: label.to_owned(),
            yanked: false,
            yank_reason: None,
        };
        let mut pins = ["user", "user/a/b@1.0.0", "users", "record", "release/a/b@1.0.0", "mirror/x"].map(pin).to_vec();
        assert_eq!(keep_users(&mut pins), 4);
        assert_eq!(pins.iter().map(|pin| &*pin.label).collect::<Vec<_>>(), ["user", "user/a/b@1.0.0"]);
    }
}
