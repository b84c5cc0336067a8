//! The command line: arguments, configuration, the daemon and its control socket, output.
//!
//! This crate is the only part of the project that prints, reads the environment or handles signals. `args` parses a
//! command, which becomes a `control::Call`. Either the daemon that serves the home performs it (over its Unix socket),
//! or a short-lived registry in this process. Both use the same function, so both return the same result. The `Ui` then
//! prints the answer in the requested format.
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
    umask::spare_owner();
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
