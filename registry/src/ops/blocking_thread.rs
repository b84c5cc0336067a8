//! Where operations run, and where their blocking steps do.
//!
//! An operation is a chain of steps, many of which read from disk. Handing a step to another thread costs two thread
//! wake-ups, which takes longer than most steps. An operation that a caller waits for therefore runs on a blocking
//! thread of its own, and its steps run there directly ([`Blocking::Inline`]). Tasks of the async runtime hand their
//! steps to the pool of blocking threads ([`Blocking::Pool`]).
//!
//! A step may block on a disk but not on asynchronous work (`blocking_send` and similar calls panic there).

use std::{future::Future, panic};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::JoinError,
};

use crate::{ErrorKind, Failure};

/// Limits the operations that run on their own thread. Tokio has 512 blocking threads by default, and these operations
/// need further ones: if they occupied all, none could make progress.
static THREADS: Semaphore = Semaphore::const_new(64);

/// Where an operation runs its blocking steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// On the operation's own thread, which may block.
    Inline,
    /// On another blocking thread, because the operation runs in a task of the async runtime.
    Pool,
}

impl Blocking {
    /// Runs a blocking step.
    ///
    /// # Errors
    /// The step panicked on another thread.
    pub(super) async fn step<T: Send + 'static>(
        self,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self {
            Self::Inline => Ok(step()),
            Self::Pool => tokio::task::spawn_blocking(step).await,
        }
    }

    /// As [`step`](Self::step), for a step that may fail.
    pub(super) async fn run<T: Send + 'static>(
        self,
        step: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        match self.step(step).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Failure::from_error(ErrorKind::Failed, &error).while_doing("a worker died")),
        }
    }
}

/// Runs an operation on its own blocking thread, or in the caller's task if none is free. The operation gets that as
/// a value, and is made there. If the returned future is dropped, the operation is dropped on that thread after its current
/// step.
pub(crate) async fn run<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send>(
    operation: impl FnOnce(Blocking) -> F + Send + 'static,
) -> Result<T, Failure> {
    run_on(&THREADS, operation).await
}

async fn run_on<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send>(
    threads: &'static Semaphore,
    operation: impl FnOnce(Blocking) -> F + Send + 'static,
) -> Result<T, Failure> {
    let Ok(permit) = threads.try_acquire() else { return operation(Blocking::Pool).await };
    let (_caller, caller_gone) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = caller_gone => Err(Failure::new(ErrorKind::Failed, "no caller waits for it any more")),
                outcome = operation(Blocking::Inline) => outcome,
            }
        })
    });
    match thread.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Failure::from_error(ErrorKind::Failed, &error)),
    }
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
            let here = async |on: Blocking| on.step(|| thread::current().id()).await.unwrap();
            let operation = run_on(&ENOUGH, move |on| async move { Ok((on, thread::current().id(), here(on).await)) });
            let (on, operation, step) = operation.await.unwrap();
            assert_eq!((on, operation), (Blocking::Inline, step));
            assert_ne!(operation, thread::current().id());
            assert_eq!(here(Blocking::Pool).await, operation, "there is only that one besides");
        });
    }

    #[tokio::test]
    async fn where_there_are_too_many_an_operation_shares_the_caller_s_thread() {
        let operation = run_on(&NONE, async |on| Ok((thread::current().id(), on)));
        assert_eq!(operation.await.unwrap(), (thread::current().id(), Blocking::Pool));
    }

    #[tokio::test]
    async fn an_operation_that_nobody_waits_for_is_dropped() {
        struct Dropped(mpsc::Sender<()>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (dropped, is_dropped) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let operation = run_on(&ENOUGH, async move |_| {
            let _dropped = Dropped(dropped);
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
        let operation = tokio::spawn(run_on(&ENOUGH, async |_| panic!("on purpose") as Result<(), Failure>));
        let panic = operation.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    }
}
