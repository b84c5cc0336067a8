//! The daemon's end of one connection: reads requests, runs them side by side, writes their answers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ggen_marketplace::{Caller, ErrorKind, Failure, Interrupt, Progress};
use serde_json::json;
use tokio::{
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::{mpsc, watch},
    task::{self, JoinSet},
    time::{Instant, MissedTickBehavior},
};

use super::{
    descriptors::{Reader, Received},
    frame::{FrameReader, write_frame},
    handler::{Handler, Stop},
    protocol::{Answer, Attached, Body, Call, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, Request},
};
use crate::error;

/// Requests that run on one connection.
const MAX_RUNNING: usize = 16;
/// Answers that wait to be written; beyond it the requests wait.
const ANSWER_QUEUE: usize = 32;
/// Shortest time between two progress answers; what happens in between is dropped.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Longest time without an answer to a request that runs: after it the daemon says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// How long the last answers may take to be written when the connection ends.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Serves one client until it leaves, misbehaves, or the daemon stops. Requests that still run are then cancelled.
pub(super) async fn converse<H: Handler>(stream: UnixStream, handler: Arc<H>, stop: Stop) {
    let (read, write) = stream.into_split();
    let (answers, queue) = mpsc::channel(ANSWER_QUEUE);
    let writer = tokio::spawn(write_answers(write, queue));
    let (read, files) = Reader::new(read);
    let mut frames = FrameReader::new(read, MAX_REQUEST_BYTES);
    let (running, ids) = (JoinSet::new(), HashMap::new());
    let mut requests = Requests { handler, stop: stop.clone(), answers, files, running, ids };
    loop {
        let kept = tokio::select! {
            frame = frames.next() => match frame {
                Ok(Some(line)) => requests.start(&line),
                Ok(None) => false,
                Err(cause) => {
                    let failure = Failure::from_error(ErrorKind::Usage, &cause);
                    requests.refuse(0, failure.while_doing("the daemon cannot read the request"));
                    false
                }
            },
            Some(ended) = requests.running.join_next_with_id() => requests.ended(ended),
            () = stop.wait() => false,
        };
        if !kept {
            break;
        }
    }
    requests.running.shutdown().await;
    drop(requests);
    if tokio::time::timeout(FLUSH_PATIENCE, writer).await.is_err() {
        tracing::debug!("a client did not take its last answers");
    }
}

/// The requests of one connection.
struct Requests<H> {
    handler: Arc<H>,
    stop: Stop,
    answers: mpsc::Sender<Answer>,
    /// Open files that came with requests.
    files: Received,
    running: JoinSet<()>,
    /// The running requests by their task.
    ids: HashMap<task::Id, Running>,
}

/// A request that runs.
struct Running {
    id: u64,
    interrupt: Interrupt,
}

impl<H: Handler> Requests<H> {
    /// Takes a request; returns whether the connection is to be kept.
    fn start(&mut self, line: &[u8]) -> bool {
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(cause) => {
                let failure = Failure::from_error(ErrorKind::Usage, &cause);
                self.refuse(0, failure.while_doing("the daemon cannot understand the request"));
                return false;
            }
        };
        let (id, umask) = (request.id, request.umask);
        let Some(caller) = self.caller(&request) else {
            self.refuse(id, error::usage("the open files that the request names did not come with it"));
            return false;
        };
        if self.running.len() >= MAX_RUNNING {
            let message = format!("more than {MAX_RUNNING} requests at once on one connection");
            return self.refuse(id, Failure::new(ErrorKind::Failed, message));
        }
        match Call::parse(request) {
            Ok(Call::Interrupt(id)) => {
                // One that has ended meanwhile is answered already.
                self.ids.values().filter(|running| running.id == id).for_each(|running| running.interrupt.trigger());
                true
            }
            Ok(call) => {
                tracing::debug!(id, method = call.method(), "request");
                let interrupt = Interrupt::new();
                let asked = Asked { id, call, caller, umask, interrupt: interrupt.clone() };
                let work = answer(self.handler.clone(), self.stop.clone(), asked, self.answers.clone());
                self.ids.insert(self.running.spawn(work).id(), Running { id, interrupt });
                true
            }
            Err(failure) => self.refuse(id, failure),
        }
    }

    /// Who asks, with the open files that came with the request; nothing if they are not those it names.
    fn caller(&self, request: &Request) -> Option<Caller> {
        let mut caller = Caller::default();
        for (what, file) in request.attached.iter().zip(self.files.take(request.attached.len())?) {
            let place = match what {
                Attached::Input => &mut caller.input,
            };
            *place = Some(file.into());
        }
        Some(caller)
    }

    /// Answers with a failure, unless the client does not take its answers; returns whether it does.
    fn refuse(&self, id: u64, failure: Failure) -> bool {
        self.answers.try_send(Answer { id, body: Body::Failure(failure) }).is_ok()
    }

    /// Clears up after a request; one that panicked is answered here.
    fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) -> bool {
        let (task, panicked) = match &ended {
            Ok((task, ())) => (*task, false),
            Err(cause) => (cause.id(), cause.is_panic()),
        };
        match self.ids.remove(&task) {
            Some(Running { id, .. }) if panicked => {
                self.refuse(id, Failure::new(ErrorKind::Failed, "the daemon failed at the request"))
            }
            _ => true,
        }
    }
}

/// A request that is to be carried out.
struct Asked {
    id: u64,
    call: Call,
    caller: Caller,
    umask: Option<u32>,
    interrupt: Interrupt,
}

/// Runs one request and sends its answers. A client that is gone is noticed by the reader, not here.
async fn answer<H: Handler>(handler: Arc<H>, stop: Stop, asked: Asked, answers: mpsc::Sender<Answer>) {
    let Asked { id, call, caller, umask, interrupt } = asked;
    if matches!(call, Call::Stop) {
        let body = Body::Result(json!({ "stopped": true, "pid": std::process::id() }));
        // The answer is queued before the daemon learns that it stops, so that it is still written.
        drop(answers.send(Answer { id, body }).await);
        stop.trigger();
        return;
    }
    let (sender, mut progress) = watch::channel(None);
    let reporter = Arc::new(move |event: Progress| {
        sender.send_replace(Some(event));
    });
    drop(answers.send(Answer { id, body: Body::Working {} }).await);
    let mut answered = Instant::now();
    let work = async {
        let _holding = match umask {
            Some(umask) if matches!(call, Call::Fetch(_)) => Some(handler.umask().take_on(umask).await),
            _ => None,
        };
        handler.call(call, caller, reporter, interrupt).await
    };
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut work => break outcome,
            now = ticks.tick() => {
                let changed = progress.has_changed().unwrap_or(false);
                let event = if changed { progress.borrow_and_update().clone() } else { None };
                let body = match event {
                    Some(event) => Body::Progress(event),
                    None if now - answered >= KEEP_ALIVE => Body::Working {},
                    None => continue,
                };
                // A full queue means that the client has answers to read; a later event says more anyway.
                drop(answers.try_send(Answer { id, body }));
                answered = now;
            }
        }
    };
    let body = outcome.map_or_else(Body::Failure, Body::Result);
    drop(answers.send(Answer { id, body }).await);
}

async fn write_answers(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Answer>) {
    while let Some(answer) = queue.recv().await {
        let written = match encode(&answer) {
            Ok(line) => write_frame(&mut write, line).await,
            Err(cause) => Err(cause.into()),
        };
        if let Err(cause) = written {
            tracing::debug!(%cause, "a client left before its answer");
            return;
        }
    }
}

/// One line of the answer, or of the failure that it is too long.
fn encode(answer: &Answer) -> serde_json::Result<Vec<u8>> {
    let line = serde_json::to_vec(answer)?;
    if line.len() <= MAX_ANSWER_BYTES {
        return Ok(line);
    }
    let failure = error::usage(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
    serde_json::to_vec(&Answer { id: answer.id, body: Body::Failure(failure) })
}
