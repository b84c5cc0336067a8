//! Signals, as futures.

use std::{future::Future, io};

use ggen_marketplace::{Failure, Interrupt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error;

/// The signals that ask a process to end: SIGINT and SIGTERM. From its construction on they no longer kill the process.
///
/// SIGHUP keeps its default: to handle it would undo what `nohup` set up.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Takes the signals over. Must be called inside a runtime.
    pub(crate) fn install() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|error| refused(&error));
        Ok(Self { interrupt: take(SignalKind::interrupt())?, terminate: take(SignalKind::terminate())? })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs `work` until it is done or a signal comes; then drops it, which cancels it.
pub(crate) async fn or_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut interrupts = Interrupts::install()?;
    tokio::select! {
        outcome = work => outcome,
        () = interrupts.next() => Err(error::interrupted()),
    }
}

/// Runs `work` until it is done. A signal triggers `interrupt`, and `work` says how it ended; a second signal drops it.
pub(crate) async fn or_asked_to_end<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut interrupts = Interrupts::install()?;
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => return outcome,
        () = interrupts.next() => interrupt.trigger(),
    }
    tokio::select! {
        outcome = work => outcome,
        () = interrupts.next() => Err(error::interrupted()),
    }
}

fn refused(cause: &io::Error) -> Failure {
    Failure::from_error(ggen_marketplace::ErrorKind::Failed, cause).while_doing("cannot take over signals")
}
