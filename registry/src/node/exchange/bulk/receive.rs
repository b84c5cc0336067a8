//! Sends a request to one peer, and verifies the response as it arrives.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, io::BufReader};
use ggen_blockstore::{Block, Blockstore, Buffers, Cid, MAX_BLOCK_BYTES, links};
use libp2p::PeerId;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::manifest::manifest_entries;
use crate::node::exchange::bulk::{
    codec,
    dictionary::Sources,
    event::{Event, TaskEvent},
    input::read_frame,
    message::{
        Asked, Encoding, Header, MAX_DICTIONARY_BYTES, MAX_HEADER_BYTES, MAX_PART_BYTES, Malformed, Part, Piece,
        Request, Status, put, runs,
    },
    request::{BulkRequest, BulkRequestId, End, Wanted},
    stored_manifest::Unreadable,
};

/// How long a peer may be silent. The session usually gives it up sooner.
pub(super) const SILENT_FOR: Duration = Duration::from_secs(60);
/// Size of one read of a payload, in bytes.
const STEP_BYTES: usize = 64 << 10;
/// Interval of progress reports while a frame arrives.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Up to this size in bytes, decompression and verification take less time than a switch to another thread.
const PROMPT_BYTES: usize = 64 << 10;
/// Size of the read buffer, in bytes; it serves the headers.
const BUFFER_BYTES: usize = 16 << 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Stream(#[from] io::Error),
    #[error("the stream broke off before there was an answer")]
    Unanswered,
    #[error("nothing has come for long")]
    Silent,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("bytes that were not asked for: {0}")]
    Wrong(String),
    #[error("a dictionary cannot be had here")]
    Dictionary(#[source] Unreadable),
    #[error("no caller waits for it any more")]
    Unwanted,
}

/// Capacity of a reusable payload buffer in bytes, and the maximum number of unused ones.
const PAYLOAD_BYTES: usize = 2 << 20;
const MAX_BUFFERS: usize = 4;

/// Receives responses; shared by all requests.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    store: Arc<dyn Blockstore>,
    pub(super) events: mpsc::Sender<TaskEvent>,
    buffers: Buffers,
    /// How long a peer may be silent.
    silent_for: Duration,
}

/// The outcome of a request on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The stream failed before the peer sent a status.
    Unanswered,
    /// The request has ended. `again`: the stream can be reused.
    Ended { end: End, again: bool },
}

impl Receiver {
    pub(super) fn new(store: Arc<dyn Blockstore>, events: mpsc::Sender<TaskEvent>, silent_for: Duration) -> Self {
        Self { store, events, buffers: Buffers::new(PAYLOAD_BYTES, MAX_BUFFERS), silent_for }
    }

    /// Carries out a request on an idle stream.
    pub(super) async fn receive<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self,
        request: &BulkRequest,
        stream: &mut S,
    ) -> Over {
        let peer = request.peer;
        let error = match self.carry_out(request, stream).await {
            Ok((end, again)) => return Over::Ended { end, again },
            Err(error) => error,
        };
        tracing::debug!(%peer, %error, "a bulk request failed");
        let end = match error {
            Failure::Unanswered => return Over::Unanswered,
            Failure::Stream(error) if error.kind() == io::ErrorKind::InvalidData => End::Malformed,
            Failure::Stream(_) | Failure::Silent | Failure::Unwanted => End::Broken,
            Failure::Malformed(_) | Failure::Dictionary(Unreadable::OutOfRange) => End::Malformed,
            Failure::Wrong(_) => End::WrongBytes,
            Failure::Dictionary(_) => End::Unreferenced,
        };
        Over::Ended { end, again: false }
    }

    /// Returns how the request ended, and whether the stream can be reused.
    async fn carry_out<S: AsyncRead + AsyncWrite + Unpin + Send>(
        self,
        request: &BulkRequest,
        stream: &mut S,
    ) -> Result<(End, bool), Failure> {
        let silent_for = self.silent_for;
        let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        match self.ask(request, &mut stream).await? {
            Status::Here => {}
            Status::NotHere => return Ok((End::NotHere, true)),
            // The peer may have rejected the stream, and not only the request.
            Status::Busy => return Ok((End::Busy, false)),
            Status::NotUnderstood => return Ok((End::Unsupported, false)),
        }
        let is_own = matches!(request.wanted, Wanted::Own { .. });
        let expected = Some(Expected::new(request));
        let mut incoming = Incoming { receiver: self, request, expected, sources: None, root: None };
        if stream.buffer().is_empty() {
            // The peer is still reading the blocks: report that it has accepted the request.
            incoming.tell(|peer, id| Event::Progress { peer, id, bytes: 0 }).await?;
        }
        let mut listens = true;
        loop {
            let header = timeout(silent_for, read_frame(&mut stream, MAX_HEADER_BYTES)).await;
            match Header::decode(&header.map_err(|_| Failure::Silent)??, is_own)? {
                Header::End => return Ok((incoming.end().await?, listens && stream.buffer().is_empty())),
                // The manifest was deleted while the peer was sending it.
                Header::Absent(_) if incoming.awaits_list() => return Ok((End::NotHere, false)),
                Header::Absent(count) => incoming.absent(count as usize).await?,
                Header::Blocks(part) => {
                    incoming.part(part, &mut stream).await?;
                    // The acknowledgement shows the peer how fast frames are taken. It may be gone after its last
                    // frame.
                    listens &= stream.write_all(&[0]).await.is_ok() && stream.flush().await.is_ok();
                }
            }
        }
    }

    /// Sends the request, and waits for the status.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        request: &BulkRequest,
        stream: &mut BufReader<S>,
    ) -> Result<Status, Failure> {
        let asked = match &request.wanted {
            Wanted::Own { max_bytes, whole } => Asked::Own { max_bytes: *max_bytes, whole: *whole },
            Wanted::Listed(wanted) => Asked::Listed(runs(wanted.iter().map(|(index, _)| *index))),
        };
        let request = Request {
            list: request.list,
            asked,
            zstd: true,
            dictionary_bytes: MAX_DICTIONARY_BYTES,
            references: request.references().to_vec(),
        };
        let body = request.encode();
        let mut framed = Vec::with_capacity(body.len() + 4);
        put(&mut framed, body.len() as u64);
        framed.extend_from_slice(&body);
        let mut status = [0];
        let asking = async {
            stream.write_all(&framed).await?;
            stream.flush().await?;
            stream.read_exact(&mut status).await
        };
        timeout(self.silent_for, asking).await.map_err(|_| Failure::Silent)?.map_err(|_| Failure::Unanswered)?;
        Ok(Status::from_byte(status[0])?)
    }
}

/// What the rest of the response must contain.
#[derive(Debug)]
enum Expected {
    /// The root of the manifest.
    Root { list: Cid, max_bytes: u64, whole: Option<Whole> },
    /// These blocks, the next one last. For own blocks of a manifest the peer sends the sizes.
    Blocks { next: Vec<(Cid, Option<u32>)>, left_bytes: u64, whole: Option<Whole> },
}

/// A manifest whose entries follow it.
#[derive(Debug)]
struct Whole {
    /// The own blocks that have arrived, root first.
    own: Vec<Bytes>,
}

impl Whole {
    /// The entries that follow, the next one last; none if the manifest cannot be parsed.
    fn listed(&self) -> Vec<(Cid, Option<u32>)> {
        let listed: Option<Vec<_>> = self.own.iter().skip(1).map(|part| manifest_entries(part).ok()).collect();
        let listed = listed.into_iter().flatten().flatten();
        let mut next: Vec<_> = listed.map(|listed| (listed.cid, Some(listed.size))).collect();
        next.reverse();
        next
    }
}

impl Expected {
    fn new(request: &BulkRequest) -> Self {
        match &request.wanted {
            Wanted::Own { max_bytes, whole } => {
                let whole = whole.then(|| Whole { own: Vec::new() });
                Self::Root { list: request.list, max_bytes: *max_bytes, whole }
            }
            Wanted::Listed(wanted) => {
                let next = wanted.iter().rev().map(|(_, listed)| (listed.cid, Some(listed.size))).collect();
                Self::Blocks { next, left_bytes: u64::MAX, whole: None }
            }
        }
    }

    /// Returns the sizes of the next blocks. Fails if the frame exceeds what was requested.
    fn sizes(&self, part: &Part) -> Result<Vec<u32>, Malformed> {
        let sizes = match self {
            Self::Blocks { next, .. } if part.sizes.is_empty() => {
                let known = next.iter().rev().take(part.blocks as usize);
                known.map(|(_, size)| *size).collect::<Option<_>>().ok_or(Malformed("a block without a length"))?
            }
            Self::Root { .. } | Self::Blocks { .. } => part.sizes.clone(),
        };
        if sizes.len() != part.blocks as usize {
            return Err(Malformed("more blocks than were asked for"));
        }
        let total: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        let limit = if sizes.len() == 1 { MAX_BLOCK_BYTES } else { MAX_PART_BYTES.max(MAX_BLOCK_BYTES) };
        if total > limit as u64 || total > self.left_bytes() {
            return Err(Malformed("a part that is too large"));
        }
        Ok(sizes)
    }

    fn left_bytes(&self) -> u64 {
        match self {
            Self::Root { max_bytes, .. } => *max_bytes,
            Self::Blocks { left_bytes, .. } => *left_bytes,
        }
    }

    /// Verifies the next block.
    fn check(&mut self, data: Bytes) -> Result<Block, Failure> {
        let wrong = |error: ggen_blockstore::Error| Failure::Wrong(error.to_string());
        let bytes = data.len() as u64;
        match self {
            Self::Root { list, max_bytes, whole } => {
                let block = Block::verify(*list, data).map_err(wrong)?;
                let links = links(block.cid(), block.data()).map_err(wrong)?;
                let next = links.into_iter().rev().map(|cid| (cid, None)).collect();
                *self = Self::Blocks { next, left_bytes: max_bytes.saturating_sub(bytes), whole: whole.take() };
                self.on_checked(&block);
                Ok(block)
            }
            Self::Blocks { next, left_bytes, .. } => {
                let (cid, _) = next.pop().ok_or(Malformed("more blocks than were asked for"))?;
                *left_bytes = left_bytes.saturating_sub(bytes);
                let block = Block::verify(cid, data).map_err(wrong)?;
                self.on_checked(&block);
                Ok(block)
            }
        }
    }

    /// Expects the entries of a manifest once its last own block has arrived.
    fn on_checked(&mut self, block: &Block) {
        let Self::Blocks { next, whole, .. } = self else { return };
        let Some(list) = whole else { return };
        list.own.push(block.data().clone());
        if next.is_empty() {
            *next = list.listed();
            *whole = None;
        }
    }

    /// Whether own blocks of the manifest are missing, without which nothing that follows can be verified.
    fn awaits_list(&self) -> bool {
        matches!(self, Self::Root { .. } | Self::Blocks { whole: Some(_), .. })
    }
}

/// A response that is arriving.
#[derive(Debug)]
struct Incoming<'a> {
    receiver: Receiver,
    request: &'a BulkRequest,
    /// `None` while another thread verifies a frame with it.
    expected: Option<Expected>,
    sources: Option<Sources>,
    /// The root of the manifest, which is reported after all other blocks.
    root: Option<Block>,
}

impl Incoming<'_> {
    async fn part<R: AsyncBufRead + Unpin>(&mut self, part: Part, reader: &mut R) -> Result<(), Failure> {
        let expected = self.expected.as_ref().ok_or(Failure::Unwanted)?;
        let sizes = expected.sizes(&part)?;
        let is_root = matches!(expected, Expected::Root { .. });
        let raw_bytes = sizes.iter().map(|size| *size as usize).sum();
        let payload_bytes = part.payload_bytes as usize;
        let is_right = match &part.encoding {
            Encoding::Identity => payload_bytes == raw_bytes,
            Encoding::Zstd(_) => payload_bytes <= zstd::zstd_safe::compress_bound(raw_bytes),
        };
        if !is_right {
            return Err(Malformed("a payload of a length that cannot be").into());
        }
        let payload = self.read(reader, payload_bytes, raw_bytes).await?;
        let mut blocks = match part.encoding {
            Encoding::Identity => cut(self.expected.as_mut().ok_or(Failure::Unwanted)?, payload, &sizes)?,
            Encoding::Zstd(pieces) => self.unpack(payload, pieces, sizes, raw_bytes).await?,
        };
        if is_root {
            self.root = Some(blocks.remove(0));
        }
        self.tell(|peer, id| Event::Arrived { peer, id, blocks }).await
    }

    /// Reads a payload of `bytes`, which decompresses to `raw_bytes`.
    async fn read<R: AsyncBufRead + Unpin>(
        &self,
        reader: &mut R,
        bytes: usize,
        raw_bytes: usize,
    ) -> Result<Bytes, Failure> {
        let mut payload = self.receiver.buffers.take_whole(bytes);
        let (mut at, mut told) = (0, Instant::now());
        while at < bytes {
            let step = &mut payload[at..bytes.min(at + STEP_BYTES)];
            let count = timeout(self.receiver.silent_for, reader.read(step)).await.map_err(|_| Failure::Silent)??;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            at += count;
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let bytes = (at as u64 * raw_bytes as u64) / bytes as u64;
                self.tell(|peer, id| Event::Progress { peer, id, bytes }).await?;
            }
        }
        Ok(self.receiver.buffers.freeze(payload))
    }

    /// Decompresses and verifies a frame, on a blocking thread if it needs a dictionary from the store or is large.
    async fn unpack(
        &mut self,
        payload: Bytes,
        pieces: Vec<Piece>,
        sizes: Vec<u32>,
        raw_bytes: usize,
    ) -> Result<Vec<Block>, Failure> {
        let store = Arc::clone(&self.receiver.store);
        let cids: Vec<Cid> =
            std::iter::once(self.request.list).chain(self.request.references().iter().copied()).collect();
        let reads_store = !pieces.is_empty();
        let sources = self.sources.take();
        let mut expected = self.expected.take().ok_or(Failure::Unwanted)?;
        let work = move || -> Result<_, Failure> {
            let mut sources = sources;
            let dictionary = match pieces.is_empty() {
                true => Vec::new(),
                false => sources
                    .get_or_insert_with(|| Sources::open(&store, &cids))
                    .gather(&pieces, MAX_DICTIONARY_BYTES)
                    .map_err(Failure::Dictionary)?,
            };
            let raw = codec::decompress(&payload, &dictionary, raw_bytes)
                .map_err(|error| Failure::Wrong(error.to_string()))?;
            let blocks = cut(&mut expected, Bytes::from(raw), &sizes)?;
            Ok((blocks, sources, expected))
        };
        let done = match reads_store || raw_bytes > PROMPT_BYTES {
            true => tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Unwanted)?,
            false => work(),
        };
        let (blocks, sources, expected) = done?;
        (self.sources, self.expected) = (sources, Some(expected));
        Ok(blocks)
    }

    fn awaits_list(&self) -> bool {
        self.expected.as_ref().is_some_and(Expected::awaits_list)
    }

    async fn absent(&mut self, count: usize) -> Result<(), Failure> {
        let Some(Expected::Blocks { next, .. }) = &mut self.expected else {
            return Err(Malformed("a list without its root").into());
        };
        if count == 0 || count > next.len() {
            return Err(Malformed("more blocks are missing than were asked for").into());
        }
        let cids = next.split_off(next.len() - count).into_iter().rev().map(|(cid, _)| cid).collect();
        self.tell(|peer, id| Event::Absent { peer, id, cids }).await
    }

    async fn end(&mut self) -> Result<End, Failure> {
        match self.root.take() {
            Some(root) => {
                let blocks = vec![root];
                self.tell(|peer, id| Event::Arrived { peer, id, blocks }).await?;
            }
            None if matches!(self.request.wanted, Wanted::Own { .. }) => return Ok(End::NotHere),
            None => {}
        }
        Ok(End::Done)
    }

    async fn tell(&self, event: impl FnOnce(PeerId, BulkRequestId) -> Event) -> Result<(), Failure> {
        let event = event(self.request.peer, self.request.id);
        self.receiver.events.send(TaskEvent::Event(event)).await.map_err(|_| Failure::Unwanted)
    }
}

/// Splits a frame into its blocks and verifies each.
fn cut(expected: &mut Expected, mut bytes: Bytes, sizes: &[u32]) -> Result<Vec<Block>, Failure> {
    sizes.iter().map(|size| expected.check(bytes.split_to(*size as usize))).collect()
}
