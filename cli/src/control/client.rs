//! The command's end of the control socket.

use std::{future::Future, io, os::fd::AsFd, time::Duration};

use ggen_marketplace::{Caller, ErrorKind, Failure, Interrupt, Reporter};
use serde::de::DeserializeOwned;
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};

use super::{
    descriptors,
    frame::{FrameError, FrameReader},
    protocol::{Answer, Attached, Body, Call, MAX_ANSWER_BYTES},
};
use crate::{
    error,
    home::{Holder, Home},
    umask,
};

/// A connection with a daemon. Dropping it cancels what it asked for.
#[derive(Debug)]
pub(crate) struct Client {
    frames: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    next_id: u64,
    home: Home,
    patience: Duration,
    /// Of this process.
    umask: u32,
}

impl Client {
    /// Talks to the daemon of `home`, which is given up when it sends nothing for `patience` while it owes an answer.
    pub(crate) fn new(stream: UnixStream, home: &Home, patience: Duration) -> Self {
        let (read, write) = stream.into_split();
        Self {
            frames: FrameReader::new(read, MAX_ANSWER_BYTES),
            write,
            next_id: 1,
            home: home.clone(),
            patience,
            umask: umask::current(),
        }
    }

    /// The home, and how long its daemon may send nothing.
    pub(crate) fn terms(&self) -> (&Home, Duration) {
        (&self.home, self.patience)
    }

    /// Asks for `call`, passes its progress on and returns its result.
    ///
    /// # Errors
    /// The daemon's failure, or that of the conversation.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        reporter: &dyn Reporter,
    ) -> Result<T, Failure> {
        self.call_for(call, Caller::default(), reporter, &Interrupt::new()).await
    }

    /// As [`Client::call`], with what `caller` brings along; once `interrupt` is triggered the daemon is asked to end it,
    /// and says how it ended.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn call_for<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        caller: Caller,
        reporter: &dyn Reporter,
        interrupt: &Interrupt,
    ) -> Result<T, Failure> {
        let (id, sent) = self.send(call, caller).await?;
        let mut asked_to_end = false;
        loop {
            let line = tokio::select! {
                line = within(&self.home, self.patience, self.frames.next()) => line?,
                () = interrupt.wait(), if !asked_to_end => {
                    asked_to_end = true;
                    if let Some(failure) = interrupted_at_a_stopped(&self.home) {
                        return Err(failure);
                    }
                    // A daemon that is gone meanwhile closes the connection, which is seen above.
                    drop(self.send(&Call::Interrupt(id), Caller::default()).await?);
                    continue;
                }
            };
            let line = match line {
                Err(FrameError::Io(cause)) if is_gone(&cause) => None,
                line => line.map_err(|cause| broken(&cause))?,
            };
            let Some(line) = line else {
                return Err(
                    sent.map_or_else(|cause| if is_gone(&cause) { gone() } else { broken(&cause) }, |()| gone())
                );
            };
            let answer: Answer = serde_json::from_slice(&line).map_err(|cause| broken(&cause))?;
            match answer.body {
                // An answer without a request's id speaks of the whole connection.
                Body::Failure(failure) if answer.id == id || answer.id == 0 => return Err(failure),
                Body::Progress(progress) if answer.id == id => reporter.report(progress),
                Body::Working {} => {}
                Body::Result(value) if answer.id == id => {
                    return serde_json::from_value(value).map_err(|cause| broken(&cause));
                }
                _ => tracing::debug!(id = answer.id, "answer to a request that nobody waits for"),
            }
        }
    }

    /// Sends a request and the caller's open files, which are closed here then; returns its id, and whether it could be
    /// written. A daemon that refuses the connection says why and closes it: its answer counts more than our failed write.
    async fn send(&mut self, call: &Call, caller: Caller) -> Result<(u64, io::Result<()>), Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = call.request(id)?;
        let files = [(Attached::Input, &caller.input)];
        let files = files.into_iter().filter_map(|(what, file)| Some((what, file.as_ref()?.as_fd())));
        let (attached, descriptors): (Vec<_>, Vec<_>) = files.unzip();
        request.attached = attached;
        request.umask = Some(self.umask);
        let mut line = serde_json::to_vec(&request).map_err(|cause| broken(&cause))?;
        line.push(b'\n');
        let sent = within(&self.home, self.patience, descriptors::send(&mut self.write, &line, &descriptors)).await?;
        Ok((id, sent))
    }
}

/// Bounds a step of a conversation with the daemon of `home`.
async fn within<T>(home: &Home, patience: Duration, step: impl Future<Output = T>) -> Result<T, Failure> {
    match tokio::time::timeout(patience, step).await {
        Ok(outcome) => Ok(outcome),
        Err(_) => Err(silent(home, patience)),
    }
}

/// The failure of a command whose daemon does not answer.
pub(crate) fn silent(home: &Home, patience: Duration) -> Failure {
    given_up(home, &format!("has not answered for {} s", patience.as_secs()))
}

/// The failure of a command whose daemon has no socket to be reached by.
pub(crate) fn no_socket(home: &Home, patience: Duration) -> Failure {
    given_up(home, &format!("has had no control socket for {} s", patience.as_secs()))
}

/// The failure of a command whose daemon answers and gets no further with the request.
pub(crate) fn stalled(home: &Home, call: &Call, limit: Duration) -> Failure {
    given_up(home, &format!("has made no progress with `{}` for {} s", call.method(), limit.as_secs()))
}

/// Says what a command without progress waits for: a daemon that runs and has to fetch something waits for its peers.
pub(crate) fn waits_for(home: &Home, call: &Call) -> String {
    let is_stopped = Holder::of(home).ok().flatten().is_some_and(|holder| holder.is_stopped());
    no_progress(call, is_stopped)
}

fn no_progress(call: &Call, is_stopped: bool) -> String {
    let asks_peers = matches!(
        call,
        Call::Fetch(_) | Call::Search(_) | Call::Info(_) | Call::PinAdd(_) | Call::Bootstrap(_) | Call::Doctor(_)
    );
    let whom = if asks_peers && !is_stopped { "peers" } else { "the daemon" };
    format!("Waiting for {whom}: no progress with `{}` so far", call.method())
}

/// The failure of a command that waits for its daemon no longer.
fn given_up(home: &Home, what: &str) -> Failure {
    let holder = Holder::of(home).ok().flatten().unwrap_or_default();
    let failure = Failure::new(ErrorKind::TimedOut, format!("the daemon of home `{}` {what}", home.path().display()));
    match holder.pid {
        Some(pid) if holder.is_stopped() => {
            let failure = Failure { causes: vec![format!("process {pid} is stopped")], ..failure };
            failure.hinted(format!("let it go on with `kill -CONT {pid}`"))
        }
        Some(pid) => failure.hinted(format!(
            "the log `{}` may say why; end the daemon with `kill -KILL {pid}` and start it again: nothing that is stored gets lost",
            home.log_file().display()
        )),
        None => failure.hinted(format!("the log `{}` may say why", home.log_file().display())),
    }
}

/// The failure of a command that a signal ends while its daemon is stopped and cannot say how far it is; `None` if it is not.
fn interrupted_at_a_stopped(home: &Home) -> Option<Failure> {
    let holder = Holder::of(home).ok().flatten().filter(Holder::is_stopped)?;
    let pid = holder.pid?;
    let cause = format!("the daemon, process {pid}, is stopped: whether it had done its work by then is not known");
    let failure = Failure { causes: vec![cause], ..error::interrupted() };
    Some(failure.hinted(format!("let it go on with `kill -CONT {pid}`; the same command can simply be repeated")))
}

fn broken(cause: &dyn std::error::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, cause).while_doing("cannot talk to the daemon")
}

/// Whether an error says that the other end of the connection is no more.
fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn gone() -> Failure {
    Failure::new(ErrorKind::Failed, "the daemon went away before it answered")
        .hinted("`ggen.log` in the home says more; start the node again with `ggen marketplace p2p start --daemon`, then repeat the command")
}

#[cfg(test)]
mod tests {
    use ggen_marketplace::BootstrapRequest;

    use super::*;

    #[test]
    fn only_a_daemon_that_is_stopped_or_busy_itself_is_said_to_be_waited_for() {
        let bootstrap = Call::Bootstrap(BootstrapRequest { nodes: Vec::new(), timeout: Duration::ZERO });
        assert_eq!(no_progress(&bootstrap, false), "Waiting for peers: no progress with `bootstrap` so far");
        assert_eq!(no_progress(&bootstrap, true), "Waiting for the daemon: no progress with `bootstrap` so far");
        assert!(no_progress(&Call::PinLs, false).starts_with("Waiting for the daemon: "));
    }
}
