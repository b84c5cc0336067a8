//! Manifests in the store, read as far as needed.

use std::sync::Arc;

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Cid};

use crate::manifest::{ManifestChunk, ManifestEntry, manifest_chunks, manifest_entries};

/// Why a manifest, or an entry of it, cannot be read from the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is not here, or not all of it")]
    NotHere,
    #[error("it is out of range")]
    OutOfRange,
    #[error("the store cannot be read")]
    Store(#[from] ggen_blockstore::Error),
}

/// A manifest in the store. The last chunk that was read is cached.
#[derive(Debug)]
pub(super) struct StoredManifest {
    root: ManifestEntry,
    chunks: Vec<ManifestChunk>,
    len: u32,
    last: Option<(usize, Arc<Vec<ManifestEntry>>)>,
}

impl StoredManifest {
    pub(super) fn open(store: &dyn Blockstore, cid: &Cid) -> Result<Self, Unreadable> {
        let root = store.get(cid)?.ok_or(Unreadable::NotHere)?;
        let chunks = manifest_chunks(&root).map_err(|_| Unreadable::OutOfRange)?;
        let len = chunks.iter().try_fold(0u32, |sum, chunk| sum.checked_add(chunk.entries));
        let len = len.ok_or(Unreadable::OutOfRange)?;
        Ok(Self { root: ManifestEntry { cid: *cid, size: root.len() as u32 }, chunks, len, last: None })
    }

    /// The number of its entries.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Its own blocks, root first.
    pub(super) fn own(&self) -> impl Iterator<Item = ManifestEntry> {
        std::iter::once(self.root).chain(self.chunks.iter().map(own))
    }

    /// The range of chunks (own blocks without the root) that contain the entries from `first` to `last`.
    pub(super) fn parts_of(&self, first: u32, last: u32) -> std::ops::Range<u32> {
        let (mut at, mut from, mut to) = (0u64, 0, 0);
        for (index, chunk) in self.chunks.iter().enumerate() {
            let next = at + u64::from(chunk.entries);
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

    /// Returns the entry at `index`.
    pub(super) fn listed(&mut self, store: &dyn Blockstore, index: u32) -> Result<ManifestEntry, Unreadable> {
        let (mut at, mut part) = (0u32, 0);
        while let Some(chunk) = self.chunks.get(part).filter(|chunk| index - at >= chunk.entries) {
            at += chunk.entries;
            part += 1;
        }
        let listed = self.part(store, part)?;
        listed.get((index - at) as usize).copied().ok_or(Unreadable::OutOfRange)
    }

    fn part(&mut self, store: &dyn Blockstore, index: usize) -> Result<Arc<Vec<ManifestEntry>>, Unreadable> {
        if let Some((_, listed)) = self.last.as_ref().filter(|(last, _)| *last == index) {
            return Ok(Arc::clone(listed));
        }
        let chunk = self.chunks.get(index).ok_or(Unreadable::OutOfRange)?;
        let bytes: Bytes = store.get(&chunk.link)?.ok_or(Unreadable::NotHere)?;
        let entries = manifest_entries(&bytes).ok().filter(|entries| entries.len() == chunk.entries as usize);
        let listed = Arc::new(entries.ok_or(Unreadable::OutOfRange)?);
        self.last = Some((index, Arc::clone(&listed)));
        Ok(listed)
    }
}

/// A chunk of a manifest, as one of the manifest's own blocks.
fn own(chunk: &ManifestChunk) -> ManifestEntry {
    ManifestEntry { cid: chunk.link, size: chunk.bytes }
}
