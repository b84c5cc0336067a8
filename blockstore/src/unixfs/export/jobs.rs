//! Splits the work of an export for several threads.

use std::ops::Deref;

use bytes::Bytes;

use crate::{
    Blockstore, Cid, Error, MAX_WALK_PENDING, RAW, Result,
    unixfs::{
        Entry, EntryKind,
        reader::{Chunks, read_part},
    },
};

/// Files above this size are split along their upper nodes, in bytes.
const SPLIT_BYTES: u64 = 4 << 20;
/// Bytes of small files in one job.
const BUNDLE_BYTES: u64 = 1 << 20;
/// Small files in one job.
const BUNDLE_FILES: usize = 32;

/// A unit of work; `E` is a file.
#[derive(Debug)]
pub(super) enum Job<E> {
    /// Whole files.
    Bundle(Vec<E>),
    /// A part of a larger file. The parts of a file follow in order, the first one at offset 0.
    Part {
        /// The file.
        entry: E,
        /// Offset of the part in the file.
        offset: u64,
        /// Its content.
        part: Part,
    },
}

/// Content of a file.
#[derive(Debug)]
pub(super) enum Part {
    /// Content in an upper node itself.
    Data(Bytes),
    /// The content in and below a node.
    Node {
        /// The node.
        cid: Cid,
        /// Expected length of its content.
        size: u64,
    },
}

impl Part {
    /// A whole file.
    pub(super) fn whole(entry: &Entry) -> Self {
        Self::Node { cid: entry.cid, size: file_size(entry) }
    }

    /// Calls `put` with the content, piece by piece.
    pub(super) fn read<S: Blockstore + ?Sized>(
        self,
        store: &S,
        mut put: impl FnMut(Bytes) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Data(data) => put(data),
            Self::Node { cid, size } => Chunks::new(store, cid, size).try_for_each(|chunk| put(chunk?)),
        }
    }
}

/// Length of a file, 0 for other entries.
pub(super) fn file_size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size,
        EntryKind::Directory | EntryKind::Symlink { .. } => 0,
    }
}

/// Splits files into jobs, in order. Entries other than files are skipped.
#[derive(Debug)]
pub(super) struct Jobs<'a, S: ?Sized, I, E> {
    store: &'a S,
    /// Remaining entries.
    entries: I,
    /// The entry that did not fit in the last job.
    next: Option<E>,
    /// The larger file being split.
    file: Option<E>,
    /// Its remaining parts, the next one last.
    parts: Vec<(u64, Part)>,
}

impl<'a, S, I, E> Jobs<'a, S, I, E>
where
    S: Blockstore + ?Sized,
    I: Iterator<Item = Result<E>>,
    E: Deref<Target = Entry> + Clone,
{
    pub(super) fn new(store: &'a S, entries: I) -> Self {
        Self { store, entries, next: None, file: None, parts: Vec::new() }
    }

    fn next_job(&mut self) -> Result<Option<Job<E>>> {
        if let Some(part) = self.next_part()? {
            return Ok(Some(part));
        }
        let (mut bundle, mut bytes) = (Vec::new(), 0);
        while bundle.len() < BUNDLE_FILES && bytes < BUNDLE_BYTES {
            let Some(entry) = self.next.take().map(Ok).or_else(|| self.entries.next()).transpose()? else { break };
            let EntryKind::File { size, .. } = entry.kind else { continue };
            if size > SPLIT_BYTES {
                if !bundle.is_empty() {
                    self.next = Some(entry);
                    break;
                }
                self.parts.push((0, Part::whole(&entry)));
                self.file = Some(entry);
                return self.next_part();
            }
            bundle.push(entry);
            bytes += size;
        }
        Ok((!bundle.is_empty()).then_some(Job::Bundle(bundle)))
    }

    fn next_part(&mut self) -> Result<Option<Job<E>>> {
        let Some(entry) = self.file.clone() else { return Ok(None) };
        while let Some((offset, part)) = self.parts.pop() {
            match part {
                Part::Node { cid, size } if size > SPLIT_BYTES && cid.codec() != RAW => self.cut(offset, &cid, size)?,
                part => return Ok(Some(Job::Part { entry, offset, part })),
            }
        }
        self.file = None;
        Ok(None)
    }

    /// Replaces a node by its own content and its children.
    fn cut(&mut self, mut offset: u64, cid: &Cid, size: u64) -> Result<()> {
        let node = read_part(self.store, cid, size)?;
        let data = (node.data.len() as u64, Part::Data(node.data));
        let below = node.parts.into_iter().map(|(cid, size)| (size, Part::Node { cid, size }));
        let first = self.parts.len();
        for (size, part) in [data].into_iter().chain(below).filter(|(size, _)| *size > 0) {
            self.parts.push((offset, part));
            offset += size;
        }
        self.parts[first..].reverse();
        if self.parts.len() > MAX_WALK_PENDING {
            return Err(Error::LimitExceeded { what: "links of one file", limit: MAX_WALK_PENDING as u64 });
        }
        Ok(())
    }
}

impl<S, I, E> Iterator for Jobs<'_, S, I, E>
where
    S: Blockstore + ?Sized,
    I: Iterator<Item = Result<E>>,
    E: Deref<Target = Entry> + Clone,
{
    type Item = Result<Job<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_job().transpose()
    }
}
