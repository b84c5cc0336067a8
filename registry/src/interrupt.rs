//! Interruption of an operation, and the point after which it cannot be undone.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{ErrorKind, Failure};

/// Requests that an operation end. Triggered once, seen by all clones.
///
/// An operation that signs ([`Registry::publish_interruptible`](crate::Registry::publish_interruptible)) then ends with
/// [`ErrorKind::Interrupted`]. The message states whether it had signed and published before. If it had not, it changes
/// nothing from then on.
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
    /// An interrupt that is not triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Triggers the interrupt.
    pub fn trigger(&self) {
        self.wish.send_replace(true);
    }

    /// Returns once the interrupt is triggered. Cancel-safe.
    pub async fn wait(&self) {
        let mut seen = self.wish.subscribe();
        // It fails only if the sender is dropped, and `self` holds it.
        drop(seen.wait_for(|wished| *wished).await);
    }
}

/// The moment after which an operation can no longer be undone. It is either passed, or shut before it is passed; never
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
    /// Passes it. Returns false if it is shut: nothing may be committed then.
    pub(crate) fn pass(&self) -> bool {
        self.turn(State::Passed) == State::Passed
    }

    /// Shuts it. Returns false if it was passed: what was committed stays.
    pub(crate) fn shut(&self) -> bool {
        self.turn(State::Shut) == State::Shut
    }

    /// Returns whether it is shut.
    pub(crate) fn is_shut(&self) -> bool {
        *self.lock() == State::Shut
    }

    /// Shuts it when the returned value is dropped, unless it was passed before. For futures, which may be dropped at
    /// any await point.
    pub(crate) fn shut_when_dropped(&self) -> impl Drop + Send + use<> {
        struct Shutting(CommitPoint);
        impl Drop for Shutting {
            fn drop(&mut self) {
                self.0.shut();
            }
        }
        Shutting(self.clone())
    }

    /// Runs `work`, which ends with the commit. If the interrupt is triggered before the commit, returns without
    /// waiting for `work`.
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
