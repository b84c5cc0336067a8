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
//! Everything that changes a store (blocks, deletions, pins) is a record in one log, so changes become durable in the
//! order of the log, and everything can be rebuilt from the log alone. The index takes 24 bytes per block (plus hash
//! table overhead); block data is not cached in memory. Reads take a lock for the lookup only, and verify the data.
//! Writers queue for one lock; deletions also wait for a running compaction.
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

/// Capacity of a reusable read buffer, which fits a block of 1 MiB with its head, and the most such buffers.
const BUFFER_BYTES: usize = (1 << 20) + 4096;
const MAX_BUFFERS: usize = 8;

/// Options of a [`SegmentBlockstore`].
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
    /// Held by operations that change the store.
    writer: Mutex<Writer>,
    /// Held by deletions and compactions, before `writer`: a block must not be deleted while it is copied.
    removals: Mutex<()>,
    /// Damage that opening found in the part of the log that it read.
    found_damaged: Vec<Damage>,
    is_short: bool,
}

fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A block whose index entry the record confirms, or whose record is damaged.
struct Located {
    found: Found,
    damaged: bool,
}

impl SegmentBlockstore {
    /// Name of a file in the store's directory that reserves disk space. Deletions consume it if the disk is full.
    /// Another program may remove it so that it can work on a full disk. It is created again when there is plenty of
    /// space.
    pub const RESERVE: &str = space::RESERVE_NAME;

    /// Opens the store in `dir`, and creates it if it does not exist. After a crash, everything written since the last
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

    /// Opens the store in `dir` without writing to it, for a directory that cannot be written to. Other processes may
    /// have it open read-only at the same time. Incomplete writes of a crash are repaired in memory; changes stay in
    /// memory and are lost with the store. A directory that does not exist is an empty store.
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

    /// Syncs the store and writes the index to disk, so that the next opening is quick. Also done periodically during
    /// writes, and when the store is closed.
    ///
    /// # Errors
    /// An I/O error; the former checkpoint then remains.
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.checkpoint(&mut self.inner.writer())
    }

    /// Damage that opening found in the part of the log that it read. It reads the whole log only if there was no valid
    /// checkpoint. [`Blockstore::damage`] checks everything.
    pub fn found_damaged(&self) -> &[Damage] {
        &self.inner.found_damaged
    }

    /// Returns whether durable records may be missing, possibly pins among them: opening found damaged records, a
    /// missing or shortened file, or cut off the incomplete writes of a crash. The latter were not durable, unless bit
    /// rot looked like a crash; a last record that is incomplete always results from a crash, and does not count.
    pub fn lost_records(&self) -> bool {
        self.inner.is_short || self.inner.found_damaged.iter().any(|damage| damage.is_lost)
    }

    /// Returns the space of deleted blocks to the file system: copies live records out of segments that are less than
    /// half live, and removes these segments. Reads and puts continue meanwhile. Returns the number of bytes freed.
    ///
    /// # Errors
    /// An I/O error; nothing is lost, and another call continues the work.
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
            // A block deleted meanwhile may have lost its data.
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
