//! Runs operations that a caller waits for on a blocking thread each.
//!
//! An operation is a chain of steps, many of which read from disk. Handing a step to another thread costs two thread
//! wake-ups, which takes longer than most steps. On its own blocking thread an operation runs its steps directly.
//!
//! A step may block on a disk but not on asynchronous work (`blocking_send` and similar calls panic there).

use std::{cell::Cell, future::Future, panic};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::JoinError,
};

use crate::{ErrorKind, Failure};

/// Limits the operations that run on their own thread. Tokio has 512 blocking threads by default, and these operations
/// need further ones: if they occupied all, none could make progress.
static THREADS: Semaphore = Semaphore::const_new(64);

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as an operation's own until this value is dropped.
struct Marked;

impl Marked {
    fn new() -> Self {
        IS_OWN.set(true);
        Self
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        IS_OWN.set(false);
    }
}

/// Returns whether the current thread is an operation's own, which may block.
pub(super) fn is_here() -> bool {
    IS_OWN.get()
}

/// Runs an operation on its own blocking thread, or in the caller's task if none is free. If the returned future is
/// dropped, the operation is dropped on that thread after its current step.
pub(crate) async fn run<T: Send + 'static>(
    operation: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    run_on(&THREADS, operation).await
}

async fn run_on<T: Send + 'static>(
    threads: &'static Semaphore,
    operation: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let Ok(permit) = threads.try_acquire() else { return operation.await };
    let (_caller, caller_gone) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        let (_permit, _marked) = (permit, Marked::new());
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = caller_gone => Err(Failure::new(ErrorKind::Failed, "no caller waits for it any more")),
                outcome = operation => outcome,
            }
        })
    });
    match thread.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Failure::from_error(ErrorKind::Failed, &error)),
    }
}

/// Runs a blocking step: on the current thread if that is the operation's own, otherwise on another blocking thread.
pub(super) async fn blocking<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if is_here() { Ok(step()) } else { tokio::task::spawn_blocking(step).await }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    // Separate semaphores, because other tests run operations at the same time.
    static ENOUGH: Semaphore = Semaphore::const_new(8);
    static NONE: Semaphore = Semaphore::const_new(0);

    #[test]
    fn steps_are_done_where_the_operation_runs_and_elsewhere_on_other_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let here = async || blocking(|| thread::current().id()).await.unwrap();
            let operation = run_on(&ENOUGH, async move { Ok((thread::current().id(), here().await)) });
            let (operation, step) = operation.await.unwrap();
            assert_eq!(operation, step);
            assert_ne!(operation, thread::current().id());
            assert_eq!(here().await, operation, "there is only that one besides");
            assert!(!blocking(is_here).await.unwrap(), "it is nobody's own any more");
        });
    }

    #[tokio::test]
    async fn where_there_are_too_many_an_operation_shares_the_caller_s_thread() {
        let operation = run_on(&NONE, async { Ok((thread::current().id(), is_here())) });
        assert_eq!(operation.await.unwrap(), (thread::current().id(), false));
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_is_dropped() {
        struct Told(mpsc::Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (dropped, is_dropped) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let operation = run_on(&ENOUGH, async move {
            let _told = Told(dropped);
            begun.send(()).unwrap();
            std::future::pending::<Result<(), Failure>>().await
        });
        tokio::select! {
            _ = operation => unreachable!("it never ends"),
            begun = has_begun => begun.unwrap(),
        }
        tokio::task::spawn_blocking(move || is_dropped.recv().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn what_panics_panics_where_it_is_awaited() {
        let operation = tokio::spawn(run_on(&ENOUGH, async { panic!("on purpose") as Result<(), Failure> }));
        let panic = operation.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    }
}
