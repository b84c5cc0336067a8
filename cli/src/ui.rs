//! Terminal output: stdout for the answer, stderr for messages.
//!
//! *Invariants*: with `--format json`, stdout receives exactly one JSON document, either the answer or the error. Text
//! for users never contains control characters from external sources (a peer's package description, a file name). A
//! reader that closes its end early is not a failure.

mod json;
mod progress;
pub(crate) mod text;
pub(crate) mod usage;

use std::{
    env,
    fmt::Write as _,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ggen_marketplace::Failure;
use serde::Serialize;

pub(crate) use progress::Bar;

use crate::{
    error,
    flags::{Format, GlobalArgs},
};

/// The output settings of this process.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    format: Format,
    quiet: bool,
    color: bool,
    bars: bool,
    /// Whether a JSON document was printed; a second one is not allowed.
    answered: Arc<AtomicBool>,
}

impl Ui {
    /// Determines the settings from the flags, the terminal, `NO_COLOR` and `TERM`.
    pub(crate) fn new(args: &GlobalArgs) -> Self {
        let terminal = io::stderr().is_terminal();
        // A log and a progress bar on the same terminal would overwrite each other.
        let bars = terminal && is_capable() && !args.quiet && !args.verbose;
        Self {
            format: args.format,
            quiet: args.quiet,
            color: terminal && color_wanted(),
            bars,
            answered: Arc::default(),
        }
    }

    pub(crate) fn color(&self) -> bool {
        self.color
    }

    /// Prints the answer of a command: `value` as JSON, or the text that `human` returns.
    ///
    /// # Errors
    /// Stdout cannot be written; a closed reader is not an error.
    pub(crate) fn answer<T: Serialize>(&self, value: &T, human: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Json => json::document(value)?,
            Format::Human => text::plain(&human(value)),
        };
        let written = self.raw(text.as_bytes());
        self.answered.store(written.is_ok(), Ordering::Relaxed);
        written
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        to_stdout(bytes)
    }

    /// Prints a message to stderr, unless `--quiet` is set.
    pub(crate) fn note(&self, message: &str) {
        if !self.quiet {
            talk(&format!("{}\n", text::plain(message).trim_end()));
        }
    }

    /// Prints a warning about a command that succeeds nevertheless. `--quiet` does not suppress it.
    pub(crate) fn warn(&self, message: &str) {
        let (yellow, reset) = if self.color { ("\x1b[1;33m", "\x1b[0m") } else { ("", "") };
        talk(&format!("{yellow}warning:{reset} {}\n", text::plain(message).trim_end()));
    }

    /// Returns whether stderr is a terminal that shows messages, as opposed to a file, pipe or log.
    pub(crate) fn shows_secrets(&self) -> bool {
        !self.quiet && self.format == Format::Human && io::stderr().is_terminal()
    }

    /// Prints a secret if [`Ui::shows_secrets`] allows it.
    pub(crate) fn show_secret(&self, secret: &str) {
        if self.shows_secrets() {
            talk(secret);
        }
    }

    /// A progress bar, which is shown only on a terminal.
    pub(crate) fn bar(&self) -> Arc<Bar> {
        Arc::new(Bar::new(self.bars))
    }

    /// Reports the outcome of the command, and returns the exit code.
    pub(crate) fn finish(&self, outcome: Result<u8, Failure>) -> u8 {
        outcome.unwrap_or_else(|failure| {
            self.failure(&failure);
            error::exit_code(failure.kind)
        })
    }

    fn failure(&self, failure: &Failure) {
        match self.format {
            // The answer already printed describes the failure.
            Format::Json if self.answered.load(Ordering::Relaxed) => {}
            Format::Json if self.raw(json::failure(failure).as_bytes()).is_ok() => {}
            // With JSON, of a stdout that cannot be written.
            Format::Json | Format::Human => talk(&describe(failure, self.color)),
        }
    }
}

/// Returns whether colours are allowed by the user and supported by the terminal, if stdout or stderr is one.
pub(crate) fn color_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && is_capable()
}

/// Returns whether the terminal, if there is one, interprets escape sequences.
fn is_capable() -> bool {
    env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The failure as text: the message, the causes, the hint.
fn describe(failure: &Failure, color: bool) -> String {
    let (red, cyan, reset) = if color { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
    let mut out = format!("{red}error:{reset} {}\n", text::plain(&failure.message).trim_end());
    for cause in &failure.causes {
        writeln!(out, "  cause: {}", text::plain(cause).trim_end()).expect("a string takes everything");
    }
    if let Some(hint) = &failure.hint {
        writeln!(out, "{cyan}hint:{reset} {}", text::plain(&error::with_commands(hint)).trim_end())
            .expect("a string takes everything");
    }
    out
}

/// Writes to stderr. A failure of stderr itself cannot be reported.
fn talk(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Writes to stdout; a reader that closed its end has read enough.
fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    // The standard library's own writer takes a stdout that is not open for writing for one that takes everything.
    let written = io::stdout().as_fd().try_clone_to_owned().and_then(|stdout| put(&mut File::from(stdout), bytes));
    written.map_err(|cause| {
        Failure::from_error(ggen_marketplace::ErrorKind::Failed, &cause).while_doing("cannot write to stdout")
    })
}

/// Writes and flushes; a closed pipe is success.
fn put(sink: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    match sink.write_all(bytes).and_then(|()| sink.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use ggen_marketplace::ErrorKind;

    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closed_pipe_is_success_and_a_full_disk_is_not() {
        put(&mut Refusing(io::ErrorKind::BrokenPipe), b"x").unwrap();
        put(&mut Refusing(io::ErrorKind::StorageFull), b"x").unwrap_err();
    }

    #[test]
    fn failure_lists_causes_and_hint_below_the_message() {
        let failure = Failure::new(ErrorKind::Failed, "root").while_doing("cannot publish `x`").hinted("do `y`");
        assert_eq!(describe(&failure, false), "error: cannot publish `x`\n  cause: root\nhint: do `y`\n");
    }

    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        let failure = Failure::new(ErrorKind::Failed, "bad\x1b[2Jname");
        assert!(!describe(&failure, false).contains('\x1b'));
    }
}
