//! Dictionaries: which of the blocks that both sides have help to compress a frame, and their bytes.

use std::{collections::BTreeSet, sync::Arc};

use ggen_blockstore::{Blockstore, Cid, DAG_PB};

use crate::{
    manifest::ManifestEntry,
    node::exchange::bulk::{
        message::{MAX_PIECES, Piece, Run, Source, runs},
        paths::Placed,
        stored_manifest::{StoredManifest, Unreadable},
    },
};

/// A block of at least this many bytes is a chunk of a file: its neighbours may contain data that has moved.
const CHUNK_BYTES: u32 = 256 << 10;
/// Maximum number of the manifest's own blocks in a dictionary: they contain the CIDs that directories repeat.
const MAX_OWN: u32 = 4;

/// Maximum number of blocks in a dictionary: the sizes in a manifest are unverified, and may be 0.
const MAX_DICTIONARY_BLOCKS: u64 = 1 << 16;

/// The manifests that pieces are taken from: the requested one, then the references; `None` if one cannot be read.
#[derive(Debug)]
pub(super) struct Sources {
    store: Arc<dyn Blockstore>,
    opened: Vec<Option<StoredManifest>>,
}

impl Sources {
    /// Opens manifests, the requested one first.
    pub(super) fn open<'a>(store: &Arc<dyn Blockstore>, cids: impl IntoIterator<Item = &'a Cid>) -> Self {
        let opened = cids.into_iter().map(|cid| StoredManifest::open(&**store, cid).ok()).collect();
        Self { store: Arc::clone(store), opened }
    }

    pub(super) fn list(&mut self, index: usize) -> Option<&mut StoredManifest> {
        self.opened.get_mut(index)?.as_mut()
    }

    /// Returns the entries of the requested manifest at `indices`.
    pub(super) fn listed(&mut self, indices: impl IntoIterator<Item = u32>) -> Result<Vec<ManifestEntry>, Unreadable> {
        let Self { store, opened } = self;
        let list = opened.first_mut().and_then(Option::as_mut).ok_or(Unreadable::NotHere)?;
        let read = |index| match index < list.len() {
            true => list.listed(&**store, index),
            false => Err(Unreadable::OutOfRange),
        };
        indices.into_iter().map(read).collect()
    }

    /// Reads the bytes of a dictionary. Fails if they exceed `limit`.
    pub(super) fn gather(&mut self, pieces: &[Piece], limit: u64) -> Result<Vec<u8>, Unreadable> {
        if pieces.iter().map(|piece| u64::from(piece.count)).sum::<u64>() > MAX_DICTIONARY_BLOCKS {
            return Err(Unreadable::OutOfRange);
        }
        let mut blocks = Vec::new();
        let mut total = 0;
        for piece in pieces {
            for listed in self.blocks_of(piece)? {
                total += u64::from(listed.size);
                if total > limit {
                    return Err(Unreadable::OutOfRange);
                }
                blocks.push(listed);
            }
        }
        let mut bytes = Vec::with_capacity(total as usize);
        for listed in blocks {
            let block = self.store.get(&listed.cid)?.ok_or(Unreadable::NotHere)?;
            if block.len() != listed.size as usize {
                return Err(Unreadable::OutOfRange);
            }
            bytes.extend_from_slice(&block);
        }
        Ok(bytes)
    }

    fn blocks_of(&mut self, piece: &Piece) -> Result<Vec<ManifestEntry>, Unreadable> {
        let Self { store, opened } = self;
        let (Source::Own(index) | Source::Listed(index)) = piece.source;
        let list = opened.get_mut(index).and_then(Option::as_mut).ok_or(Unreadable::NotHere)?;
        let end = piece.first.checked_add(piece.count).ok_or(Unreadable::OutOfRange)?;
        if let Source::Own(_) = piece.source {
            let own = list.own().skip(piece.first as usize).take(piece.count as usize).collect::<Vec<_>>();
            return if own.len() == piece.count as usize { Ok(own) } else { Err(Unreadable::OutOfRange) };
        }
        if end > list.len() {
            return Err(Unreadable::OutOfRange);
        }
        (piece.first..end).map(|index| list.listed(&**store, index)).collect()
    }
}

/// A requested manifest and the references that it is compared with, the most similar first, each with its source
/// number.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) target: Arc<Placed>,
    pub(super) references: Vec<(usize, Arc<Placed>)>,
}

impl Comparison {
    /// Chooses the previous versions of the blocks at `indices`. If one has none, also blocks of the first reference
    /// whose path is gone. At most `limit` bytes.
    fn former(&self, indices: &[u32], limit: u64) -> Vec<Piece> {
        let mut chosen: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); self.references.len()];
        let mut left = limit;
        let mut take = |chosen: &mut Vec<BTreeSet<u32>>, reference: usize, index: u32| {
            let Some(listed) = self.references[reference].1.blocks.get(index as usize) else { return };
            if u64::from(listed.size) <= left && chosen[reference].insert(index) {
                left -= u64::from(listed.size);
            }
        };
        let mut has_new = false;
        for index in indices {
            let place = self.target.places.get(*index as usize);
            let found = place.and_then(|place| {
                let find = |(at, (_, placed)): (usize, &(usize, Arc<Placed>))| Some((at, *placed.by_place.get(place)?));
                self.references.iter().enumerate().find_map(find)
            });
            let Some((reference, former)) = found else {
                has_new = true;
                continue;
            };
            take(&mut chosen, reference, former);
            let is_chunk = self.target.blocks.get(*index as usize).is_some_and(|block| block.size >= CHUNK_BYTES);
            if is_chunk {
                take(&mut chosen, reference, former + 1);
                former.checked_sub(1).into_iter().for_each(|before| take(&mut chosen, reference, before));
            }
        }
        if has_new && let Some((_, first)) = self.references.first() {
            // A moved or renamed file is in the reference at a path that no longer exists.
            let gone = first.places.iter().enumerate().filter(|(_, place)| !self.target.by_place.contains_key(place));
            gone.for_each(|(index, _)| take(&mut chosen, 0, index as u32));
        }
        let piece =
            |source: usize| move |Run { first, count }: Run| Piece { source: Source::Listed(source), first, count };
        let of = |(chosen, (source, _)): (BTreeSet<u32>, &(usize, Arc<Placed>))| {
            runs(chosen).into_iter().map(piece(*source)).collect::<Vec<_>>()
        };
        chosen.into_iter().zip(&self.references).flat_map(of).collect()
    }
}

/// Chooses the dictionary for the blocks at `indices` (ascending) of the manifest `list`.
pub(super) fn choose(
    list: &StoredManifest,
    comparison: Option<&Comparison>,
    indices: &[u32],
    blocks: &[ManifestEntry],
    limit: u64,
) -> Vec<Piece> {
    let mut names = Vec::new();
    let has_directories = blocks.iter().any(|block| block.cid.codec() == DAG_PB);
    if let (true, Some(first), Some(last)) = (has_directories, indices.first(), indices.last()) {
        let parts = list.parts_of(*first, *last);
        let own = parts.start..parts.end.min(parts.start + MAX_OWN);
        // The root is the first of the manifest's own blocks.
        let bytes: u64 = list.own().skip(own.start as usize + 1).take(own.len()).map(|part| u64::from(part.size)).sum();
        if bytes <= limit {
            names.push(Piece { source: Source::Own(0), first: own.start + 1, count: own.end - own.start });
        }
        let left = limit.saturating_sub(bytes);
        return join(comparison.map(|comparison| comparison.former(indices, left)).unwrap_or_default(), names);
    }
    join(comparison.map(|comparison| comparison.former(indices, limit)).unwrap_or_default(), names)
}

/// Joins both lists: the last piece is nearest to the data and cheapest to refer to.
fn join(mut former: Vec<Piece>, names: Vec<Piece>) -> Vec<Piece> {
    former.truncate(MAX_PIECES - names.len());
    former.extend(names);
    former
}

/// Chooses the dictionary for the manifest itself: the own blocks of the readable references, the first reference last.
pub(super) fn choose_for_own(sources: &mut Sources, references: usize, limit: u64) -> Vec<Piece> {
    let mut left = limit;
    let mut pieces = Vec::new();
    for index in 1..=references {
        let Some(list) = sources.list(index) else { continue };
        let own = || list.own().skip(1);
        let bytes: u64 = own().map(|part| u64::from(part.size)).sum();
        if bytes <= left {
            left -= bytes;
            pieces.push(Piece { source: Source::Own(index), first: 1, count: own().count() as u32 });
        }
    }
    pieces.reverse();
    pieces
}
