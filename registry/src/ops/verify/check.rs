//! Finds damaged and missing blocks: one thread lists blocks, several threads hash them.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    num::NonZero,
    sync::{Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering, mpsc},
    thread,
};

use ggen_blockstore::{
    Block, Blockstore, Cid, Error, Multihash, PinMode, Result, identity_data, links, may_have_links,
};

use crate::{Progress, Reporter};

/// Maximum number of hashing threads; more would wait for the disk.
const MAX_HASHERS: usize = 8;
/// Capacity of the queue to the hashing threads.
const QUEUE: usize = 1024;
/// Maximum number of bad blocks listed. With more, a list of blocks is not useful.
const MAX_BAD: usize = 100_000;
/// Maximum number of roots of DAGs with bad blocks.
const MAX_ROOTS: usize = 64;
/// Blocks hashed between two reports of progress.
const REPORT_EVERY: u64 = 256;

/// A block that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) cid: Cid,
    pub(super) reason: String,
}

/// The result of a check.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Number of blocks hashed.
    pub(super) blocks: u64,
    pub(super) bad: Vec<Bad>,
    /// Roots of pinned or requested DAGs that contain bad blocks.
    pub(super) roots: Vec<Cid>,
}

/// Hashes every block of the store, and checks that all blocks below pins are present. Blocks that are evicted or
/// unpinned during the check do not count as missing.
pub(super) fn check_all(store: &dyn Blockstore, reporter: &dyn Reporter) -> Result<Checked> {
    let total = Some(store.stats().blocks);
    let mut checked = hashing(store, total, Missing::Gone, reporter, |hash| {
        for cid in store.cids() {
            hash(cid?);
        }
        Ok(())
    })?;
    let mut tree = Tree::new(store, checked.bad.iter().map(|bad| *bad.cid.hash()).collect());
    for pin in store.pins() {
        let before = (tree.bad.len(), tree.roots.len());
        tree.walk(pin.cid, pin.mode == PinMode::Recursive, &mut |_| {})?;
        if tree.bad.len() > before.0 && !store.pins_of(&pin.cid).contains(&pin) {
            tree.forget(before);
        }
    }
    checked.take(tree);
    Ok(checked)
}

/// Hashes every block of some DAGs, and some single blocks. Blocks that are found stay while the caller holds a lease.
pub(super) fn check_dags(
    store: &dyn Blockstore,
    recursive: &[Cid],
    direct: &[Cid],
    reporter: &dyn Reporter,
) -> Result<Checked> {
    let mut tree = Tree { retains: true, ..Tree::new(store, HashSet::new()) };
    let mut checked = hashing(store, None, Missing::Bad, reporter, |hash| {
        let roots = recursive.iter().map(|cid| (cid, true)).chain(direct.iter().map(|cid| (cid, false)));
        for (root, whole) in roots {
            tree.walk(*root, whole, &mut |cid| hash(cid))?;
        }
        Ok(())
    })?;
    if !checked.bad.is_empty() {
        checked.roots.extend(recursive);
    }
    checked.take(tree);
    Ok(checked)
}

/// Returns whether the block is present and hashes to its CID.
pub(super) fn is_sound(store: &dyn Blockstore, cid: &Cid) -> bool {
    matches!(condition(store, cid), Ok(Condition::Sound))
}

/// Returns whether all blocks of a DAG are present.
pub(super) fn is_whole(store: &dyn Blockstore, root: Cid) -> Result<bool> {
    let mut tree = Tree::new(store, HashSet::new());
    tree.walk(root, true, &mut |_| {})?;
    Ok(tree.bad.is_empty())
}

/// Deletes blocks whose bytes do not hash to their CIDs, and returns the blocks to fetch: these and the missing ones.
/// Each block is checked again immediately before. A block that was repaired in the meantime stays, and so does one
/// that matches its hash but cannot be decoded, because no peer can have different bytes for it.
pub(super) fn drop_damaged(store: &dyn Blockstore, bad: &[Bad]) -> Result<Vec<Cid>> {
    let mut wanted = Vec::new();
    for Bad { cid, .. } in bad {
        match condition(store, cid)? {
            Condition::Sound => continue,
            Condition::Missing => {}
            Condition::Damaged(_) => drop(store.delete_many(&[*cid])?),
        }
        wanted.push(*cid);
    }
    Ok(wanted)
}

impl Checked {
    fn take(&mut self, tree: Tree<'_>) {
        let known: HashSet<Multihash> = self.bad.iter().map(|bad| *bad.cid.hash()).collect();
        let room = MAX_BAD.saturating_sub(self.bad.len());
        self.bad.extend(tree.bad.into_iter().filter(|bad| !known.contains(bad.cid.hash())).take(room));
        self.roots.extend(tree.roots);
    }
}

/// The condition of a block.
enum Condition {
    Sound,
    Missing,
    /// Why the block does not match its CID.
    Damaged(String),
}

/// How to treat a block that is not present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// It is required.
    Bad,
    /// It was present when the store was listed, and may have been evicted since.
    Gone,
}

const MISSING: &str = "it is missing";

fn condition(store: &dyn Blockstore, cid: &Cid) -> Result<Condition> {
    let data = match store.get(cid) {
        Ok(Some(data)) => data,
        Ok(None) => return Ok(Condition::Missing),
        Err(Error::Corrupt { detail, .. }) => return Ok(Condition::Damaged(detail)),
        Err(error) => return Err(error),
    };
    Ok(match Block::verify(*cid, data) {
        Ok(_) => Condition::Sound,
        Err(Error::HashMismatch { actual, .. }) => Condition::Damaged(format!("its bytes hash to {actual}")),
        Err(error) => Condition::Damaged(error.to_string()),
    })
}

/// Hashes the blocks that `list` passes, on several threads.
fn hashing(
    store: &dyn Blockstore,
    total_blocks: Option<u64>,
    missing: Missing,
    reporter: &dyn Reporter,
    list: impl FnOnce(&mut dyn FnMut(Cid)) -> Result<()>,
) -> Result<Checked> {
    let bad = Mutex::new(Vec::new());
    let blocks = AtomicU64::new(0);
    let failed = Mutex::new(None);
    let (sender, receiver) = mpsc::sync_channel::<Cid>(QUEUE);
    let receiver = Mutex::new(receiver);
    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
    let work = || {
        while let Ok(cid) = next() {
            let reason = match condition(store, &cid) {
                Ok(Condition::Sound) => None,
                Ok(Condition::Missing) if missing == Missing::Gone => continue,
                Ok(Condition::Missing) => Some(MISSING.to_owned()),
                Ok(Condition::Damaged(reason)) => Some(reason),
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            };
            if let Some(reason) = reason {
                let mut bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
                if bad.len() < MAX_BAD {
                    bad.push(Bad { cid, reason });
                }
            }
            let done = blocks.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(REPORT_EVERY) {
                reporter.report(Progress::Checking { blocks: done, total_blocks });
            }
        }
    };
    let hashers = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_HASHERS);
    let listed = thread::scope(|scope| {
        (0..hashers).for_each(|_| drop(scope.spawn(work)));
        // The threads receive everything until the sender is dropped.
        let listed = list(&mut |cid| {
            let _always_heard = sender.send(cid);
        });
        drop(sender);
        listed
    });
    listed?;
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => {
            let mut bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
            bad.sort_by_key(|bad: &Bad| bad.cid.to_bytes());
            bad.dedup_by(|a, b| a.cid.hash() == b.cid.hash());
            Ok(Checked { blocks: blocks.into_inner(), bad, roots: Vec::new() })
        }
    }
}

/// Walks DAGs as far as they can be read, and records missing blocks.
struct Tree<'a> {
    store: &'a dyn Blockstore,
    /// Blocks known to be damaged. They are not read again, but their roots are recorded.
    known: HashSet<Multihash>,
    /// Whether blocks are retained under the caller's lease before they are read.
    retains: bool,
    /// Blocks visited, as 128-bit keyed fingerprints.
    visited: HashSet<(u64, u64)>,
    /// Blocks whose links were read. A direct pin visits its block without following it; a later recursive pin may
    /// still follow it.
    followed: HashSet<(u64, u64)>,
    /// The blocks in `bad`.
    noted: HashSet<(u64, u64)>,
    keys: (RandomState, RandomState),
    bad: Vec<Bad>,
    roots: Vec<Cid>,
}

impl<'a> Tree<'a> {
    fn new(store: &'a dyn Blockstore, known: HashSet<Multihash>) -> Self {
        let keys = (RandomState::new(), RandomState::new());
        let [visited, followed, noted] = [(); 3].map(|()| HashSet::new());
        Self { store, known, retains: false, visited, followed, noted, keys, bad: Vec::new(), roots: Vec::new() }
    }

    /// Passes every present block to `found`, once.
    fn walk(&mut self, root: Cid, whole: bool, found: &mut dyn FnMut(Cid)) -> Result<()> {
        let mut stack = vec![root];
        let mut hurt = false;
        while let Some(cid) = stack.pop() {
            if identity_data(&cid).is_some() {
                continue;
            }
            let key = self.key(&cid);
            let is_new = self.visited.insert(key);
            let follow = whole && may_have_links(&cid);
            let is_done = if follow { !self.followed.insert(key) } else { !is_new };
            if is_done {
                continue;
            }
            if self.known.contains(cid.hash()) {
                hurt = true;
                continue;
            }
            if self.retains {
                self.store.retain(&[cid])?;
            }
            let there = if follow { self.node(&cid, &mut stack)? } else { present(self.store, &cid)? };
            match there {
                None if is_new => found(cid),
                None => {}
                Some(reason) => {
                    hurt = true;
                    if self.bad.len() < MAX_BAD && self.noted.insert(key) {
                        self.bad.push(Bad { cid, reason });
                    }
                }
            }
        }
        if hurt && self.roots.len() < MAX_ROOTS {
            self.roots.push(root);
        }
        Ok(())
    }

    /// Discards the findings of a pin that was removed during the check. Its blocks can be visited again, because
    /// another pin may keep them.
    fn forget(&mut self, (bad, roots): (usize, usize)) {
        for gone in self.bad.split_off(bad) {
            let key = self.key(&gone.cid);
            for set in [&mut self.visited, &mut self.followed, &mut self.noted] {
                set.remove(&key);
            }
        }
        self.roots.truncate(roots);
    }

    fn key(&self, cid: &Cid) -> (u64, u64) {
        let bytes = cid.to_bytes();
        (self.keys.0.hash_one(&bytes), self.keys.1.hash_one(&bytes))
    }

    /// Pushes the links of a node on the stack, or returns what is wrong with the node.
    fn node(&self, cid: &Cid, stack: &mut Vec<Cid>) -> Result<Option<String>> {
        let data = match self.store.get(cid) {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(Some(MISSING.to_owned())),
            Err(Error::Corrupt { detail, .. }) => return Ok(Some(detail)),
            Err(error) => return Err(error),
        };
        match links(cid, &data) {
            Ok(links) => {
                stack.extend(links.into_iter().rev());
                Ok(None)
            }
            // The bytes match the hash but are not a valid node. Refetching cannot repair that.
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}

fn present(store: &dyn Blockstore, cid: &Cid) -> Result<Option<String>> {
    match store.size(cid) {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(MISSING.to_owned())),
        Err(Error::Corrupt { detail, .. }) => Ok(Some(detail)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
