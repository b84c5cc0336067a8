//! The daemon's control socket: accepts clients, several at once, until it is told to stop.

use std::{future::Future, io, sync::Arc, time::Duration};

use ggen_marketplace::{Caller, ErrorKind, Failure, Interrupt, Reporter};
use serde_json::Value;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    connection::converse,
    frame::write_frame,
    protocol::{Answer, Body, Call},
};
use crate::umask::Lent;

/// Clients at once.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// Pause after a failed accept, which is what a process out of file descriptors needs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Carries out what clients ask for.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Does what `call` says, for `caller`. It is dropped when the client leaves; `interrupt` is triggered when the client
    /// asks that it end. [`Call::Stop`] and [`Call::Interrupt`] never come here.
    fn call(
        &self,
        call: Call,
        caller: Caller,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> impl Future<Output = Result<Value, Failure>> + Send;

    /// The umask under which files are written for clients.
    fn umask(&self) -> &Lent;
}

/// The wish that the daemon stop: given once, seen by everybody.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    wish: Arc<watch::Sender<bool>>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)) }
    }

    pub(crate) fn trigger(&self) {
        self.wish.send_replace(true);
    }

    /// Returns once the wish was given. Cancel-safe.
    pub(crate) async fn wait(&self) {
        let mut seen = self.wish.subscribe();
        // It fails only if the sender is gone, and `self` keeps it.
        drop(seen.wait_for(|wished| *wished).await);
    }
}

/// Serves clients until `stop`; returns when all connections are closed and what ran on them is cancelled.
pub(crate) async fn serve<H: Handler>(listener: UnixListener, handler: Arc<H>, stop: Stop) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(converse(stream, handler.clone(), stop.clone()));
                }
                Ok((stream, _)) => refuse(stream),
                Err(cause) => {
                    tracing::warn!(%cause, "cannot accept a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(cause) = ended {
                    tracing::error!(%cause, "a control connection failed");
                }
            }
            () = stop.wait() => break,
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        if let Err(cause) = ended {
            tracing::error!(%cause, "a control connection failed");
        }
    }
}

/// Tells a client that there are too many. A fresh socket's buffer takes the line at once; if not, it is just closed.
fn refuse(stream: UnixStream) {
    let failure = Failure::new(ErrorKind::Failed, format!("the daemon already serves {MAX_CONNECTIONS} commands"));
    let Ok(line) = serde_json::to_vec(&Answer { id: 0, body: Body::Failure(failure) }) else { return };
    tokio::spawn(async move {
        let mut stream = stream;
        let written: io::Result<()> = write_frame(&mut stream, line).await;
        if let Err(cause) = written {
            tracing::debug!(%cause, "a refused client left");
        }
    });
}

#[cfg(test)]
mod tests;
