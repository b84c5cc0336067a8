//! `ggen help`: the help of a command, or a page on a topic.

use std::ffi::OsString;

use clap::Command;
use ggen_marketplace::Failure;

use crate::ui::{Ui, usage};

/// Pages, by topic.
const TOPICS: [(&str, &str); 1] = [("gpack", include_str!("../../../docs/gpack.md"))];

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen help gpack\n  ggen help marketplace p2p publish")]
pub(crate) struct Args {
    /// A command, or a topic: `gpack` (all keys of gpack.toml, ignore files, what is published)
    #[arg(value_name = "COMMAND or TOPIC")]
    words: Vec<OsString>,
}

/// Prints a page, or the help of a command of `program`. Returns the exit code.
pub(crate) fn run(args: &Args, program: Command, ui: &Ui) -> Result<u8, Failure> {
    if let [word] = args.words.as_slice()
        && let Some((_, page)) = TOPICS.iter().find(|(topic, _)| word == topic)
    {
        return ui.raw(page.as_bytes()).map(|()| 0);
    }
    let line: Vec<OsString> =
        std::iter::once("ggen".into()).chain(args.words.iter().cloned()).chain(["--help".into()]).collect();
    // With `--help`, clap always returns a text to print.
    let refusal = program.clone().try_get_matches_from(&line).err();
    Ok(refusal.map_or(0, |refusal| usage::answer(&line, refusal, program)))
}
