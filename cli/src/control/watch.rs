//! A daemon that is alive and gets no further with a request: the command says so, and ends where it has a `--timeout`.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ggen_marketplace::{Failure, FetchTo, Progress, Reporter};
use tokio::time::{Instant, sleep_until};

use super::Call;

/// A request that makes no progress for so long is talked of.
pub(crate) const NOTICE: Duration = Duration::from_secs(10);
/// Stages of a `doctor`, each of which may take its time-out.
const DOCTOR_STAGES: u32 = 12;

/// Passes progress on, and remembers when the last came.
pub(crate) struct Watch {
    to: Arc<dyn Reporter>,
    notice: Duration,
    seen: Mutex<Seen>,
}

struct Seen {
    last: Option<Progress>,
    at: Instant,
}

impl Watch {
    /// `over` speaks after `notice`, which is [`NOTICE`] but in tests.
    pub(crate) fn new(to: Arc<dyn Reporter>, notice: Duration) -> Self {
        Self { to, notice, seen: Mutex::new(Seen { last: None, at: Instant::now() }) }
    }

    /// Waits for `work`. Says once that it makes no progress, and gives it up after `limit` without any, if there is a limit
    /// at that stage.
    pub(crate) async fn over<T>(
        &self,
        call: &Call,
        work: impl Future<Output = Result<T, Failure>>,
        limit: Option<Duration>,
        say: impl Fn(),
        give_up: impl FnOnce(Duration) -> Failure,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        let mut said = false;
        loop {
            let (at, is_bounded) = self.stage(call);
            let limit = limit.filter(|_| is_bounded);
            let end = async {
                match limit.and_then(|limit| at.checked_add(limit)) {
                    Some(end) => sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                () = sleep_until(at + self.notice), if !said => {
                    if self.stage(call).0 == at {
                        said = true;
                        say();
                    }
                }
                () = end => {
                    if self.stage(call) == (at, is_bounded) {
                        return Err(give_up(limit.unwrap_or_default()));
                    }
                }
                // A new stage has another limit.
                () = sleep_until(Instant::now() + self.notice), if limit.is_none() => {}
            }
        }
    }

    /// When the last progress came, and whether what is done then waits for the network: a disk, or the process that reads
    /// what is written, may take as long as it likes.
    fn stage(&self, call: &Call) -> (Instant, bool) {
        let seen = self.seen();
        let is_bounded = match &seen.last {
            None => !matches!(call, Call::Publish(_)),
            Some(Progress::Importing { .. } | Progress::Checking { .. } | Progress::Writing { .. }) => false,
            Some(_) => true,
        };
        (seen.at, is_bounded)
    }

    /// A panic elsewhere leaves nothing half-done in a state of two fields.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Watch {
    fn report(&self, progress: Progress) {
        let mut seen = self.seen();
        if seen.last.as_ref() != Some(&progress) {
            *seen = Seen { last: Some(progress.clone()), at: Instant::now() };
        }
        drop(seen);
        self.to.report(progress);
    }
}

/// How long a request with a time-out may make no progress while it waits for the network: the daemon bounds each of its
/// steps, and `margin` is for what it does between them. `None` for a request without a time-out.
pub(crate) fn limit(call: &Call, margin: Duration) -> Option<Duration> {
    let steps = match call {
        Call::Publish(request) => request.timeout,
        // Who reads a pipe may take as long as it likes.
        Call::Fetch(request) => match &request.to {
            FetchTo::Tar(file) if std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) => return None,
            // It may first dial the providers that are named.
            _ => request.timeout.saturating_mul(2),
        },
        Call::Info(request) => request.timeout.saturating_mul(2),
        Call::PinAdd(request) => request.timeout.saturating_mul(2),
        Call::Verify(request) if request.repair => request.timeout.saturating_mul(2),
        Call::Doctor(request) => request.timeout.saturating_mul(DOCTOR_STAGES),
        _ => return None,
    };
    Some(steps.saturating_add(margin))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ggen_marketplace::{ErrorKind, PinRequest};

    use super::*;

    fn pin_add(timeout: Duration) -> Call {
        Call::PinAdd(PinRequest { target: "x".to_owned(), timeout, offline: false })
    }

    /// Watches something that reports these events, one every 20 ms, and never ends. Returns how many were reported and how
    /// often it was talked of, and whether it was given up; it is looked at for 3 s after the last.
    async fn watched(call: &Call, limit: Option<Duration>, events: Vec<Progress>) -> (usize, u32, bool) {
        let watch = Watch::new(Arc::new(|_: Progress| {}), Duration::from_millis(100));
        let (reported, said) = (Cell::new(0), Cell::new(0));
        let pause = Duration::from_millis(20);
        let patience = pause * events.len() as u32 + Duration::from_secs(3);
        let work = async {
            for event in events {
                tokio::time::sleep(pause).await;
                watch.report(event);
                reported.set(reported.get() + 1);
            }
            pending::<Result<(), Failure>>().await
        };
        let end = |_| Failure::new(ErrorKind::TimedOut, "given up");
        let watching = watch.over(call, work, limit, || said.set(said.get() + 1), end);
        let outcome = tokio::time::timeout(patience, watching).await;
        if let Ok(outcome) = &outcome {
            assert_eq!(outcome.as_ref().unwrap_err().message, "given up");
        }
        (reported.get(), said.get(), outcome.is_ok())
    }

    fn finding(peers_asked: u64) -> Progress {
        Progress::Finding { peers_asked }
    }

    #[test]
    fn limit_is_that_of_the_steps_and_a_margin() {
        let (timeout, margin) = (Duration::from_secs(20), Duration::from_secs(60));
        assert_eq!(limit(&pin_add(timeout), margin), Some(Duration::from_secs(100)));
        assert_eq!(limit(&Call::Keys, margin), None);
        assert_eq!(limit(&pin_add(Duration::MAX), margin), Some(Duration::MAX));
    }

    #[tokio::test]
    async fn request_without_progress_is_talked_of_once_and_ends_at_its_limit() {
        let (call, limit) = (pin_add(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!(watched(&call, limit, vec![]).await, (0, 1, true));
        assert_eq!(watched(&call, limit, (0..100).map(finding).collect()).await, (100, 1, true));
        let (reported, said, ended) = watched(&call, limit, vec![finding(1); 200]).await;
        assert!(reported < 200 && said == 1 && ended, "the same again is no progress");
    }

    #[tokio::test]
    async fn request_without_a_limit_or_at_a_disk_is_talked_of_and_not_ended() {
        assert_eq!(watched(&Call::Keys, None, vec![]).await, (0, 1, false));
        let (call, limit) = (pin_add(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        let writing = Progress::Writing { bytes: 1, total_bytes: 9 };
        assert_eq!(watched(&call, limit, vec![writing.clone()]).await, (1, 1, false));
        // Back at the network, the limit holds again.
        assert_eq!(watched(&call, limit, vec![writing, finding(1)]).await, (2, 1, true));
    }
}
