//! The process that runs a node and serves its home's socket.

mod detach;

use std::{io, sync::Arc, time::Duration};

use ggen_marketplace::{Caller, Config, ErrorKind, Failure, Interrupt, Listening, Mode, Registry, Reporter};
use serde_json::Value;

pub(crate) use detach::{Detached, spawn};

use crate::{
    backend,
    control::{self, Call, Handler, Stop},
    error,
    home::{DaemonLock, when_free},
    interrupt::Interrupts,
    umask::Lent,
};

/// How long a node may take for an orderly shutdown before the process exits. The store is consistent either way.
pub(crate) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);

/// Most time a starting node waits for commands that use the home without a daemon. A longer wait would look like a
/// failed start.
const HOME_PATIENCE: Duration = Duration::from_secs(30);

/// Runs the node of the locked home until a signal or a client's `stop`; calls `ready` once it listens and answers.
///
/// # Errors
/// The node cannot start, or does not stop in time. The socket is removed in any case.
pub(crate) async fn run(
    lock: &DaemonLock,
    config: Config,
    mut interrupts: Interrupts,
    ready: impl FnOnce(&Listening) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let home = lock.home().path();
    let patience = config.timeouts.home_lock().min(HOME_PATIENCE);
    let say = |failure: &Failure| tracing::info!("blocking: waiting for file lock on the home: {failure}");
    let opened = tokio::select! {
        opened = when_free(patience, say, || Registry::open(home, config.clone(), Mode::Daemon)) => opened,
        _ = interrupts.next() => return Err(error::interrupted()),
    };
    let registry = opened?;
    let outcome = serve(lock, &registry, &mut interrupts, ready).await;
    tokio::select! {
        stopped = tokio::time::timeout(SHUTDOWN_PATIENCE, registry.shutdown()) => {
            if stopped.is_err() {
                let seconds = SHUTDOWN_PATIENCE.as_secs();
                return Err(Failure::new(ErrorKind::TimedOut, format!("the node did not stop within {seconds} s")));
            }
        }
        // A second signal skips the orderly shutdown.
        _ = interrupts.next() => return Err(error::interrupted()),
    }
    tracing::info!("the node has stopped");
    outcome
}

/// Serves the socket of the locked home. The socket exists before `ready` is called, and is removed at the end.
async fn serve(
    lock: &DaemonLock,
    registry: &Registry,
    interrupts: &mut Interrupts,
    ready: impl FnOnce(&Listening) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let home = lock.home().path();
    let refuse = |action: &str, cause: &io::Error| error::io(action, home, cause);
    let listener = control::bind(home).map_err(|cause| refuse("make the control socket in home", &cause))?;
    let stop = Stop::new();
    let node = Node { registry: registry.clone(), umask: Lent::default() };
    let own_home = home.to_owned();
    let renew = move || control::bind_if_missing(&own_home);
    let server = tokio::spawn(control::serve(listener, renew, Arc::new(node), stop.clone()));
    let listening = registry.listening();
    tracing::info!(peer_id = %listening.peer_id, addresses = ?listening.listen_addresses, "the node listens");
    let told = ready(&listening);
    if told.is_ok() {
        tokio::select! {
            signal = interrupts.next() => tracing::info!("stopping: {signal}"),
            () = stop.wait() => tracing::info!("stopping: a client's wish"),
        }
    }
    stop.trigger();
    let served = server.await.map_err(|cause| {
        Failure::from_error(ErrorKind::Failed, &cause).while_doing("the control socket's server failed")
    });
    control::remove(home).map_err(|cause| refuse("remove the control socket of home", &cause))?;
    told.and(served)
}

/// Performs the requests of clients.
struct Node {
    registry: Registry,
    umask: Lent,
}

impl Handler for Node {
    async fn call(
        &self,
        call: Call,
        caller: Caller,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> Result<Value, Failure> {
        backend::perform(&self.registry, call, caller, reporter, interrupt).await
    }

    fn umask(&self) -> &Lent {
        &self.umask
    }
}
