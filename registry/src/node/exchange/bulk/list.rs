//! Lists in the store, read as far as needed.

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Cid};

/// A block that a list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its CID.
    pub cid: Cid,
    /// Its length in bytes.
    pub size: u32,
}

/// Knows how lists are written: whoever made them.
pub trait Lists: Debug + Send + Sync + 'static {
    /// The other blocks of the list whose root this is, in order, each with the number of blocks that it names. `None`
    /// if it is no list.
    fn parts(&self, root: &[u8]) -> Option<Vec<(Listed, u32)>>;

    /// The blocks that one of these names. `None` if it is damaged.
    fn listed(&self, part: &[u8]) -> Option<Vec<Listed>>;
}

/// Why a list, or something it names, cannot be read here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is not here, or not all of it")]
    NotHere,
    #[error("it is out of range")]
    OutOfRange,
    #[error("the store cannot be read")]
    Store(#[from] ggen_blockstore::Error),
}

/// A list in the store; the part that was read last is kept.
#[derive(Debug)]
pub(super) struct List {
    root: Listed,
    parts: Vec<(Listed, u32)>,
    len: u32,
    last: Option<(usize, Arc<Vec<Listed>>)>,
}

impl List {
    pub(super) fn open(store: &dyn Blockstore, lists: &dyn Lists, cid: &Cid) -> Result<Self, Unreadable> {
        let root = store.get(cid)?.ok_or(Unreadable::NotHere)?;
        let parts = lists.parts(&root).ok_or(Unreadable::OutOfRange)?;
        let len = parts.iter().try_fold(0u32, |sum, (_, count)| sum.checked_add(*count));
        let len = len.ok_or(Unreadable::OutOfRange)?;
        Ok(Self { root: Listed { cid: *cid, size: root.len() as u32 }, parts, len, last: None })
    }

    /// Blocks that it names.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Its own blocks, root first.
    pub(super) fn own(&self) -> impl Iterator<Item = Listed> {
        std::iter::once(self.root).chain(self.parts.iter().map(|(part, _)| *part))
    }

    /// Which of its own blocks, counted without the root, name these of its blocks.
    pub(super) fn parts_of(&self, first: u32, last: u32) -> std::ops::Range<u32> {
        let (mut at, mut from, mut to) = (0u64, 0, 0);
        for (index, (_, count)) in self.parts.iter().enumerate() {
            let next = at + u64::from(*count);
            if next <= u64::from(first) {
                from = index as u32 + 1;
            }
            if at <= u64::from(last) {
                to = index as u32 + 1;
            }
            at = next;
        }
        from..to.max(from)
    }

    /// What stands at `index`.
    pub(super) fn listed(
        &mut self,
        store: &dyn Blockstore,
        lists: &dyn Lists,
        index: u32,
    ) -> Result<Listed, Unreadable> {
        let (mut at, mut part) = (0u32, 0);
        while let Some((_, count)) = self.parts.get(part).filter(|(_, count)| index - at >= *count) {
            at += count;
            part += 1;
        }
        let listed = self.part(store, lists, part)?;
        listed.get((index - at) as usize).copied().ok_or(Unreadable::OutOfRange)
    }

    fn part(
        &mut self,
        store: &dyn Blockstore,
        lists: &dyn Lists,
        index: usize,
    ) -> Result<Arc<Vec<Listed>>, Unreadable> {
        if let Some((_, listed)) = self.last.as_ref().filter(|(last, _)| *last == index) {
            return Ok(Arc::clone(listed));
        }
        let (part, count) = self.parts.get(index).ok_or(Unreadable::OutOfRange)?;
        let bytes: Bytes = store.get(&part.cid)?.ok_or(Unreadable::NotHere)?;
        let listed = lists.listed(&bytes).filter(|listed| listed.len() == *count as usize);
        let listed = Arc::new(listed.ok_or(Unreadable::OutOfRange)?);
        self.last = Some((index, Arc::clone(&listed)));
        Ok(listed)
    }
}
