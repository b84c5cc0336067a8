//! Serves the requests of one stream in sequence: reads a request, has the frames made on blocking threads, and sends
//! one frame while the next is made.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _,
    future::{self, BoxFuture, Either},
};
use libp2p::PeerId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout},
};

use crate::node::exchange::bulk::{
    compression_policy::{InFlight, Pace},
    event::{Event, TaskEvent},
    input::read_frame,
    limits::PeerLimits,
    message::{Header, MAX_REQUEST_BYTES, Request, Status, put},
    response::{Made, ResponseBuilder, ResponseContext},
    stored_manifest::Unreadable,
};

/// Size of one write, in bytes.
const STEP_BYTES: usize = 64 << 10;
/// Maximum number of requests that are served at the same time, of all peers together.
const MAX_ANSWERING: usize = 64;
/// Maximum number of frames that are made at the same time, of all peers together, each on a blocking thread. Others
/// wait in a queue.
const MAX_MAKING: usize = 4;
/// Memory for frames that are being made or sent, of all peers together, in units of [`MEMORY_UNIT`] bytes.
const MEMORY_UNITS: usize = (64 << 20) / MEMORY_UNIT;
const MEMORY_UNIT: usize = 4 << 10;
/// A first frame of up to this many bytes is made in the same step that opens the response.
const SMALL_BYTES: usize = 64 << 10;
/// How long a frame waits for memory; then the response ends early, and the client can ask another peer.
const MEMORY_WITHIN: Duration = Duration::from_millis(500);

/// Time limits of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// To send a request, the first or the next.
    pub(super) request: Duration,
    /// To receive [`STEP_BYTES`].
    pub(super) step: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request: Duration::from_secs(20), step: Duration::from_secs(30) }
    }
}

/// The state that all responses share.
#[derive(Clone, Debug)]
pub(super) struct Server {
    context: Arc<ResponseContext>,
    answering: Arc<Semaphore>,
    making: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    patience: Patience,
}

/// Why a response ended early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the stream broke off")]
    Stream(#[from] io::Error),
    #[error("the peer does not take what it asked for")]
    Stuck,
    #[error("the peer takes what was not sent")]
    Early,
    #[error("what is asked for cannot be read")]
    Unreadable(#[from] Unreadable),
    #[error("too much is asked for at the same time")]
    Busy,
    #[error("a worker died")]
    Worker(#[from] tokio::task::JoinError),
}

/// A frame, and the response that the next one is made from.
struct Ready {
    job: ResponseBuilder,
    made: Result<Option<Made>, Unreadable>,
    _memory: OwnedSemaphorePermit,
}

type Making = BoxFuture<'static, Result<Ready, Ended>>;

impl Server {
    pub(super) fn new(context: ResponseContext, patience: Patience) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (answering, making, memory) = (semaphore(MAX_ANSWERING), semaphore(MAX_MAKING), semaphore(MEMORY_UNITS));
        Self { context: Arc::new(context), answering, making, memory, patience }
    }

    /// Serves the requests on `stream`, and reports every frame that was sent.
    pub(super) async fn serve<S>(self, peer: PeerId, stream: S, share: PeerLimits, events: mpsc::Sender<TaskEvent>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut reader, writer) = stream.split();
        let mut writer = Writer { writer, within: self.patience.step };
        let mut before = Some(Account::default());
        while let Some(account) = before {
            before = match self.answer_next(peer, account, &mut reader, &mut writer, &share, &events).await {
                Ok(account) => account,
                Err(error) => {
                    tracing::debug!(%peer, %error, "an answer of blocks ended early");
                    return;
                }
            };
        }
        if let Err(error) = writer.close().await {
            tracing::trace!(%peer, %error, "the asker is gone");
        }
    }

    /// Serves the next request, which follows the acknowledgements of the response `before`. Returns the account of the
    /// new response; `None` if the client sends no more requests.
    async fn answer_next<R, W>(
        &self,
        peer: PeerId,
        before: Account,
        reader: &mut R,
        writer: &mut Writer<W>,
        share: &PeerLimits,
        events: &mpsc::Sender<TaskEvent>,
    ) -> Result<Option<Account>, Ended>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let Some(request) = self.next_request(before, reader, &share.pace).await? else { return Ok(None) };
        let turns = (Arc::clone(&self.answering).try_acquire_owned(), Arc::clone(&share.answering).try_acquire_owned());
        let (Ok(_turn), Ok(_peers_turn)) = turns else {
            writer.say(Status::Busy).await?;
            return Ok(Some(Account::default()));
        };
        let making = match Request::decode(&request) {
            Ok(request) => self.open(request, share).await?,
            Err(error) => {
                tracing::debug!(%peer, %error, "a request for blocks is not understood");
                Err(Status::NotUnderstood)
            }
        };
        let making = match making {
            Ok(making) => making,
            Err(status) => {
                writer.say(status).await?;
                return Ok((status != Status::NotUnderstood).then(Account::default));
            }
        };
        let account = Mutex::new(Account::default());
        tokio::select! {
            // After the last frame, the next byte may belong to a request, and is not read as an acknowledgement.
            biased;
            sent = self.send(peer, making, writer, &account, events) => sent?,
            ended = watch(reader, &share.pace, &account) => return Err(ended),
        }
        let account = account.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((!account.is_closed).then_some(account))
    }

    /// Reads the remaining acknowledgements of the last response, and the next request; `None` if there is no next one.
    async fn next_request<R: AsyncRead + Unpin>(
        &self,
        mut before: Account,
        reader: &mut R,
        pace: &Mutex<Pace>,
    ) -> Result<Option<Vec<u8>>, Ended> {
        let read = async {
            let mut taken = [0];
            while before.taken < before.sent {
                reader.read_exact(&mut taken).await?;
                before.on_taken(pace);
            }
            read_frame(reader, MAX_REQUEST_BYTES).await
        };
        match timeout(self.patience.request, read).await {
            Ok(Ok(request)) => Ok(Some(request)),
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Opens the response to a request, and has its first frame made; in the same step if it is small.
    async fn open(&self, request: Request, share: &PeerLimits) -> Result<Result<Making, Status>, Ended> {
        let (context, pace) = (Arc::clone(&self.context), Arc::clone(&share.pace));
        let follows = share.answers_others();
        let memory = Arc::clone(&self.memory).try_acquire_many_owned((SMALL_BYTES / MEMORY_UNIT) as u32);
        let turn = Arc::clone(&self.making).acquire_owned().await.map_err(|_| Ended::Busy)?;
        let opening = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let job = ResponseBuilder::open(context, request, pace, follows)?;
            Ok(match memory {
                Ok(memory) if job.next_bytes() <= SMALL_BYTES => Either::Left(make_next(job, memory)),
                _ => Either::Right(job),
            })
        });
        let opened = opening.await?;
        Ok(opened.map(|opened| match opened {
            Either::Left(ready) => future::ready(Ok(ready)).boxed(),
            Either::Right(job) => self.make(job),
        }))
    }

    async fn send<W: AsyncWrite + Unpin>(
        &self,
        peer: PeerId,
        mut making: Making,
        writer: &mut Writer<W>,
        account: &Mutex<Account>,
        events: &mpsc::Sender<TaskEvent>,
    ) -> Result<(), Ended> {
        writer.write(&[Status::Here.to_byte()]).await?;
        loop {
            let Ready { job, made, _memory } = match making.await {
                Ok(ready) => ready,
                Err(Ended::Busy) => break,
                Err(error) => return Err(error),
            };
            let Some(made) = made? else { break };
            let is_last = job.is_done();
            let next = (!is_last).then(|| self.make(job));
            if made.blocks > 0 {
                account.lock().unwrap_or_else(PoisonError::into_inner).on_sending(&made);
            }
            writer.write(&framed(&made.header)).await?;
            for piece in &made.payload {
                writer.write(piece).await?;
            }
            if is_last {
                writer.write(&framed(&Header::End)).await?;
            }
            writer.flush().await?;
            let served = Event::Served { peer, blocks: made.blocks, bytes: made.bytes };
            let is_told = made.blocks == 0 || events.send(TaskEvent::Event(served)).await.is_ok();
            match next.filter(|_| is_told) {
                Some(next) => making = next,
                None => return Ok(()),
            }
        }
        writer.write(&framed(&Header::End)).await?;
        writer.flush().await
    }

    /// Has the next frame made once memory and a thread are free.
    fn make(&self, job: ResponseBuilder) -> Making {
        let (making, memory) = (Arc::clone(&self.making), Arc::clone(&self.memory));
        let made = tokio::spawn(async move {
            let units = job.next_bytes().div_ceil(MEMORY_UNIT) as u32;
            let memory = timeout(MEMORY_WITHIN, memory.acquire_many_owned(units)).await.map_err(|_| Ended::Busy)?;
            let memory = memory.map_err(|_| Ended::Busy)?;
            let _turn = making.acquire_owned().await.map_err(|_| Ended::Busy)?;
            Ok(tokio::task::spawn_blocking(move || make_next(job, memory)).await?)
        });
        async { made.await? }.boxed()
    }
}

/// Makes the next frame. Releases the part of `memory` that was only needed to make it.
fn make_next(mut job: ResponseBuilder, mut memory: OwnedSemaphorePermit) -> Ready {
    let made = job.next();
    if let Ok(Some(made)) = &made {
        let kept = made.payload_bytes().div_ceil(MEMORY_UNIT);
        drop(memory.split(memory.num_permits().saturating_sub(kept)));
    }
    Ready { job, made, _memory: memory }
}

/// The state of one response.
#[derive(Debug, Default)]
struct Account {
    untaken: InFlight,
    /// Numbers of frames that were sent, and that the client has acknowledged.
    sent: usize,
    taken: usize,
    /// The client sends no more requests.
    is_closed: bool,
}

impl Account {
    fn on_sending(&mut self, made: &Made) {
        let (raw, wire) = (made.bytes as usize, made.payload_bytes());
        self.untaken.on_sending(made.packed, raw, wire, Instant::now().into_std());
        self.sent += 1;
    }

    /// Records an acknowledgement. Returns false if every frame was acknowledged already.
    fn on_taken(&mut self, pace: &Mutex<Pace>) -> bool {
        if self.taken >= self.sent {
            return false;
        }
        self.taken += 1;
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.on_taken(&mut self.untaken, Instant::now().into_std());
        true
    }
}

/// Records acknowledgements, one byte for each frame. Returns when the stream fails, or after one too many.
async fn watch<R: AsyncRead + Unpin>(reader: &mut R, pace: &Mutex<Pace>, account: &Mutex<Account>) -> Ended {
    let mut byte = [0];
    loop {
        let count = match reader.read(&mut byte).await {
            Ok(count) => count,
            Err(error) => return error.into(),
        };
        let lock = || account.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            // The client sends nothing more, and may still read.
            lock().is_closed = true;
            return std::future::pending().await;
        }
        if !lock().on_taken(pace) {
            return Ended::Early;
        }
    }
}

/// Writes with a time limit.
#[derive(Debug)]
struct Writer<W> {
    writer: W,
    within: Duration,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        for step in bytes.chunks(STEP_BYTES) {
            timeout(self.within, self.writer.write_all(step)).await.map_err(|_| Ended::Stuck)??;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        Ok(timeout(self.within, self.writer.flush()).await.map_err(|_| Ended::Stuck)??)
    }

    async fn close(&mut self) -> Result<(), Ended> {
        Ok(timeout(self.within, self.writer.close()).await.map_err(|_| Ended::Stuck)??)
    }

    async fn say(&mut self, status: Status) -> Result<(), Ended> {
        self.write(&[status.to_byte()]).await?;
        self.flush().await
    }
}

/// Rejects a stream as busy.
pub(super) async fn turn_away<S: AsyncWrite + Unpin + Send>(stream: S) {
    let mut writer = Writer { writer: stream, within: Patience::default().step };
    let said = async {
        writer.say(Status::Busy).await?;
        writer.close().await
    };
    if let Err(error) = said.await {
        tracing::trace!(%error, "one turned away is gone");
    }
}

fn framed(header: &Header) -> Vec<u8> {
    let body = header.encode();
    let mut bytes = Vec::with_capacity(body.len() + 4);
    put(&mut bytes, body.len() as u64);
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::MemoryBlockstore;

    use super::*;
    use crate::node::exchange::bulk::paths::PathCache;

    #[tokio::test]
    async fn what_is_taken_after_an_answer_has_ended_tells_how_far_the_asker_is() {
        let context = ResponseContext { store: Arc::new(MemoryBlockstore::new()), paths: PathCache::default() };
        let (server, pace) = (Server::new(context, Patience::default()), Mutex::new(Pace::default()));
        let mut before = Account { sent: 1, ..Account::default() };
        // A client that takes so much within a minute is near.
        before.untaken.on_sending(None, 1, 3 << 30, Instant::now().into_std());
        let mut reader: &[u8] = &[0, 2, 7, 7];
        let request = server.next_request(before, &mut reader, &pace).await.unwrap();
        assert_eq!(request, Some(vec![7, 7]));
        assert!(pace.lock().unwrap().is_near());
    }
}
