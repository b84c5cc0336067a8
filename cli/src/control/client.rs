//! The command's end of the control socket.

use std::io;

use ggen_marketplace::{ErrorKind, Failure, Interrupt, Reporter};
use serde::de::DeserializeOwned;
use tokio::net::{
    UnixStream,
    unix::{OwnedReadHalf, OwnedWriteHalf},
};

use super::{
    frame::{FrameReader, write_frame},
    protocol::{Answer, Body, Call, MAX_ANSWER_BYTES},
};

/// A connection with a daemon. Dropping it cancels what it asked for.
#[derive(Debug)]
pub(crate) struct Client {
    frames: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    next_id: u64,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self { frames: FrameReader::new(read, MAX_ANSWER_BYTES), write, next_id: 1 }
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
        self.call_interruptible(call, reporter, &Interrupt::new()).await
    }

    /// As [`Client::call`]; once `interrupt` is triggered the daemon is asked to end it, and says how it ended.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub(crate) async fn call_interruptible<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        reporter: &dyn Reporter,
        interrupt: &Interrupt,
    ) -> Result<T, Failure> {
        let (id, sent) = self.send(call).await?;
        let mut asked_to_end = false;
        loop {
            let line = tokio::select! {
                line = self.frames.next() => line,
                () = interrupt.wait(), if !asked_to_end => {
                    asked_to_end = true;
                    // A daemon that is gone meanwhile closes the connection, which is seen above.
                    drop(self.send(&Call::Interrupt(id)).await?);
                    continue;
                }
            };
            let Some(line) = line.map_err(|cause| broken(&cause))? else {
                return Err(sent.map_or_else(|cause| broken(&cause), |()| gone()));
            };
            let answer: Answer = serde_json::from_slice(&line).map_err(|cause| broken(&cause))?;
            match answer.body {
                // An answer without a request's id speaks of the whole connection.
                Body::Failure(failure) if answer.id == id || answer.id == 0 => return Err(failure),
                Body::Progress(progress) if answer.id == id => reporter.report(progress),
                Body::Result(value) if answer.id == id => {
                    return serde_json::from_value(value).map_err(|cause| broken(&cause));
                }
                _ => tracing::debug!(id = answer.id, "answer to a request that nobody waits for"),
            }
        }
    }

    /// Sends a request; returns its id, and whether it could be written.
    async fn send(&mut self, call: &Call) -> Result<(u64, io::Result<()>), Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let line = serde_json::to_vec(&call.request(id)?).map_err(|cause| broken(&cause))?;
        // A daemon that refuses the connection says why and closes it: its answer counts more than our failed write.
        Ok((id, write_frame(&mut self.write, line).await))
    }
}

fn broken(cause: &dyn std::error::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, cause).while_doing("cannot talk to the daemon")
}

fn gone() -> Failure {
    Failure::new(ErrorKind::Failed, "the daemon went away before it answered")
        .hinted("`ggen.log` in the home says more; the same command can simply be repeated")
}
