//! Sources of wants: a known list of blocks, or a DAG of which only the root is known. Blocks in the local store are
//! not requested, and are read only to follow their links.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use bytes::Bytes;
use ggen_blockstore::{
    Block, Blockstore, Cid, Error, MAX_BLOCK_BYTES, Node, RAW, check_hash, identity_data, links, may_have_links,
};

use super::{DownloadError, MAX_DAG_BLOCKS};

/// A wanted block.
pub(crate) type Want = crate::node::BlockWant;

/// A list of wants in parts.
pub(crate) trait Wants: Iterator<Item = Result<Vec<Want>, DownloadError>> + Send + 'static {}

impl<T: Iterator<Item = Result<Vec<Want>, DownloadError>> + Send + 'static> Wants for T {}

/// Yields wants in parts. Runs on a thread that may block.
pub(super) trait Source: Send + 'static {
    /// Returns the next wants; `None` if there are none until a further block arrives.
    fn more(&mut self, store: &dyn Blockstore) -> Result<Option<Vec<Want>>, DownloadError>;

    /// Takes a wanted block that is now in the store, to follow its links.
    fn arrived(&mut self, block: &Block) -> Result<(), DownloadError>;

    /// Returns the number of blocks that were in the store already.
    fn reused(&self) -> u64;
}

/// A known list of blocks.
pub(super) struct List<I> {
    parts: I,
    /// Blocks in the store that this download received before they were wanted; they do not count as reused.
    unasked: HashSet<Cid>,
    reused: u64,
}

impl<I: Wants> List<I> {
    pub(super) fn new(parts: I, unasked: HashSet<Cid>) -> Self {
        Self { parts, unasked, reused: 0 }
    }
}

impl<I: Wants> Source for List<I> {
    fn more(&mut self, store: &dyn Blockstore) -> Result<Option<Vec<Want>>, DownloadError> {
        let Some(part) = self.parts.next().transpose()? else { return Ok(None) };
        let cids: Vec<_> = part.iter().map(|want| want.cid).collect();
        let here = present(store, &cids)?;
        let mut missing = Vec::new();
        for (want, here) in part.into_iter().zip(here) {
            match here {
                true => self.reused += u64::from(!self.unasked.contains(&want.cid)),
                false => {
                    check_size(&want.cid, want.size.unwrap_or_default())?;
                    missing.push(want);
                }
            }
        }
        Ok(Some(missing))
    }

    fn arrived(&mut self, _: &Block) -> Result<(), DownloadError> {
        Ok(())
    }

    fn reused(&self) -> u64 {
        self.reused
    }
}

/// Blocks processed in one call of [`Source::more`].
const STEP: usize = 1024;

/// A DAG, walked depth-first as far as its blocks are in the store.
pub(super) struct Dag {
    /// CIDs still to process, as bytes, because a `Cid` takes four times as much memory.
    stack: Vec<Box<[u8]>>,
    /// CIDs already pushed, as 128-bit keyed fingerprints.
    seen: HashSet<(u64, u64)>,
    keys: (RandomState, RandomState),
    reused: u64,
}

impl Dag {
    pub(super) fn new(root: Cid) -> Self {
        let stack = vec![root.to_bytes().into_boxed_slice()];
        Self { stack, seen: HashSet::new(), keys: (RandomState::new(), RandomState::new()), reused: 0 }
    }

    /// Pushes the links of a block.
    fn descend(&mut self, cid: &Cid, block: &Bytes) -> Result<(), DownloadError> {
        let cids = links(cid, block)?;
        check_parts(cid, block)?;
        // In reverse, because the stack returns the last one first.
        for cid in cids.into_iter().rev() {
            let bytes = cid.to_bytes();
            if self.seen.insert((self.keys.0.hash_one(&bytes), self.keys.1.hash_one(&bytes))) {
                self.stack.push(bytes.into_boxed_slice());
            }
        }
        if self.seen.len() > MAX_DAG_BLOCKS {
            return Err(DownloadError::TooLarge);
        }
        Ok(())
    }

    /// Follows the links of a block in the store. Returns `false` if the block has to be fetched again, because it is
    /// missing or damaged; a damaged one is deleted.
    fn follow(&mut self, store: &dyn Blockstore, cid: &Cid) -> Result<bool, DownloadError> {
        if !may_have_links(cid) {
            return Ok(true);
        }
        match store.get(cid) {
            Ok(Some(data)) => {
                self.descend(cid, &data)?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(Error::Corrupt { .. }) => {
                store.delete_many(&[*cid])?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Source for Dag {
    fn more(&mut self, store: &dyn Blockstore) -> Result<Option<Vec<Want>>, DownloadError> {
        if self.stack.is_empty() {
            return Ok(None);
        }
        let from = self.stack.len().saturating_sub(STEP);
        let cids: Vec<Cid> = self
            .stack
            .drain(from..)
            .rev()
            .map(|bytes| Cid::try_from(&bytes[..]).expect("these bytes were a CID"))
            .collect();
        let here = present(store, &cids)?;
        let mut missing = Vec::new();
        for (cid, here) in cids.into_iter().zip(here) {
            if here && self.follow(store, &cid)? {
                self.reused += u64::from(identity_data(&cid).is_none());
            } else {
                missing.push((cid, None).into());
            }
        }
        Ok(Some(missing))
    }

    fn arrived(&mut self, block: &Block) -> Result<(), DownloadError> {
        self.descend(block.cid(), block.data())
    }

    fn reused(&self) -> u64 {
        self.reused
    }
}

/// Returns which blocks are in the store. An empty block is stored if it is missing: its content is known, and Kubo
/// cannot serve it (boxo treats a block of zero bytes as missing).
fn present(store: &dyn Blockstore, cids: &[Cid]) -> Result<Vec<bool>, DownloadError> {
    let mut here = store.retain(cids)?;
    for (cid, here) in cids.iter().zip(&mut here).filter(|(_, here)| !**here) {
        // A CID that cannot be verified must not be requested: peers would be recorded as not responding.
        check_hash(cid).map_err(|source| DownloadError::Unverifiable { cid: Box::new(*cid), source })?;
        if let Ok(empty) = Block::verify(*cid, Bytes::new()) {
            store.put(&empty)?;
            *here = true;
        }
    }
    Ok(here)
}

/// Fails for a block above the size limit of the protocols. It must not be requested, because no honest peer could send
/// it.
fn check_size(cid: &Cid, bytes: u64) -> Result<(), DownloadError> {
    if bytes > MAX_BLOCK_BYTES as u64 {
        return Err(DownloadError::BlockTooLarge { cid: Box::new(*cid), bytes });
    }
    Ok(())
}

/// Checks the sizes of a file's raw leaves, which their parent node states.
fn check_parts(cid: &Cid, block: &Bytes) -> Result<(), DownloadError> {
    match Node::parse(cid, block) {
        Ok(Node::File(file)) => file
            .parts
            .iter()
            .filter(|(part, _)| part.codec() == RAW)
            .try_for_each(|(part, size)| check_size(part, *size)),
        // The node is not a file.
        _ => Ok(()),
    }
}
