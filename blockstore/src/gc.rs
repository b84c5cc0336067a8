//! Mark and sweep: deletes the blocks that no pin keeps, concurrently with other operations.
//!
//! The roots are the pins. A recursive pin keeps its DAG, a direct pin its block. Everything else is cache: a
//! collection removes all of it, an eviction only as much as is needed, least recently used first. Both take a lease
//! before they read the pins, so that every block that is put, retained or pinned meanwhile stays (see
//! [`Blockstore::delete_unused`]).
//!
//! Memory: 16 bytes plus hash table overhead per kept block, and as much per inner node of a pinned DAG; nothing per
//! deleted block.
//!
//! *Use* is defined by [`Blockstore::last_used`]: the last fetch or import that put the block or found it in the store.
//! It is known since the store was opened; among blocks not used since, the oldest ones are deleted first. Serving a
//! block to peers does not count as use, because then peers with many requests would decide which blocks are kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
};

use crate::{
    Blockstore, Cid, Error, Lease, MAX_WALK_PENDING, Multihash, Pin, PinMode, Result, identity_data, links,
    may_have_links,
};

/// Blocks examined before the deletable ones among them are deleted.
const SWEEP_BATCH: usize = 4096;
/// Distinct times of use in an eviction; with more, adjacent times are merged.
const MAX_AGES: usize = 1 << 16;

/// Receives a batch of blocks with their sizes, and returns whether to continue.
type Step<'a> = dyn FnMut(&[(Cid, u64)]) -> Result<bool> + 'a;

/// What a collection removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of blocks.
    pub removed_blocks: u64,
    /// Bytes of these blocks. [`Blockstore::reclaim`] returns the space to the file system.
    pub freed_bytes: u64,
}

/// The blocks that the pins of a store keep.
#[derive(Debug)]
pub struct Marks {
    keys: (RandomState, RandomState),
    /// Multihashes of kept blocks.
    kept: HashSet<u128>,
    /// CIDs whose links were followed: one multihash may be a node under one codec and a leaf under another.
    followed: HashSet<u128>,
    bytes: u64,
}

/// A collection in progress: its lease, and the blocks that the pins keep.
#[derive(Debug)]
pub struct Collector<'a, S: ?Sized> {
    store: &'a S,
    lease: Lease,
    marks: Marks,
}

impl Marks {
    /// Follows `pins` through the store. A missing or damaged leaf is marked nevertheless, because leaves are not read.
    ///
    /// # Errors
    /// A node of a recursively pinned DAG cannot be read. The blocks below it are then unknown, so nothing may be
    /// deleted.
    pub fn of<S: Blockstore + ?Sized>(store: &S, pins: &[Pin]) -> Result<Self> {
        Self::past(store, pins, &BTreeSet::new())
    }

    /// As [`Marks::of`], but skips the nodes of pinned DAGs in `gaps`, which are known to be lost. Blocks below such a
    /// node are kept only if other nodes link to them.
    ///
    /// # Errors
    /// As [`Marks::of`], for a node that `gaps` does not name.
    pub fn past<S: Blockstore + ?Sized>(store: &S, pins: &[Pin], gaps: &BTreeSet<Cid>) -> Result<Self> {
        let keys = (RandomState::new(), RandomState::new());
        let mut marks = Self { keys, kept: HashSet::new(), followed: HashSet::new(), bytes: 0 };
        for pin in pins {
            match pin.mode {
                PinMode::Direct => marks.keep(store, &pin.cid),
                PinMode::Recursive => marks.follow(store, pin.cid, gaps)?,
            }
        }
        Ok(marks)
    }

    /// Returns whether a pin keeps the block.
    pub fn keeps(&self, cid: &Cid) -> bool {
        self.kept.contains(&self.hash_key(cid.hash()))
    }

    /// Total bytes of the kept blocks that are in the store.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn hash_key(&self, hash: &Multihash) -> u128 {
        self.fingerprint(&hash.to_bytes())
    }

    /// A 128-bit hash with random keys of this collection. A collision, which cannot be provoked, would make the
    /// collection skip the links of one block.
    fn fingerprint(&self, bytes: &[u8]) -> u128 {
        u128::from(self.keys.0.hash_one(bytes)) << 64 | u128::from(self.keys.1.hash_one(bytes))
    }

    fn keep<S: Blockstore + ?Sized>(&mut self, store: &S, cid: &Cid) {
        if identity_data(cid).is_none() && self.kept.insert(self.hash_key(cid.hash())) {
            // The length is only needed for the sum; a damaged block counts as zero.
            self.bytes += store.size(cid).ok().flatten().map_or(0, u64::from);
        }
    }

    fn follow<S: Blockstore + ?Sized>(&mut self, store: &S, root: Cid, gaps: &BTreeSet<Cid>) -> Result<()> {
        let mut stack = Vec::new();
        self.visit(store, root, &mut stack);
        while let Some(cid) = stack.pop() {
            let data = store.get(&cid).and_then(|data| data.ok_or(Error::NotFound { cid }));
            let below = match data.and_then(|data| links(&cid, &data)) {
                Err(_) if gaps.contains(&cid) => continue,
                below => below?,
            };
            for link in below {
                self.visit(store, link, &mut stack);
            }
            if stack.len() > MAX_WALK_PENDING {
                let limit = MAX_WALK_PENDING as u64;
                return Err(Error::LimitExceeded { what: "links of one pinned DAG at a time", limit });
            }
        }
        Ok(())
    }

    fn visit<S: Blockstore + ?Sized>(&mut self, store: &S, cid: Cid, stack: &mut Vec<Cid>) {
        self.keep(store, &cid);
        if may_have_links(&cid) && self.followed.insert(self.fingerprint(&cid.to_bytes())) {
            stack.push(cid);
        }
    }
}

impl<'a, S: Blockstore + ?Sized> Collector<'a, S> {
    /// Takes a lease, and then marks the kept blocks.
    ///
    /// # Errors
    /// As [`Marks::of`].
    pub fn begin(store: &'a S) -> Result<Self> {
        Self::begin_past(store, &BTreeSet::new())
    }

    /// As [`begin`](Self::begin), but skips nodes that are known to be lost.
    ///
    /// # Errors
    /// As [`Marks::past`].
    pub fn begin_past(store: &'a S, gaps: &BTreeSet<Cid>) -> Result<Self> {
        let lease = store.lease();
        let marks = Marks::past(store, &store.pins(), gaps)?;
        Ok(Self { store, lease, marks })
    }

    /// The blocks that the pins keep.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// What [`collect`](Self::collect) would remove, if no lease were held.
    ///
    /// # Errors
    /// An I/O error.
    pub fn preview(&self) -> Result<Collected> {
        let mut collected = Collected::default();
        self.cache(&mut |batch| {
            collected.removed_blocks += batch.len() as u64;
            collected.freed_bytes += batch.iter().map(|(_, bytes)| *bytes).sum::<u64>();
            Ok(true)
        })?;
        Ok(collected)
    }

    /// Removes every block that no pin keeps and no lease protects.
    ///
    /// # Errors
    /// An I/O error; blocks removed before the error stay removed.
    pub fn collect(&self) -> Result<Collected> {
        let mut collected = Collected::default();
        self.cache(&mut |batch| {
            self.remove(batch, &mut collected)?;
            Ok(true)
        })?;
        Ok(collected)
    }

    /// Removes blocks that no pin keeps and no lease protects, least recently used first, until `wanted` bytes are
    /// freed or no such block is left.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn evict(&self, wanted: u64) -> Result<Collected> {
        let last = self.ages()?.last_to_go(wanted);
        let mut collected = Collected::default();
        // First all blocks used before that time, then blocks used at that time, in the order of the store.
        for at_last in [false, true] {
            self.cache(&mut |batch| {
                let mut goes = Vec::new();
                let mut bytes = collected.freed_bytes;
                for (cid, size) in batch {
                    let used = self.store.last_used(cid)?;
                    let due = if at_last { last.contains(used) && bytes < wanted } else { used < last.from };
                    if due {
                        bytes += size;
                        goes.push((*cid, *size));
                    }
                }
                self.remove(&goes, &mut collected)?;
                Ok(collected.freed_bytes < wanted)
            })?;
            if collected.freed_bytes >= wanted {
                break;
            }
        }
        Ok(collected)
    }

    fn ages(&self) -> Result<Ages> {
        let mut ages = Ages::default();
        self.cache(&mut |batch| {
            for (cid, bytes) in batch {
                ages.add(self.store.last_used(cid)?, *bytes);
            }
            Ok(true)
        })?;
        Ok(ages)
    }

    /// Passes the blocks that no pin keeps to `step` with their sizes, in batches in the order of the store, until it
    /// returns false.
    fn cache(&self, step: &mut Step<'_>) -> Result<()> {
        let (mut batch, mut seen) = (Vec::new(), HashSet::new());
        for cid in self.store.cids() {
            let cid = cid?;
            // A block that the store moves meanwhile may occur twice.
            if self.marks.keeps(&cid) || !seen.insert(*cid.hash()) {
                continue;
            }
            // A block deleted meanwhile has no size, and the size of a damaged one may be unknown.
            let bytes = match self.store.size(&cid) {
                Ok(None) => continue,
                Ok(Some(bytes)) => u64::from(bytes),
                Err(Error::Corrupt { .. }) => 0,
                Err(error) => return Err(error),
            };
            batch.push((cid, bytes));
            if batch.len() >= SWEEP_BATCH {
                if !step(&std::mem::take(&mut batch))? {
                    return Ok(());
                }
                seen.clear();
            }
        }
        if !batch.is_empty() {
            step(&batch)?;
        }
        Ok(())
    }

    fn remove(&self, batch: &[(Cid, u64)], collected: &mut Collected) -> Result<()> {
        let cids: Vec<Cid> = batch.iter().map(|(cid, _)| *cid).collect();
        let removed = self.store.delete_unused(&cids, &self.lease)?;
        collected.removed_blocks += removed;
        for (cid, bytes) in batch {
            // If a lease kept some of them, the deleted ones are counted one by one.
            if removed == cids.len() as u64 || !self.store.has(cid)? {
                collected.freed_bytes += bytes;
            }
        }
        Ok(())
    }
}

/// Bytes by time of use, in a bounded number of steps.
#[derive(Debug, Default)]
struct Ages {
    /// Number of lowest bits of a time that are ignored.
    coarse: u32,
    bytes: BTreeMap<u64, u64>,
}

/// A span of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u64,
    to: u64,
}

impl Span {
    fn contains(self, time: u64) -> bool {
        (self.from..=self.to).contains(&time)
    }
}

impl Ages {
    fn add(&mut self, time: u64, bytes: u64) {
        *self.bytes.entry(time >> self.coarse).or_default() += bytes;
        while self.bytes.len() > MAX_AGES {
            self.coarse += 1;
            let mut coarser = BTreeMap::new();
            for (step, bytes) in std::mem::take(&mut self.bytes) {
                *coarser.entry(step >> 1).or_default() += bytes;
            }
            self.bytes = coarser;
        }
    }

    /// The time of use of the most recently used blocks that must be deleted to free `wanted` bytes.
    fn last_to_go(&self, wanted: u64) -> Span {
        let mut sum = 0_u64;
        let mut last = 0;
        for (step, bytes) in &self.bytes {
            last = *step;
            sum = sum.saturating_add(*bytes);
            if sum >= wanted {
                break;
            }
        }
        let from = last << self.coarse;
        Span { from, to: from | ((1 << self.coarse) - 1) }
    }
}

#[cfg(test)]
mod tests;
