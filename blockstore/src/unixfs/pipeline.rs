//! Processes items on several threads, and returns the results in order.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::LazyLock,
    thread,
};

use crossbeam_channel::bounded;

use crate::Result;

/// Items in flight per thread: enough that no thread waits, few enough that a megabyte each is acceptable.
const ITEMS_PER_THREAD: usize = 4;

/// Default number of threads: at least two, so that one works while another waits for a disk, and few enough that the
/// items in flight take at most some tens of megabytes.
const MIN_DEFAULT_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not zero");
const MAX_DEFAULT_THREADS: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not zero");

/// Cached, because the operating system reads files to determine the number.
static PROCESSORS: LazyLock<NonZeroUsize> =
    LazyLock::new(|| thread::available_parallelism().unwrap_or(MIN_DEFAULT_THREADS));

/// The number of threads to use: `asked`, or one per processor.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.unwrap_or_else(|| (*PROCESSORS).clamp(MIN_DEFAULT_THREADS, MAX_DEFAULT_THREADS))
}

/// Runs `work` on every item in `threads` threads, and `consume` on the results in the order of the items. The calling
/// thread takes items and consumes results, and is one of the threads. At most [`ITEMS_PER_THREAD`] per thread are in
/// flight.
///
/// # Errors
/// The first error, by the order of the items; items in flight are completed, the rest is not started.
pub(crate) fn run_in_order<I: Send, O: Send>(
    threads: NonZeroUsize,
    mut items: impl Iterator<Item = Result<I>>,
    work: impl Fn(I) -> Result<O> + Sync,
    mut consume: impl FnMut(O) -> Result<()>,
) -> Result<()> {
    if threads == NonZeroUsize::MIN {
        return items.try_for_each(|item| consume(work(item?)?));
    }
    let window = threads.get() * ITEMS_PER_THREAD;
    thread::scope(|scope| {
        let (item_tx, item_rx) = bounded::<(usize, I)>(window);
        let (done_tx, done_rx) = bounded(window);
        for _ in 0..threads.get() {
            let (item_rx, done_tx, work) = (item_rx.clone(), done_tx.clone(), &work);
            scope.spawn(move || {
                for (number, item) in item_rx {
                    // A panic is passed to the calling thread, which would otherwise wait for this result forever.
                    let done = catch_unwind(AssertUnwindSafe(|| work(item)));
                    if done_tx.send((number, done)).is_err() {
                        break;
                    }
                }
            });
        }
        drop((item_rx, done_tx));
        let mut ready = BTreeMap::new();
        let (mut sent, mut consumed) = (0, 0);
        let mut more = true;
        loop {
            while more && sent - consumed < window {
                match items.next() {
                    Some(item) => {
                        item_tx.send((sent, item?)).expect("the workers listen until the sender is gone");
                        sent += 1;
                    }
                    None => more = false,
                }
            }
            if sent == consumed {
                return Ok(());
            }
            let (number, done) = done_rx.recv().expect("every item sent has a result");
            ready.insert(number, done.unwrap_or_else(|panic| resume_unwind(panic)));
            while let Some(result) = ready.remove(&consumed) {
                consume(result?)?;
                consumed += 1;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Error;

    const THREADS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    fn failure() -> Error {
        Error::LimitExceeded { what: "tests", limit: 0 }
    }

    #[test]
    fn results_come_in_order_and_the_window_is_bounded() {
        let (begun, mut results) = (AtomicUsize::new(0), Vec::new());
        let items = (0..1000).map(|item| {
            begun.fetch_add(1, Ordering::Relaxed);
            Ok(item)
        });
        let consume = |item: usize| {
            assert!(begun.load(Ordering::Relaxed) <= item + THREADS.get() * ITEMS_PER_THREAD);
            results.push(item);
            Ok(())
        };
        run_in_order(THREADS, items, |item| Ok(item * 2 / 2), consume).unwrap();
        assert_eq!(results, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn one_thread_is_the_calling_one() {
        let here = thread::current().id();
        let work = |item| Ok((item, thread::current().id()));
        let mut results = Vec::new();
        let consume = |result| {
            results.push(result);
            Ok(())
        };
        run_in_order(NonZeroUsize::MIN, (0..100).map(Ok), work, consume).unwrap();
        assert_eq!(results, (0..100).map(|item| (item, here)).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_anywhere_ends_the_run() {
        let items = || (0..100).map(Ok);
        let fail_at_50 = |item| if item == 50 { Err(failure()) } else { Ok(item) };
        for threads in [NonZeroUsize::MIN, THREADS] {
            assert!(run_in_order(threads, items(), fail_at_50, |_| Ok(())).is_err());
            assert!(run_in_order(threads, items(), Ok, |item| fail_at_50(item).map(drop)).is_err());
            let source = items().chain([Err(failure())]).chain(items());
            assert!(run_in_order(threads, source, Ok, |_: i32| Ok(())).is_err());
        }
    }

    #[test]
    #[should_panic(expected = "worker panic")]
    fn a_panic_in_a_worker_is_passed_on() {
        let work = |item: i32| if item == 7 { panic!("worker panic") } else { Ok(item) };
        drop(run_in_order(THREADS, (0..100).map(Ok), work, |_| Ok(())));
    }
}
