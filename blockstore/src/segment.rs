//! The store on disk: append-only segment files, an index in memory, checkpoints of it.
//!
//! ```text
//! LOCK                 held for as long as the store is open
//! VERSION              format and the store's random seed
//! 00000001.seg ...     records, oldest first; only the newest file is written to
//! index-00000001.ckpt  the index as it was at some point of the log
//! RESERVE              space for deleting on a full disk
//! ```
//!
//! Everything that changes a store (blocks, deletions, pins) is a record in one log, so the order of the log is the
//! order of durability, and the log alone is enough to rebuild everything. The index takes 24 bytes a block (and what
//! a hash table leaves free); block data is never held. Reads take no lock but for the lookup, and check what they
//! read. Writers queue for one lock; deletions also wait for a compaction that runs.
//!
//! *Non-goals*: compression (CIDs name raw bytes, the wire compresses) and sharing one directory between processes.

mod checkpoint;
mod compact;
mod damage;
mod disk;
mod index;
mod listing;
mod log;
mod overlay;
mod read;
mod record;
mod recover;
mod scan;
#[cfg(test)]
mod sim;
mod space;
mod state;
#[cfg(test)]
mod tests;
mod version;
mod write;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;

use crate::{
    Block, Blockstore, Buffers, Cid, Damage, Error, Lease, Pin, PutReport, Result, StoreStats, hash::digest_like,
    identity_data, lease::Epochs,
};

use disk::{Disk, RealDisk};
use log::{Log, segment_name};
use overlay::Overlay;
use read::{Candidate, Data, Found};
use record::{Location, fingerprint};
use recover::{Recovered, recover};
use state::State;
use write::Writer;

/// Size at which a segment is closed, in bytes, unless the options say otherwise.
const SEGMENT_BYTES: u32 = 256 << 20;
/// Bounds of [`SegmentOptions::segment_bytes`].
const MIN_SEGMENT_BYTES: u32 = 1 << 10;
const MAX_SEGMENT_BYTES: u32 = 1 << 30;
/// Bytes of log after which a checkpoint is written: about what can be hashed in a fraction of a second.
const CHECKPOINT_BYTES: u64 = 256 << 20;
/// Records after which a checkpoint is written.
const CHECKPOINT_RECORDS: u64 = 1 << 17;

/// Room of a buffer that is used again for reading, and most that wait to be: a block of 1 MiB with its head.
const BUFFER_BYTES: usize = (1 << 20) + 4096;
const MAX_BUFFERS: usize = 8;

/// How a [`SegmentBlockstore`] works.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// Hash every block to its CID when it is read, beyond the checksum that is always compared. Default: no.
    pub verify_reads: bool,
    /// Size in bytes at which a segment file is closed and the next one begun; 1 KiB to 1 GiB. Default: 256 MiB.
    pub segment_bytes: u32,
    /// Bytes written after which a checkpoint is made: what opening after a crash has to read. Default: 256 MiB.
    pub checkpoint_bytes: u64,
    /// Records written after which a checkpoint is made, or a quarter of the number of blocks if that is more.
    /// Default: 131,072.
    pub checkpoint_records: u64,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            verify_reads: false,
            segment_bytes: SEGMENT_BYTES,
            checkpoint_bytes: CHECKPOINT_BYTES,
            checkpoint_records: CHECKPOINT_RECORDS,
        }
    }
}

/// A [`Blockstore`] in a directory. Clones share one store, which is closed with the last of them.
///
/// A damaged block is reported by the operation that meets it and leaves the rest usable; putting it again (after a
/// delete, if only its data is damaged) repairs it.
#[derive(Clone, Debug)]
pub struct SegmentBlockstore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    options: SegmentOptions,
    seed: u64,
    state: RwLock<State>,
    log: Log,
    /// For records that are read.
    buffers: Buffers,
    epochs: Arc<Epochs>,
    /// Held by whoever changes the store.
    writer: Mutex<Writer>,
    /// Held by deletions and compactions, before `writer`: a block that is copied must not go meanwhile.
    removals: Mutex<()>,
    /// What opening found damaged of the part of the log that it read.
    found_damaged: Vec<Damage>,
    is_short: bool,
}

fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A block that the index and the record confirm, or that only a damaged record stands for.
struct Located {
    found: Found,
    damaged: bool,
}

impl SegmentBlockstore {
    /// Name of a file in the directory of a store that takes some space so that it can be had when there is no other:
    /// deleting uses it by itself. Another program may remove it to be able to work at all on a full disk. It is made
    /// again when there is plenty of space.
    pub const RESERVE: &str = space::RESERVE_NAME;

    /// Opens the store in `dir`, which is made if there is none. After a crash, what was written since the last
    /// checkpoint is read and verified.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it open, [`Error::Open`] if it is no store of this version, and I/O
    /// errors.
    pub fn open(dir: impl AsRef<Path>, options: SegmentOptions) -> Result<Self> {
        let dir = dir.as_ref();
        let disk = RealDisk::create(dir).map_err(Error::io("create", dir))?;
        Self::open_on(Arc::new(disk), options, fresh_seed())
    }

    /// Opens the store in `dir` without writing to it, for a directory that cannot be written to. Others may have it open
    /// in this way at the same time. What a crash left of the last writes is put in order in memory; what is put, pinned or
    /// deleted stays there and is gone with the store. A directory that does not exist is an empty store.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(dir: impl AsRef<Path>, options: SegmentOptions) -> Result<Self> {
        Self::open_on(Arc::new(Overlay::over(dir.as_ref())), options, fresh_seed())
    }

    fn open_on(disk: Arc<dyn Disk>, options: SegmentOptions, seed: u64) -> Result<Self> {
        let limit = options.segment_bytes.clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let Recovered { state, log, checkpoint, damage, is_short } = recover(&disk, seed, limit)?;
        let seed = state.read().unwrap_or_else(PoisonError::into_inner).seed;
        let inner = Inner {
            disk,
            options,
            seed,
            state,
            log,
            buffers: Buffers::new(BUFFER_BYTES, MAX_BUFFERS),
            epochs: Arc::default(),
            writer: Mutex::new(Writer { checkpoint }),
            removals: Mutex::default(),
            found_damaged: damage,
            is_short,
        };
        inner.checkpoint_if_due(&mut inner.writer());
        inner.keep_reserve();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Syncs the store and writes the index to disk, so that the next opening is quick. Also done now and then while
    /// writing, and when the store is closed.
    ///
    /// # Errors
    /// An I/O error; the former checkpoint then stays.
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.checkpoint(&mut self.inner.writer())
    }

    /// What opening found damaged of the part of the log that it read, which is all of it only where there was no sound
    /// checkpoint. [`Blockstore::damage`] looks at everything.
    pub fn found_damaged(&self) -> &[Damage] {
        &self.inner.found_damaged
    }

    /// Records that were durable may be missing, pins among them: opening found some damaged, a file gone or shorter, or
    /// cut off what a crash had left of the last writes. The latter were not durable, unless what looks like a crash was
    /// none; a last record that is not finished is always of one, and does not count.
    pub fn lost_records(&self) -> bool {
        self.inner.is_short || self.inner.found_damaged.iter().any(|damage| damage.is_lost)
    }

    /// Gives the space of deleted blocks back to the file system: copies what is alive out of segments that are less
    /// than half alive, and removes them. Reads and puts go on meanwhile. Returns the number of bytes freed.
    ///
    /// # Errors
    /// An I/O error; nothing is lost then, and calling it again goes on.
    pub fn compact(&self) -> Result<u64> {
        let freed = self.inner.compact()?;
        self.inner.checkpoint_without_removed(freed);
        Ok(freed)
    }
}

impl Blockstore for SegmentBlockstore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        if let Some(data) = identity_data(cid) {
            return Ok(Some(Bytes::copy_from_slice(data)));
        }
        self.inner.get(cid)
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        if let Some(data) = identity_data(cid) {
            return Ok(Some(data.len() as u32));
        }
        match self.inner.locate(cid)? {
            Some(Located { found, damaged: true }) => Err(self.inner.corrupt(cid, found.location(), "its record head")),
            located => Ok(located.map(|located| located.found.entry.data_len())),
        }
    }

    fn put_many(&self, blocks: &[Block]) -> Result<PutReport> {
        self.inner.put_many(blocks)
    }

    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        self.inner.retain(cids)
    }

    fn delete_many(&self, cids: &[Cid]) -> Result<u64> {
        self.inner.delete(cids, |_| true)
    }

    fn lease(&self) -> Lease {
        self.inner.epochs.lease()
    }

    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64> {
        // An epoch that no longer fits its field is stamped as the largest, and such a block counts as used.
        self.inner.delete(cids, |epoch| epoch != u32::MAX && u64::from(epoch) < lease.horizon())
    }

    fn last_used(&self, cid: &Cid) -> Result<u64> {
        Ok(self.inner.locate(cid)?.map_or(0, |located| u64::from(located.found.entry.epoch)))
    }

    fn reclaim(&self, within: u64) -> Result<u64> {
        let freed = self.inner.reclaim(within)?;
        self.inner.checkpoint_without_removed(freed);
        Ok(freed)
    }

    fn sync(&self) -> Result<()> {
        self.inner.log.sync()
    }

    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        Box::new(listing::Cids::new(&self.inner))
    }

    fn pin(&self, pin: Pin) -> Result<()> {
        self.inner.pin(&pin)
    }

    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool> {
        self.inner.unpin(label, cid)
    }

    fn pins(&self) -> Vec<Pin> {
        let state = self.inner.state();
        state.pins.iter().map(|((label, cid), pin)| Pin { label: label.clone(), cid: *cid, mode: pin.mode }).collect()
    }

    fn pins_of(&self, wanted: &Cid) -> Vec<Pin> {
        let state = self.inner.state();
        let pins = state.pins.iter().filter(|((_, cid), _)| cid == wanted);
        pins.map(|((label, cid), pin)| Pin { label: label.clone(), cid: *cid, mode: pin.mode }).collect()
    }

    fn damage(&self) -> Result<Vec<Damage>> {
        self.inner.damage()
    }

    fn mend(&self) -> Result<u64> {
        self.inner.mend()
    }

    fn stats(&self) -> StoreStats {
        let state = self.inner.state();
        StoreStats {
            blocks: state.index.len() as u64,
            block_bytes: state.block_bytes,
            stored_bytes: state.stored_bytes(),
        }
    }
}

impl Inner {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn candidates(&self, cid: &Cid) -> Vec<Found> {
        let key = fingerprint(self.seed, cid.hash());
        read::find(&self.state(), key)
    }

    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        let mut damage = None;
        for found in self.candidates(cid) {
            match found.read(cid.hash(), self.seed, &self.buffers).map_err(self.read_error(found.location()))? {
                Data::Sound(data) => {
                    if self.options.verify_reads && digest_like(cid.hash(), &data)? != *cid.hash() {
                        return Err(self.corrupt(cid, found.location(), "its hash"));
                    }
                    return Ok(Some(data));
                }
                Data::Other => {}
                Data::Damaged(part) => damage = Some((found.location(), part)),
            }
        }
        match damage {
            // One that was deleted meanwhile may have lost its data by now.
            Some((location, part)) if self.candidates(cid).iter().any(|found| found.location() == location) => {
                Err(self.corrupt(cid, location, part))
            }
            _ => Ok(None),
        }
    }

    /// Finds a block without reading its data. A sound record is preferred to a damaged one.
    fn locate(&self, cid: &Cid) -> Result<Option<Located>> {
        let mut located = None;
        for found in self.candidates(cid) {
            match found.confirm(cid.hash(), self.seed).map_err(self.read_error(found.location()))? {
                Candidate::Match => return Ok(Some(Located { found, damaged: false })),
                Candidate::Other => {}
                Candidate::Damaged => located = Some(Located { found, damaged: true }),
            }
        }
        Ok(located)
    }

    fn corrupt(&self, cid: &Cid, at: Location, part: &str) -> Error {
        let detail = format!("{part} is damaged in `{}` at byte {}", segment_name(at.segment), at.offset);
        Error::Corrupt { cid: Box::new(*cid), detail }
    }

    fn read_error(&self, at: Location) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::io("read", self.disk.path().join(segment_name(at.segment)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.log.tail().unsaved_records > 0
            && let Err(error) = self.checkpoint(&mut self.writer())
        {
            let path = self.disk.path().display();
            tracing::warn!(%path, %error, "cannot write a checkpoint while closing the blockstore");
        }
    }
}
