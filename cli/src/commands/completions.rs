//! `ggen completions SHELL`, and the answers to the shell's completion script.

use std::ffi::{OsStr, OsString};

use clap::Command;
use clap_complete::{
    CompleteEnv, Shell,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use ggen_marketplace::{ErrorKind, Failure, KnownNames};

use crate::{error, home::Home, ui::Ui};

/// Environment variable that the script sets to request completions; its value is the shell.
const VARIABLE: &str = "GGEN_COMPLETE";
/// Most names offered for one argument.
const MAX_CANDIDATES: usize = 100;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  ggen completions bash > ~/.local/share/bash-completion/completions/ggen\n\nThe script asks \
                        `ggen` while you type, so that names of known packages and peers are completed too."
)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = args.shell.to_string();
    let shell = shells.completer(&shell).ok_or_else(|| error::usage(format!("no completions for `{shell}`")))?;
    shell.write_registration(VARIABLE, "ggen", "ggen", "ggen", &mut script).map_err(|cause| {
        Failure::from_error(ErrorKind::Failed, &cause).while_doing("cannot write the completion script")
    })?;
    ui.raw(&script)
}

/// Answers the completion script of `program`, if the script started this process. Returns whether it did.
///
/// # Errors
/// The shell is unknown, or stdout cannot be written.
pub(crate) fn answer(args: &[OsString], program: fn() -> Command) -> Result<bool, clap::Error> {
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(program).var(VARIABLE).try_complete(args.iter().cloned(), directory.as_deref())
}

/// Completes a target with the packages in the home's catalog.
pub(crate) fn packages() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, KnownNames::packages))
}

/// Completes a peer id with the peers in the home's book of peers.
pub(crate) fn peers() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, KnownNames::peers))
}

fn candidates(typed: &OsStr, find: fn(&KnownNames, &str, usize) -> Vec<String>) -> Vec<CompletionCandidate> {
    let (Some(typed), Ok(home)) = (typed.to_str(), Home::resolve(None)) else { return Vec::new() };
    let names = find(&KnownNames::of(home.path()), typed, MAX_CANDIDATES);
    names.into_iter().map(CompletionCandidate::new).collect()
}
