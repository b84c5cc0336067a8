//! The wish that an operation end, and the point after which it cannot be taken back.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{ErrorKind, Failure};

/// Asks an operation to end: given once, seen by all clones.
///
/// An operation that signs ([`Registry::publish_interruptible`](crate::Registry::publish_interruptible)) then ends with
/// [`ErrorKind::Interrupted`]. Its message says whether it had signed and published by then; if it had not, it changes nothing
/// any more.
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
    /// One that was not given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the wish.
    pub fn trigger(&self) {
        self.wish.send_replace(true);
    }

    /// Returns once the wish was given. Cancel-safe.
    pub async fn wait(&self) {
        let mut seen = self.wish.subscribe();
        // It fails only if the sender is gone, and `self` keeps it.
        drop(seen.wait_for(|wished| *wished).await);
    }
}

/// The moment at which an operation can no longer be taken back. It is passed, or shut before it is passed; never both.
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
    /// Passes it; false if it is shut: nothing may be committed then.
    pub(crate) fn pass(&self) -> bool {
        self.turn(State::Passed) == State::Passed
    }

    /// Shuts it; false if it was passed: what was committed stays.
    pub(crate) fn shut(&self) -> bool {
        self.turn(State::Shut) == State::Shut
    }

    /// Whether it is shut.
    pub(crate) fn is_shut(&self) -> bool {
        *self.lock() == State::Shut
    }

    /// Shuts it when the returned value is dropped, if it was not passed by then: for futures, which may be dropped
    /// anywhere.
    pub(crate) fn shut_when_dropped(&self) -> impl Drop + Send + use<> {
        struct Shutting(CommitPoint);
        impl Drop for Shutting {
            fn drop(&mut self) {
                self.0.shut();
            }
        }
        Shutting(self.clone())
    }

    /// Does `work`, which ends with the commit; interrupted before that, it is not waited for.
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
