//! Waiting until the home is free: commands without a daemon use it one after another.

use std::{future::Future, time::Duration};

use ggen_marketplace::{ErrorKind, Failure};
use tokio::time::Instant;

/// How long a command waits before it says so.
const SAY_AFTER: Duration = Duration::from_millis(250);
/// Pause between two tries, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Tries until the home is not in use any more, for `patience` at most. `say` is given the failure of a try, once, when
/// this takes a while.
///
/// # Errors
/// What a try fails with for another reason; after `patience`, that the home is in use.
pub(crate) async fn when_free<T, F: Future<Output = Result<T, Failure>>>(
    patience: Duration,
    mut say: impl FnMut(&Failure),
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    let started = Instant::now();
    let (mut pause, mut said) = (FIRST_PAUSE, false);
    loop {
        let failure = match attempt().await {
            Err(failure) if failure.kind == ErrorKind::InUse => failure,
            outcome => return outcome,
        };
        let waited = started.elapsed();
        if waited >= patience {
            return Err(failure);
        }
        if waited >= SAY_AFTER && !said {
            said = true;
            say(&failure);
        }
        tokio::time::sleep(pause.min(patience - waited)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn in_use() -> Failure {
        Failure::new(ErrorKind::InUse, "the home is in use by process 7")
    }

    #[tokio::test]
    async fn a_home_that_becomes_free_is_taken_and_the_wait_is_said_once() {
        let (tries, said) = (Cell::new(0), Cell::new(0));
        let attempt = || {
            tries.set(tries.get() + 1);
            // Free only some tries after the wait was said.
            let outcome = if said.get() == 0 || tries.get() < 20 { Err(in_use()) } else { Ok(7) };
            async move { outcome }
        };
        let taken = when_free(Duration::from_secs(600), |_| said.set(said.get() + 1), attempt).await;
        assert_eq!((taken.unwrap(), said.get()), (7, 1));
    }

    #[tokio::test]
    async fn a_wait_ends_and_other_failures_end_it_at_once() {
        let short = |_: &Failure| panic!("said");
        for patience in [Duration::ZERO, Duration::from_millis(20)] {
            let started = Instant::now();
            let failure = when_free::<(), _>(patience, |_| {}, || async { Err(in_use()) }).await.unwrap_err();
            assert!(failure == in_use() && started.elapsed() >= patience, "{failure}");
        }
        let other = Failure::new(ErrorKind::Failed, "damaged");
        let failure = when_free::<(), _>(Duration::MAX, short, || async { Err(other.clone()) }).await.unwrap_err();
        assert_eq!(failure, other);
    }
}
