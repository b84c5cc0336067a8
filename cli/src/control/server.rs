//! The daemon's control socket: accepts clients, several at once, until it is told to stop.

use std::{io, sync::Arc, time::Duration};

use ggen_marketplace::{ErrorKind, Failure};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::MissedTickBehavior,
};

use super::{
    connection::converse,
    frame::write_frame,
    handler::{Handler, Stop},
    protocol::{Answer, Body},
};

/// Clients at once.
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// Interval of the look whether the socket is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which is what a process out of file descriptors needs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until `stop`; returns when all connections are closed and what ran on them is cancelled. `renew` returns
/// another listener when the socket of the present one is gone.
pub(crate) async fn serve<H: Handler>(
    mut listener: UnixListener,
    renew: impl Fn() -> Option<UnixListener>,
    handler: Arc<H>,
    stop: Stop,
) {
    let mut connections = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            _ = looks.tick() => listener = renew().unwrap_or(listener),
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
