//! Interruption of an operation, and the commit point after which it cannot be undone.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{ErrorKind, Failure};

/// Requests that an operation end. It is triggered once, and all clones see it.
///
/// An operation that signs ([`Registry::publish_interruptible`](crate::Registry::publish_interruptible)) then ends with
/// [`ErrorKind::Interrupted`]. The message states whether it had already signed and published; if not, it makes no
/// further changes.
#[derive(Clone, Debug)]
pub struct Interrupt {
    wish: Arc<watch::Sender<bool>>,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)) }
    }
}

impl Interrupt {
    /// Creates an interrupt that has not been triggered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Triggers the interrupt.
    pub fn trigger(&self) {
        self.wish.send_replace(true);
    }

    /// Waits until the interrupt is triggered. Cancel-safe.
    pub async fn wait(&self) {
        let mut seen = self.wish.subscribe();
        // It fails only if the sender is dropped, and `self` holds the sender.
        drop(seen.wait_for(|wished| *wished).await);
    }
}

/// The point after which an operation can no longer be undone. It is either passed, or shut before it is passed; never
/// both.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitPoint {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ahead,
    Passed,
    Shut,
}

impl CommitPoint {
    /// Passes the point. Returns false if it is shut: then nothing may be committed.
    pub(crate) fn pass(&self) -> bool {
        self.turn(State::Passed) == State::Passed
    }

    /// Shuts the point. Returns false if it was passed: then the commit stands.
    pub(crate) fn shut(&self) -> bool {
        self.turn(State::Shut) == State::Shut
    }

    /// Returns whether it is shut.
    pub(crate) fn is_shut(&self) -> bool {
        *self.lock() == State::Shut
    }

    /// Returns a guard that shuts the point when it is dropped, unless the point was passed by then. It is for futures,
    /// which may be dropped at any await.
    pub(crate) fn shut_when_dropped(&self) -> impl Drop + Send + use<> {
        struct Shutting(CommitPoint);
        impl Drop for Shutting {
            fn drop(&mut self) {
                self.0.shut();
            }
        }
        Shutting(self.clone())
    }

    /// Runs `work`, which ends with the commit. An interrupt before the commit point shuts it and returns at once;
    /// after it, `work` runs to its end.
    pub(crate) async fn or_shut<T>(
        &self,
        interrupt: &Interrupt,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => return outcome,
            () = interrupt.wait() => {}
        }
        if self.shut() { Err(interrupted()) } else { work.await }
    }

    fn turn(&self, to: State) -> State {
        let mut state = self.lock();
        if *state == State::Ahead {
            *state = to;
        }
        *state
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure of an operation that was interrupted before it changed anything.
pub(crate) fn interrupted() -> Failure {
    Failure::new(ErrorKind::Interrupted, "interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_point_is_passed_or_shut_and_stays_so() {
        let passed = CommitPoint::default();
        assert!(passed.pass() && !passed.shut() && !passed.is_shut() && passed.pass());
        let shut = CommitPoint::default();
        drop(shut.shut_when_dropped());
        assert!(shut.is_shut() && !shut.pass() && shut.shut());
    }

    #[tokio::test]
    async fn interrupt_is_seen_by_those_who_wait_and_by_those_who_come_late() {
        let interrupt = Interrupt::new();
        let waits = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.wait().await }
        });
        interrupt.trigger();
        waits.await.unwrap();
        interrupt.wait().await;
    }
}
