//! Waiting for the home: commands without a daemon use it one after another.

use std::{future::Future, time::Duration};

use ggen_marketplace::{ErrorKind, Failure};
use tokio::time::Instant;

/// How long a command waits before it notifies the user.
const SAY_AFTER: Duration = Duration::from_millis(250);
/// First and longest interval between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Retries until the home is no longer in use, for `patience` at most. `say` receives the failure of a try, once, if
/// the wait is long.
///
/// # Errors
/// Any other failure of a try; after `patience`, the failure that the home is in use.
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
            // The home becomes free only some tries after the notification.
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
