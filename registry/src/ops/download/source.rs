//! What is wanted: a list that is known, or a DAG of which only the root is. Blocks that are here already are neither
//! asked for nor read again, except to follow their links.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use bytes::Bytes;
use ggen_blockstore::{
    Block, Blockstore, Cid, Error, MAX_BLOCK_BYTES, Node, RAW, check_hash, identity_data, links, may_have_links,
};

use super::{DownloadError, MAX_DAG_BLOCKS};

/// A block that is wanted.
pub(crate) type Want = crate::node::BlockWant;

/// A list of wants in parts.
pub(crate) trait Wants: Iterator<Item = Result<Vec<Want>, DownloadError>> + Send + 'static {}

impl<T: Iterator<Item = Result<Vec<Want>, DownloadError>> + Send + 'static> Wants for T {}

/// Names wants, a part at a time. Runs on a thread that may block.
pub(super) trait Source: Send + 'static {
    /// The next wants; `None` if there are no more, unless a block that is still to arrive names some.
    fn more(&mut self, store: &dyn Blockstore) -> Result<Option<Vec<Want>>, DownloadError>;

    /// A wanted block is in the store now.
    fn arrived(&mut self, block: &Block) -> Result<(), DownloadError>;

    /// Blocks that were here already.
    fn reused(&self) -> u64;
}

/// A list that is known.
pub(super) struct List<I> {
    parts: I,
    /// What is here because it came before it was wanted.
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

/// Blocks looked at before the wants found are handed on.
const STEP: usize = 1024;

/// A DAG, walked depth first as far as its blocks are here.
pub(super) struct Dag {
    /// CIDs still to look at, as bytes: a CID in memory takes four times as much.
    stack: Vec<Box<[u8]>>,
    /// What was looked at, as 128-bit keyed fingerprints.
    seen: HashSet<(u64, u64)>,
    keys: (RandomState, RandomState),
    reused: u64,
}

impl Dag {
    pub(super) fn new(root: Cid) -> Self {
        let stack = vec![root.to_bytes().into_boxed_slice()];
        Self { stack, seen: HashSet::new(), keys: (RandomState::new(), RandomState::new()), reused: 0 }
    }

    /// Goes on below a block.
    fn descend(&mut self, cid: &Cid, block: &Bytes) -> Result<(), DownloadError> {
        let cids = links(cid, block)?;
        check_parts(cid, block)?;
        // Last first, so that the walk goes in order.
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

    /// Follows a block that is here; `false` if it is damaged and has to be fetched again.
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

/// Which blocks are here. The empty block always is: everybody knows what is in it, and Kubo cannot serve it (boxo takes
/// a block of no bytes for a missing one).
fn present(store: &dyn Blockstore, cids: &[Cid]) -> Result<Vec<bool>, DownloadError> {
    let mut here = store.retain(cids)?;
    for (cid, here) in cids.iter().zip(&mut here).filter(|(_, here)| !**here) {
        // Peers would be asked in vain, and blamed for their silence.
        check_hash(cid).map_err(|source| DownloadError::Unverifiable { cid: Box::new(*cid), source })?;
        if let Ok(empty) = Block::verify(*cid, Bytes::new()) {
            store.put(&empty)?;
            *here = true;
        }
    }
    Ok(here)
}

/// A block that is too large to be exchanged is not asked for: peers that honestly have it could not send it.
fn check_size(cid: &Cid, bytes: u64) -> Result<(), DownloadError> {
    if bytes > MAX_BLOCK_BYTES as u64 {
        return Err(DownloadError::BlockTooLarge { cid: Box::new(*cid), bytes });
    }
    Ok(())
}

/// Checks the raw leaves of a file: of these the node above says how long they are.
fn check_parts(cid: &Cid, block: &Bytes) -> Result<(), DownloadError> {
    match Node::parse(cid, block) {
        Ok(Node::File(file)) => file
            .parts
            .iter()
            .filter(|(part, _)| part.codec() == RAW)
            .try_for_each(|(part, size)| check_size(part, *size)),
        // Not every DAG is a file or directory.
        _ => Ok(()),
    }
}
