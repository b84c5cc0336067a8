//! `pin`: manages the user's pins. A package takes several pins, which are shown as one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Subcommand;
use ggen_marketplace::{Failure, Mode, PinReport, PinRequest};

use super::seconds;
use crate::{context::Context, control::Call, ui::text};

/// Label of the user's pins; a slash and the pinned target may follow.
const USER: &str = "user";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pin a package or CID, fetching what is missing
    #[command(after_help = "Example:\n  ggen marketplace p2p pin add acme/http@^1.2")]
    Add(Add),
    /// Remove a pin; `gc` may then delete its blocks
    #[command(after_help = "Example:\n  ggen marketplace p2p pin rm acme/http")]
    Rm {
        /// CID, path or name, as it was pinned, or as `pin ls` shows it; a name alone means all its versions
        #[arg(add = super::completions::packages())]
        target: String,
    },
    /// List your pins
    #[command(after_help = "Example:\n  ggen marketplace p2p pin ls --all")]
    Ls {
        /// List also the pins of published and mirrored packages
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// CID, /ipfs/<cid>[/path], ns/name, ns/name@REQ or <publisher>/ns/name[@REQ]
    #[arg(add = super::completions::packages())]
    target: String,
    /// Give up after SECS without progress
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// Use only the local store
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
        let name = package(&pin.label).map_or(&*pin.label, |(_, package)| package);
        context.ui.note(&super::yanked(name, pin.yank_reason.as_deref()));
    }
    Ok(())
}

/// Removes the pins that the user did not set from the list; returns their number.
fn keep_users(pins: &mut Vec<PinReport>) -> usize {
    let before = pins.len();
    pins.retain(|pin| pin.label == USER || pin.label.strip_prefix(USER).is_some_and(|rest| rest.starts_with('/')));
    before - pins.len()
}

/// One line for each package, and for each pin without a package.
fn render(pins: &[PinReport], verb: &str) -> String {
    let mut records = BTreeMap::<&str, u64>::new();
    let mut publishers = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (pin, (publisher, package)) in pins.iter().filter_map(|pin| Some((pin, package(&pin.label)?))) {
        *records.entry(&pin.label).or_default() += 1;
        publishers.entry(name(package)).or_default().insert(publisher);
    }
    let mut out = String::new();
    for pin in pins {
        let line = match package(&pin.label) {
            None => format!("{}  {:<9}  {}", pin.cid, pin.mode, pin.label),
            // The first pin of a package represents all of its pins.
            Some((publisher, package)) => {
                let Some(records) = records.remove(&*pin.label) else { continue };
                let records = text::count(records, "record");
                match publishers.get(name(package)).map_or(0, BTreeSet::len) {
                    0 | 1 => format!("{package} ({records})"),
                    // The name alone would not identify the publisher.
                    _ => format!("{publisher}/{package} ({records})"),
                }
            }
        };
        out += &format!("{verb}{line}\n");
    }
    out
}

/// The publisher and `ns/name@version` of a pin that the user set by name.
fn package(label: &str) -> Option<(&str, &str)> {
    let named = label.strip_prefix(USER)?.strip_prefix('/')?;
    let (publisher, package) = named.split_once('/')?;
    let is_package = package.matches('/').count() == 1 && package.contains('@');
    (publisher != "ipfs" && is_package).then_some((publisher, package))
}

/// `ns/name` without its version.
fn name(package: &str) -> &str {
    package.split('@').next().unwrap_or(package)
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

    #[test]
    fn the_pins_of_a_package_are_one_line_that_says_whose_it_is_where_that_is_not_clear() {
        let pin = |cid: &str, label: &str| PinReport {
            cid: cid.to_owned(),
            mode: "direct".to_owned(),
            label: label.to_owned(),
            yanked: false,
            yank_reason: None,
        };
        let mut pins = vec![
            pin("c1", "user"),
            pin("c2", "user/p/acme/http@1.0.0"),
            pin("c3", "user/p/acme/http@1.0.0"),
            pin("c4", "user/ipfs/c4/a@b"),
        ];
        let alone =
            "pinned c1  direct     user\npinned acme/http@1.0.0 (2 records)\npinned c4  direct     user/ipfs/c4/a@b\n";
        assert_eq!(render(&pins, "pinned "), alone);
        pins.push(pin("c5", "user/q/acme/http@2.0.0"));
        let lines = render(&pins[1..], "");
        assert!(
            lines.contains("p/acme/http@1.0.0 (2 records)\n") && lines.contains("q/acme/http@2.0.0 (1 record)\n"),
            "{lines}"
        );
    }
}
