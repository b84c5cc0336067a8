//! Answers one request: reads it, has the parts made on blocking threads, and sends one while the next is made.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::PeerId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout},
};

use super::{
    behaviour::Event,
    input::read_frame,
    job::{Job, Library, Made},
    list::Unreadable,
    message::{Header, MAX_REQUEST_BYTES, Request, Status, put},
    pace::{Pace, Untaken},
};

/// Bytes that are written at once.
const STEP_BYTES: usize = 64 << 10;
/// Parts that are made at the same time, for everybody, each on a blocking thread. Whoever waits has his turn in order.
const MAX_MAKING: usize = 4;
/// Bytes of parts that are made or wait to be taken, for everybody, in [`MEMORY_UNIT`]s.
const MEMORY_UNITS: usize = (64 << 20) / MEMORY_UNIT;
const MEMORY_UNIT: usize = 4 << 10;
/// How long a part waits for memory, before the asker is sent elsewhere.
const MEMORY_WITHIN: Duration = Duration::from_millis(500);

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// To say what it wants.
    pub(super) request: Duration,
    /// To take [`STEP_BYTES`].
    pub(super) step: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { request: Duration::from_secs(10), step: Duration::from_secs(30) }
    }
}

/// What all answers share.
#[derive(Clone, Debug)]
pub(super) struct Server {
    library: Arc<Library>,
    making: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    patience: Patience,
}

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the stream broke off")]
    Stream(#[from] io::Error),
    #[error("the peer does not take what it asked for")]
    Stuck,
    #[error("what is asked for cannot be read")]
    Unreadable(#[from] Unreadable),
    #[error("too much is asked for at the same time")]
    Busy,
    #[error("a worker died")]
    Worker(#[from] tokio::task::JoinError),
}

type Making = tokio::task::JoinHandle<Result<(Job, Result<Option<Made>, Unreadable>, OwnedSemaphorePermit), Ended>>;

impl Server {
    pub(super) fn new(library: Library, patience: Patience) -> Self {
        let (making, memory) = (Semaphore::new(MAX_MAKING), Semaphore::new(MEMORY_UNITS));
        Self { library: Arc::new(library), making: Arc::new(making), memory: Arc::new(memory), patience }
    }

    /// Answers the request that comes in `stream`. Tells of what was sent.
    pub(super) async fn serve<S>(self, peer: PeerId, stream: S, pace: Arc<Mutex<Pace>>, events: mpsc::Sender<Event>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        if let Err(error) = self.answer(peer, stream, pace, events).await {
            tracing::debug!(%peer, %error, "an answer of blocks ended early");
        }
    }

    async fn answer<S>(
        self,
        peer: PeerId,
        stream: S,
        pace: Arc<Mutex<Pace>>,
        events: mpsc::Sender<Event>,
    ) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut reader, writer) = stream.split();
        let mut writer = Writer { writer, within: self.patience.step };
        let request = timeout(self.patience.request, read_frame(&mut reader, MAX_REQUEST_BYTES)).await;
        let request = request.map_err(|_| Ended::Stuck)??;
        let job = match Request::decode(&request) {
            Ok(request) => {
                let (library, pace) = (Arc::clone(&self.library), Arc::clone(&pace));
                tokio::task::spawn_blocking(move || Job::open(library, request, pace)).await?
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "a request for blocks is not understood");
                Err(Status::NotUnderstood)
            }
        };
        let job = match job {
            Ok(job) => job,
            Err(status) => return writer.refuse(status).await,
        };
        let untaken = Arc::new(Mutex::new(Untaken::default()));
        let taken = watch(reader, pace, Arc::clone(&untaken));
        let sent = self.send(peer, job, &mut writer, untaken, events);
        tokio::select! {
            sent = sent => sent,
            () = taken => Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
        }
    }

    async fn send<W: AsyncWrite + Unpin>(
        &self,
        peer: PeerId,
        job: Job,
        writer: &mut Writer<W>,
        untaken: Arc<Mutex<Untaken>>,
        events: mpsc::Sender<Event>,
    ) -> Result<(), Ended> {
        writer.write(&[Status::Here.to_byte()]).await?;
        let mut making = self.make(job);
        loop {
            let (job, made, _permit) = match making.await? {
                Ok(made) => made,
                Err(Ended::Busy) => break,
                Err(error) => return Err(error),
            };
            let Some(made) = made? else { break };
            making = self.make(job);
            let bytes = made.payload_bytes();
            if bytes > 0 {
                let now = Instant::now().into_std();
                untaken.lock().unwrap_or_else(PoisonError::into_inner).on_sending(
                    made.is_compressed(),
                    made.bytes as usize,
                    bytes,
                    now,
                );
            }
            writer.write(&framed(&made.header)).await?;
            for piece in &made.payload {
                writer.write(piece).await?;
            }
            writer.flush().await?;
            if made.blocks > 0
                && events.send(Event::Served { peer, blocks: made.blocks, bytes: made.bytes }).await.is_err()
            {
                return Ok(());
            }
        }
        writer.write(&framed(&Header::End)).await?;
        writer.close().await
    }

    /// Has the next part made, when it is this answer's turn.
    fn make(&self, mut job: Job) -> Making {
        let (making, memory) = (Arc::clone(&self.making), Arc::clone(&self.memory));
        tokio::spawn(async move {
            let units = job.next_bytes().div_ceil(MEMORY_UNIT) as u32;
            let memory = timeout(MEMORY_WITHIN, memory.acquire_many_owned(units)).await.map_err(|_| Ended::Busy)?;
            let mut memory = memory.map_err(|_| Ended::Busy)?;
            let turn = making.acquire_owned().await.map_err(|_| Ended::Busy)?;
            let (job, made) = tokio::task::spawn_blocking(move || {
                let made = job.next();
                (job, made)
            })
            .await?;
            drop(turn);
            if let Ok(Some(made)) = &made {
                // What was only needed to make the part is free again.
                let kept = made.payload_bytes().div_ceil(MEMORY_UNIT);
                drop(memory.split(memory.num_permits().saturating_sub(kept)));
            }
            Ok((job, made, memory))
        })
    }
}

/// Notes what the asker has taken: a byte for each part. Ends when it asks for no more.
async fn watch<R: AsyncRead + Unpin>(mut reader: R, pace: Arc<Mutex<Pace>>, untaken: Arc<Mutex<Untaken>>) {
    let mut bytes = [0; 16];
    while let Ok(count) = reader.read(&mut bytes).await {
        if count == 0 {
            // It has said everything, and may still read.
            return std::future::pending().await;
        }
        let now = Instant::now().into_std();
        let mut untaken = untaken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).for_each(|_| pace.on_taken(&mut untaken, now));
    }
}

/// Writes within bounds of time.
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

    async fn refuse(&mut self, status: Status) -> Result<(), Ended> {
        self.write(&[status.to_byte()]).await?;
        self.close().await
    }
}

/// Tells an asker that there is too much to do.
pub(super) async fn turn_away<S: AsyncWrite + Unpin + Send>(stream: S) {
    let mut writer = Writer { writer: stream, within: Patience::default().step };
    if let Err(error) = writer.refuse(Status::Busy).await {
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
