//! Signals, as futures.

use std::{fs, future::Future, io};

use ggen_marketplace::{Failure, Interrupt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error;

/// The signals that request a process to end: SIGINT, SIGTERM and SIGHUP. After construction they no longer kill the
/// process.
///
/// SIGHUP stays ignored if it was ignored, because handling it would undo the effect of `nohup`.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Interrupts {
    /// Installs the signal handlers. Must be called inside a runtime.
    pub(crate) fn install() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|error| refused(&error));
        let hangup = if hangup_is_ignored() { None } else { Some(take(SignalKind::hangup())?) };
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())?, hangup })
    }

    /// Waits for the next signal, and returns its name. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted (SIGINT)",
            _ = self.terminate.recv() => "terminated (SIGTERM)",
            _ = hangup => "the terminal has gone (SIGHUP)",
        }
    }
}

/// Returns whether this process was started with SIGHUP ignored; false if the system does not report it.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").ok();
    status.and_then(|status| ignored_signals(&status)).is_none_or(|ignored| ignored & HANGUP != 0)
}

/// The bit of SIGHUP, which is signal 1.
const HANGUP: u64 = 1;

/// The set of ignored signals in Linux's form: signal n is bit n - 1.
fn ignored_signals(status: &str) -> Option<u64> {
    let text = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(text.trim(), 16).ok()
}

/// Runs `work` to its end or until a signal arrives, which drops and thereby cancels it.
pub(crate) async fn or_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut interrupts = Interrupts::install()?;
    tokio::select! {
        outcome = work => outcome,
        _ = interrupts.next() => Err(error::interrupted()),
    }
}

/// Runs `work` to its end. The first signal triggers `interrupt`, and `work` still returns its outcome; the second
/// signal drops it.
pub(crate) async fn or_asked_to_end<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut interrupts = Interrupts::install()?;
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => return outcome,
        _ = interrupts.next() => interrupt.trigger(),
    }
    tokio::select! {
        outcome = work => outcome,
        _ = interrupts.next() => Err(error::interrupted()),
    }
}

fn refused(cause: &io::Error) -> Failure {
    Failure::from_error(ggen_marketplace::ErrorKind::Failed, cause).while_doing("cannot take over signals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_of_linux_are_read() {
        let status = |ignored: &str| format!("Name:\tggen\nSigBlk:\t0000000000000000\nSigIgn:\t{ignored}\n");
        assert_eq!(ignored_signals(&status("0000000000001001")), Some(0x1001));
        assert_eq!(ignored_signals(&status("0000000000001000")).map(|ignored| ignored & HANGUP), Some(0));
        assert_eq!(ignored_signals("Name:\tggen\n"), None);
    }
}
