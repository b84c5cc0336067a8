//! What a store of blocks promises.

use std::{fmt::Debug, ops::Range};

use bytes::Bytes;

use crate::{Block, Cid, Lease, Result};

/// A store of blocks by CID.
///
/// Blocks are kept under their multihash: a block put as CIDv0 is found as CIDv1 and under any codec.
/// Identity CIDs are always there and never stored. All methods block the calling thread (no async inside), may be
/// called from many threads at once, and take `&self`.
///
/// *Durability*: what a returned [`put_many`](Self::put_many), [`delete_many`](Self::delete_many) or pin change wrote
/// survives the death of the process; after a returned [`sync`](Self::sync) it survives loss of power too. Changes
/// become durable in the order in which they were made: a pin that survived never outlives blocks put before it.
pub trait Blockstore: Debug + Send + Sync + 'static {
    /// Returns the block's bytes, `None` if the store does not have it.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if what is stored no longer matches; an I/O error.
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>>;

    /// Says whether the block is there, without reading its bytes.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    fn has(&self, cid: &Cid) -> Result<bool> {
        Ok(self.size(cid)?.is_some())
    }

    /// Returns the block's length in bytes, `None` if the store does not have it.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if damage shows without reading the bytes; an I/O error.
    fn size(&self, cid: &Cid) -> Result<Option<u32>>;

    /// Stores blocks; those already there are not written again. Either all are stored, or an error is returned and
    /// any prefix may be (each whole).
    ///
    /// # Errors
    /// An I/O error, a full disk among them; the store stays usable.
    fn put_many(&self, blocks: &[Block]) -> Result<PutReport>;

    /// Says for each CID whether the block is there, and protects those that are from
    /// [`delete_unused`](Self::delete_unused) for as long as any lease that is held now: what an import or a fetch calls for blocks
    /// that it need not put.
    ///
    /// # Errors
    /// An I/O error.
    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>>;

    /// Deletes blocks, pinned or leased or not, and returns how many were there.
    ///
    /// # Errors
    /// An I/O error.
    fn delete_many(&self, cids: &[Cid]) -> Result<u64>;

    /// Begins a lease: blocks put or retained while it is held are not deleted by
    /// [`delete_unused`](Self::delete_unused). An import holds one from its first block until its root is pinned.
    fn lease(&self) -> Lease;

    /// Deletes those of `cids` that no lease protects, and returns how many went: the sweep of a garbage collection
    /// that runs beside traffic. `lease` is the collector's own, taken before it marked: what was put or retained
    /// since then stays, and so does what was put or retained under any lease that was held at that moment, for its
    /// work may have ended with a pin after the marking.
    ///
    /// # Errors
    /// An I/O error.
    fn delete_unused(&self, cids: &[Cid], lease: &Lease) -> Result<u64>;

    /// When the block was last put or retained, by the clock that leases count in: larger is later, 0 is before this
    /// store was opened (or never). What an eviction goes by; reading a block is no use in this sense.
    ///
    /// # Errors
    /// As [`size`](Self::size).
    fn last_used(&self, cid: &Cid) -> Result<u64>;

    /// Gives the space of deleted blocks back, where a store keeps it at first; goes on, the emptiest files first,
    /// until the store takes at most `within` bytes or nothing worth it is left. Returns the bytes given back. Takes
    /// some space itself meanwhile.
    ///
    /// # Errors
    /// An I/O error, a full disk among them.
    fn reclaim(&self, within: u64) -> Result<u64>;

    /// Makes everything written so far survive loss of power.
    ///
    /// # Errors
    /// An I/O error: nothing can be said of what was written since the last sync.
    fn sync(&self) -> Result<()>;

    /// Lists every block, as the CID it was first put under, in no order. What is put or deleted meanwhile may or may
    /// not appear; a block may appear twice if the store moves it meanwhile. Memory is bounded for stores on disk.
    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_>;

    /// Sets a pin; one with the same label and CID is replaced.
    ///
    /// # Errors
    /// [`Error::LabelTooLong`](crate::Error::LabelTooLong) over [`MAX_PIN_LABEL_BYTES`]; an I/O error.
    fn pin(&self, pin: Pin) -> Result<()>;

    /// Removes the pin with this label and CID and says whether it was there.
    ///
    /// # Errors
    /// An I/O error.
    fn unpin(&self, label: &str, cid: &Cid) -> Result<bool>;

    /// Lists all pins, ordered by label and CID.
    fn pins(&self) -> Vec<Pin>;

    /// Lists the pins of one block, ordered by label.
    fn pins_of(&self, cid: &Cid) -> Vec<Pin>;

    /// Reads all the files of the store, and says where they are damaged, but for the bytes of blocks, which
    /// [`get`](Self::get) checks. What was written there may be lost: a block, a pin, or that one of them was removed.
    ///
    /// # Errors
    /// An I/O error.
    fn damage(&self) -> Result<Vec<Damage>>;

    /// Puts the files in order again, and returns how many places were damaged. Nothing is found damaged afterwards;
    /// what was lost stays lost, unless it is put and pinned again. Takes some space meanwhile.
    ///
    /// # Errors
    /// An I/O error, a full disk among them; calling it again goes on.
    fn mend(&self) -> Result<u64>;

    /// Counts what is stored.
    fn stats(&self) -> StoreStats;

    /// Stores one block. See [`put_many`](Self::put_many).
    ///
    /// # Errors
    /// As [`put_many`](Self::put_many).
    fn put(&self, block: &Block) -> Result<PutReport> {
        self.put_many(std::slice::from_ref(block))
    }
}

/// Longest label of a pin, in bytes.
pub const MAX_PIN_LABEL_BYTES: usize = 512;

/// What a [`Blockstore::put_many`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutReport {
    /// Blocks that were not there before.
    pub new_blocks: u64,
    /// Their bytes.
    pub new_bytes: u64,
}

impl std::ops::AddAssign for PutReport {
    fn add_assign(&mut self, other: Self) {
        self.new_blocks += other.new_blocks;
        self.new_bytes += other.new_bytes;
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Number of blocks.
    pub blocks: u64,
    /// Sum of the blocks' lengths in bytes.
    pub block_bytes: u64,
    /// Bytes that the store takes, overhead and garbage included.
    pub stored_bytes: u64,
}

/// The target of log events about files of a store that are damaged: what an operator should see whatever else is logged.
pub const DAMAGE: &str = "ggen_damage";

/// A place in the files of a store that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the file, in the directory of the store.
    pub file: String,
    /// The bytes of the records that are hit.
    pub bytes: Range<u64>,
    /// What stood there cannot be read. Otherwise one bit is wrong, and it is known which: nothing is lost.
    pub is_lost: bool,
}

/// A root that keeps content alive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Who wants it, and why: `release/<package>@<version>`, `record/head`, `user`, ... at most [`MAX_PIN_LABEL_BYTES`].
    pub label: String,
    /// What is kept.
    pub cid: Cid,
    /// How much of it.
    pub mode: PinMode,
}

/// How much of a DAG a pin keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PinMode {
    /// The block and everything it links to.
    Recursive,
    /// The block alone.
    Direct,
}
