//! Finding what is damaged or missing: one thread lists, several hash.

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

/// Threads that hash, at most: more would wait for the disk.
const MAX_HASHERS: usize = 8;
/// CIDs on their way to a thread.
const QUEUE: usize = 1024;
/// Bad blocks that are named; with more, something is wrong that no list of blocks explains.
const MAX_BAD: usize = 100_000;
/// Roots of DAGs with bad blocks in them that are remembered.
const MAX_ROOTS: usize = 64;
/// Blocks hashed between two reports of progress.
const REPORT_EVERY: u64 = 256;

/// A block that is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) cid: Cid,
    pub(super) reason: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Blocks that were hashed.
    pub(super) blocks: u64,
    pub(super) bad: Vec<Bad>,
    /// Roots of pinned or named DAGs that bad blocks belong to.
    pub(super) roots: Vec<Cid>,
}

/// Hashes every block of the store, and looks that everything is there that pins lead to. What goes meanwhile, as cache
/// does and what is unpinned, is not missing.
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

/// Hashes every block of some DAGs, and some blocks alone. What is found stays at least as long as a lease that the
/// caller holds.
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

/// Whether the block is there and hashes to its CID.
pub(super) fn is_sound(store: &dyn Blockstore, cid: &Cid) -> bool {
    matches!(condition(store, cid), Ok(Condition::Sound))
}

/// Whether all of a DAG is there.
pub(super) fn is_whole(store: &dyn Blockstore, root: Cid) -> Result<bool> {
    let mut tree = Tree::new(store, HashSet::new());
    tree.walk(root, true, &mut |_| {})?;
    Ok(tree.bad.is_empty())
}

/// Drops those blocks whose bytes do not hash to their CIDs, and returns what has to be fetched: these, and what is
/// missing. Each is looked at again directly before it is dropped: one that others have mended meanwhile stays, and so
/// does one that hashes right and is bad for what it says, of which nobody has a better one.
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

/// How a block is.
enum Condition {
    Sound,
    Missing,
    /// Why it is not what its CID says.
    Damaged(String),
}

/// What it means that a block is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// It was wanted.
    Bad,
    /// It was there when the store was listed, and has gone as it may.
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

/// Hashes what `list` names, on several threads.
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
        // The threads end when the sender is gone, and take everything until then.
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

/// Walks DAGs as far as they can be read, and notes what is not there.
struct Tree<'a> {
    store: &'a dyn Blockstore,
    /// Known to be damaged: not read, and its root is remembered.
    known: HashSet<Multihash>,
    /// What is found is retained, before it is read.
    retains: bool,
    /// What was looked at, as 128-bit keyed fingerprints.
    visited: HashSet<(u64, u64)>,
    /// What was read for its links. A block that a direct pin leads to is looked at and not followed; a recursive pin
    /// that leads to it later follows it.
    followed: HashSet<(u64, u64)>,
    /// What `bad` names.
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

    /// Passes every block that is there to `found`, once.
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

    /// Takes back what was noted of a pin that has gone, and with it what it kept; another may lead there yet.
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

    /// Puts the links of a node on the stack; or says what is wrong with it.
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
            // Bytes that hash to the CID and are no such node cannot be fetched better.
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
