//! People and terminals: arguments, configuration, the daemon and its control socket, output.
//!
//! This crate is the only place of the project that prints, reads the environment or handles signals. A command is
//! parsed by `args`, becomes a `control::Call`, and is carried out either by the daemon that
//! serves the home (over its Unix socket) or by a short-lived registry in this process; both ways end in the same
//! function, so both give the same result. The answer then goes through the `Ui`, which knows the format.
//!
//! The exit codes, the flags and the JSON results are a contract that scripts depend on.

mod args;
mod backend;
mod commands;
mod config;
mod context;
mod control;
mod daemon;
mod error;
mod files;
mod flags;
mod git;
mod home;
mod interrupt;
mod log;
mod ui;
mod umask;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::{args::Args, ui::Ui};

/// Runs the command line `args` (the program's name first) and returns the process's exit code.
///
/// Prints to the process's stdout and stderr, and installs the process's log subscriber and signal handlers.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    match commands::completions::answer(&args, Args::command) {
        Ok(true) => return 0,
        Ok(false) => {}
        Err(refusal) => return ui::usage::answer(&args, refusal, Args::command()),
    }
    match Args::try_parse_from(&args) {
        Ok(parsed) => {
            let ui = Ui::new(&parsed.global);
            let outcome = commands::run(parsed, &ui);
            ui.finish(outcome)
        }
        Err(refusal) => ui::usage::answer(&args, refusal, Args::command()),
    }
}
