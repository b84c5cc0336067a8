//! Operations that somebody waits for have a thread to themselves.
//!
//! An operation is a chain of steps, many of which look something up on disk. A step that is handed to another thread
//! wakes that one, and then the one that awaits it: twice as long as most of them take. On a thread of its own an
//! operation just does them.
//!
//! A step may wait for a disk, not for what is asynchronous (`blocking_send` and the like panic there).

use std::{cell::Cell, future::Future, panic};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::JoinError,
};

use crate::{ErrorKind, Failure};

/// Operations with a thread of their own. There are 512 threads (tokio's default), and operations need others besides:
/// were all of them taken, none would go on.
static THREADS: Semaphore = Semaphore::const_new(64);

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread until it is dropped.
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

/// Whether the caller may block the thread it is polled on.
pub(super) fn is_here() -> bool {
    IS_OWN.get()
}

/// Runs an operation on a thread of its own, if one is to be had. Dropped, it is dropped there, once the step that is under
/// way is done.
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

/// Does what may block: here, if the thread is the operation's own.
pub(super) async fn blocking<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if is_here() { Ok(step()) } else { tokio::task::spawn_blocking(step).await }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    // Other tests run operations beside these.
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
