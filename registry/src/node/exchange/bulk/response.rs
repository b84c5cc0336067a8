//! The response to one request, made frame by frame. Everything in this module blocks the thread: it reads the store
//! and compresses.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Error};

use crate::{
    manifest::ManifestEntry,
    node::exchange::bulk::{
        codec,
        compression_policy::{Pace, Packed, is_worth},
        dictionary::{Comparison, Sources, choose, choose_for_own},
        message::{
            Asked, Encoding, Header, MAX_DICTIONARY_BYTES, MAX_PART_BYTES, MAX_WANTED, Part, Piece, Request, Status,
        },
        paths::PathCache,
        stored_manifest::Unreadable,
    },
};

/// Size of the first frame of a response that is not short, in bytes, so that the client can start soon. Each frame is
/// twice as long as the one before it, up to the maximum.
const FIRST_PART_BYTES: usize = 512 << 10;
/// Up to this size in bytes a response is short: one frame.
const SHORT_BYTES: u64 = 2 << 20;
/// Size of an uncompressed frame in bytes: the client verifies its blocks only when it is complete. On a short path
/// that is soon, so frames are larger, because each costs processor time.
const IDENTITY_PART_BYTES: usize = 256 << 10;
const NEAR_PART_BYTES: usize = 2 << 20;

/// What all responses read from.
#[derive(Debug)]
pub(super) struct ResponseContext {
    pub(super) store: Arc<dyn Blockstore>,
    pub(super) paths: PathCache,
}

/// A response that is being made.
#[derive(Debug)]
pub(super) struct ResponseBuilder {
    context: Arc<ResponseContext>,
    request: Request,
    sources: Sources,
    /// Read on first use.
    comparison: Option<Option<Comparison>>,
    /// The requested blocks, with their indices in the manifest; in a request for own blocks all indices are 0.
    asked: Vec<(u32, ManifestEntry)>,
    at: usize,
    /// The response has several frames, or other responses to the peer are under way.
    is_long: bool,
    next_part_bytes: usize,
    pace: Arc<Mutex<Pace>>,
}

/// A frame that is ready to be sent.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) header: Header,
    pub(super) payload: Vec<Bytes>,
    /// Number and bytes of the blocks in it.
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) packed: Option<Packed>,
}

/// How the next frame is made.
#[derive(Debug)]
struct Plan {
    compresses: bool,
    /// Size of the blocks to read, in bytes.
    limit: usize,
    /// Size of the blocks in the frame if it is uncompressed, in bytes.
    limit_as_it_is: usize,
}

/// Compressed blocks.
#[derive(Debug)]
struct Shrunk {
    payload: Bytes,
    pieces: Vec<Piece>,
    packed: Packed,
}

impl Made {
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

impl ResponseBuilder {
    /// Opens a response: reads the manifest and looks up the requested blocks. `follows`: other responses to the peer
    /// are under way, so the client is not idle.
    ///
    /// # Errors
    /// The status to respond with.
    pub(super) fn open(
        context: Arc<ResponseContext>,
        request: Request,
        pace: Arc<Mutex<Pace>>,
        follows: bool,
    ) -> Result<Self, Status> {
        let ResponseContext { store, .. } = &*context;
        let mut sources = Sources::open(store, std::iter::once(&request.list).chain(&request.references));
        let list = sources.list(0).ok_or(Status::NotHere)?;
        let asked: Vec<_> = match &request.asked {
            Asked::Own { max_bytes, whole } => {
                let (mut own, len): (Vec<_>, _) = (list.own().collect(), list.len());
                if !fits(&own, *max_bytes) {
                    return Err(Status::NotHere);
                }
                if *whole && let Ok(listed) = sources.listed(0..len.min(MAX_WANTED)) {
                    let all: Vec<_> = own.iter().copied().chain(listed).collect();
                    if all.len() == own.len() + len as usize && fits(&all, *max_bytes) {
                        own = all;
                    }
                }
                own.into_iter().map(|listed| (0, listed)).collect()
            }
            Asked::Listed(runs) => {
                let indices = || runs.iter().flat_map(|run| run.first..run.first + run.count);
                let listed = sources.listed(indices()).map_err(|error| match error {
                    Unreadable::OutOfRange => Status::NotUnderstood,
                    Unreadable::NotHere | Unreadable::Store(_) => Status::NotHere,
                })?;
                indices().zip(listed).collect()
            }
        };
        let total: u64 = asked.iter().map(|(_, listed)| u64::from(listed.size)).sum();
        let is_long = follows || total > MAX_PART_BYTES as u64;
        let next_part_bytes = if total > SHORT_BYTES && !follows { FIRST_PART_BYTES } else { MAX_PART_BYTES };
        let comparison = None;
        Ok(Self { context, request, sources, comparison, asked, at: 0, is_long, next_part_bytes, pace })
    }

    /// Maximum memory that the next frame needs while it is made, in bytes, without that of the compressor.
    pub(super) fn next_bytes(&self) -> usize {
        let mut sizes = self.asked[self.at..].iter().map(|(_, listed)| listed.size as usize);
        let next = sizes.next().unwrap_or_default();
        let left = sizes.try_fold(next, |bytes, size| Some(bytes + size).filter(|bytes| *bytes < self.next_part_bytes));
        left.unwrap_or(self.next_part_bytes).max(next)
    }

    /// Whether the last frame was made.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.asked.len()
    }

    /// Makes the next frame; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Made>, Unreadable> {
        if self.is_done() {
            return Ok(None);
        }
        let Plan { compresses, limit, limit_as_it_is } = self.plan();
        let from = self.at;
        let mut blocks = self.read(limit)?;
        if blocks.is_empty() {
            let header = Header::Absent((self.at - from) as u32);
            return Ok(Some(Made { header, payload: Vec::new(), blocks: 0, bytes: 0, packed: None }));
        }
        self.next_part_bytes = (self.next_part_bytes * 2).min(MAX_PART_BYTES);
        let shrunk = if compresses { self.pack(from, &blocks)? } else { None };
        if shrunk.is_none() {
            // An uncompressed frame is smaller; its remaining blocks are read again for the next one.
            blocks.truncate(fitting(&blocks, limit_as_it_is));
            self.at = from + blocks.len();
        }
        Ok(Some(self.made(from, blocks, shrunk)))
    }

    /// Decides how the next frame is made.
    fn plan(&self) -> Plan {
        let (is_own, mut pace) = (self.is_own(), self.pace());
        let compresses = match self.request.asked {
            // A manifest alone is small. With its entries it may be sent uncompressed on a short path, where time
            // matters more than bytes.
            Asked::Own { whole, .. } => !whole || !pace.is_near(),
            Asked::Listed(_) => pace.compresses(),
        };
        let compresses = self.request.zstd && compresses;
        let shrinks = if is_own { Some(true) } else { pace.shrinks() };
        let limit_as_it_is = if pace.is_near_and_settled() { NEAR_PART_BYTES } else { IDENTITY_PART_BYTES };
        let limit = match (compresses, shrinks) {
            // A small sample shows whether the content shrinks.
            (true, None) if self.is_long => self.next_part_bytes.min(FIRST_PART_BYTES),
            (true, Some(false)) => IDENTITY_PART_BYTES,
            (true, _) => self.next_part_bytes,
            (false, _) => self.next_part_bytes.min(limit_as_it_is),
        };
        Plan { compresses, limit, limit_as_it_is }
    }

    /// Makes the frame that contains the requested blocks from `from` to `self.at`.
    fn made(&self, from: usize, blocks: Vec<Bytes>, shrunk: Option<Shrunk>) -> Made {
        let asked = &self.asked[from..self.at];
        let bytes = asked.iter().map(|(_, listed)| u64::from(listed.size)).sum();
        let (payload, encoding, packed) = match shrunk {
            Some(Shrunk { payload, pieces, packed }) => (vec![payload], Encoding::Zstd(pieces), Some(packed)),
            None => (blocks, Encoding::Identity, None),
        };
        let sizes = match self.request.asked {
            Asked::Own { .. } => asked.iter().map(|(_, listed)| listed.size).collect(),
            Asked::Listed(_) => Vec::new(),
        };
        let payload_bytes = payload.iter().map(Bytes::len).sum::<usize>() as u32;
        let header = Header::Blocks(Part { blocks: asked.len() as u32, payload_bytes, sizes, encoding });
        Made { header, payload, blocks: asked.len() as u64, bytes, packed }
    }

    /// Reads the next blocks, up to about `limit` bytes and at least one. Returns none if the next blocks are absent,
    /// and skips those.
    fn read(&mut self, limit: usize) -> Result<Vec<Bytes>, Unreadable> {
        let (mut blocks, mut bytes) = (Vec::new(), 0);
        while let Some((_, listed)) = self.asked.get(self.at) {
            let size = listed.size as usize;
            if !blocks.is_empty() && bytes + size > limit {
                break;
            }
            let block = match self.context.store.get(&listed.cid) {
                // The sizes in a manifest are unverified.
                Ok(block) => block.filter(|block| block.len() == size),
                Err(Error::Corrupt { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            match block {
                Some(block) => blocks.push(block),
                None if blocks.is_empty() => return self.skip_absent(),
                None => break,
            }
            bytes += size;
            self.at += 1;
        }
        Ok(blocks)
    }

    fn skip_absent(&mut self) -> Result<Vec<Bytes>, Unreadable> {
        self.at += 1;
        while let Some((_, listed)) = self.asked.get(self.at) {
            if self.context.store.has(&listed.cid)? {
                break;
            }
            self.at += 1;
        }
        Ok(Vec::new())
    }

    /// Compresses the requested blocks from `from` on. `None` if they do not shrink.
    fn pack(&mut self, from: usize, blocks: &[Bytes]) -> Result<Option<Shrunk>, Unreadable> {
        let started = Instant::now();
        let mut raw = Vec::with_capacity(blocks.iter().map(Bytes::len).sum());
        blocks.iter().for_each(|block| raw.extend_from_slice(block));
        let limit = self.request.dictionary_bytes.min(MAX_DICTIONARY_BYTES);
        let pieces = match self.request.asked {
            Asked::Own { .. } => choose_for_own(&mut self.sources, self.request.references.len(), limit),
            Asked::Listed(_) => {
                let (indices, listed): (Vec<_>, Vec<_>) = self.asked[from..self.at].iter().copied().unzip();
                self.comparison.get_or_insert_with(|| compare(&self.context, &self.request));
                let comparison = self.comparison.as_ref().and_then(Option::as_ref);
                self.sources.list(0).map(|list| choose(list, comparison, &indices, &listed, limit)).unwrap_or_default()
            }
        };
        // Without its dictionary a frame is larger, but valid.
        let (pieces, dictionary) = match self.sources.gather(&pieces, limit) {
            Ok(dictionary) => (pieces, dictionary),
            Err(error) => {
                tracing::debug!(%error, "a dictionary cannot be had");
                (Vec::new(), Vec::new())
            }
        };
        let total = raw.len() + dictionary.len();
        // A manifest consists of hashes: its compression ratio does not predict that of its entries.
        let level = if self.is_own() { codec::level(total) } else { self.pace().level(total, self.is_long) };
        let payload = match codec::compress(&raw, &dictionary, level) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => {
                tracing::debug!(%error, "a part is sent as it is");
                return Ok(None);
            }
        };
        let spent = started.elapsed().max(Duration::from_micros(1));
        tracing::trace!(raw = raw.len(), dictionary = dictionary.len(), bytes = payload.len(), level, ?spent, "packed");
        let worth = match self.is_own() {
            true => is_worth(raw.len(), payload.len()),
            false => self.pace().on_compressed(raw.len(), payload.len(), spent),
        };
        Ok(worth.then_some(Shrunk { payload, pieces, packed: Packed { level, spent } }))
    }

    fn is_own(&self) -> bool {
        matches!(self.request.asked, Asked::Own { .. })
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one request with this byte limit can contain these blocks.
fn fits(blocks: &[ManifestEntry], max_bytes: u64) -> bool {
    blocks.len() <= MAX_WANTED as usize && blocks.iter().map(|listed| u64::from(listed.size)).sum::<u64>() <= max_bytes
}

/// Returns how many of the blocks fit into `limit` bytes; at least one.
fn fitting(blocks: &[Bytes], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = blocks.iter().take_while(|block| {
        bytes += block.len();
        bytes <= limit
    });
    fits.count().max(1)
}

/// Compares the requested manifest with the references. `None` if no reference can be read, or the client permits no
/// dictionary.
fn compare(context: &ResponseContext, request: &Request) -> Option<Comparison> {
    if request.dictionary_bytes == 0 {
        return None;
    }
    let ResponseContext { store, paths } = context;
    let placed = |cid| paths.placed(&**store, cid);
    let references: Vec<_> =
        request.references.iter().enumerate().filter_map(|(at, cid)| Some((at + 1, placed(cid)?))).collect();
    if references.is_empty() {
        return None;
    }
    Some(Comparison { target: placed(&request.list)?, references })
}
