//! The work of an export, cut for several threads.

use bytes::Bytes;

use crate::{
    Blockstore, Cid, Error, MAX_WALK_PENDING, RAW, Result,
    unixfs::{
        Entry, EntryKind,
        reader::{Chunks, read_part},
    },
};

/// Files above this are cut along their upper nodes, in bytes.
const SPLIT_BYTES: u64 = 4 << 20;
/// Bytes of small files in one job.
const BUNDLE_BYTES: u64 = 1 << 20;
/// Small files in one job.
const BUNDLE_FILES: usize = 32;

/// A part of the work.
#[derive(Debug)]
pub(super) enum Job<'a> {
    /// Whole files.
    Bundle(Vec<&'a Entry>),
    /// A part of a larger file. The parts of a file come in order, the first one at offset 0.
    Part {
        /// The file.
        entry: &'a Entry,
        /// Where the part begins in it.
        offset: u64,
        /// Its content.
        part: Part,
    },
}

/// Content of a file.
#[derive(Debug)]
pub(super) enum Part {
    /// What an upper node holds itself.
    Data(Bytes),
    /// What is in and below a node.
    Node {
        /// The node.
        cid: Cid,
        /// How long it must be.
        size: u64,
    },
}

impl Part {
    /// A whole file.
    pub(super) fn whole(entry: &Entry) -> Self {
        Self::Node { cid: entry.cid, size: file_size(entry) }
    }

    /// Calls `put` with its content, piece by piece.
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

/// Cuts the files among some entries into jobs, in order.
#[derive(Debug)]
pub(super) struct Jobs<'a, S: ?Sized> {
    store: &'a S,
    /// Entries to come.
    entries: &'a [Entry],
    /// The larger file that is being cut.
    file: Option<&'a Entry>,
    /// Its parts to come, the next one last.
    parts: Vec<(u64, Part)>,
}

impl<'a, S: Blockstore + ?Sized> Jobs<'a, S> {
    pub(super) fn new(store: &'a S, entries: &'a [Entry]) -> Self {
        Self { store, entries, file: None, parts: Vec::new() }
    }

    fn next_job(&mut self) -> Result<Option<Job<'a>>> {
        if let Some(part) = self.next_part()? {
            return Ok(Some(part));
        }
        let (mut bundle, mut bytes) = (Vec::new(), 0);
        while let [entry, rest @ ..] = self.entries
            && bundle.len() < BUNDLE_FILES
            && bytes < BUNDLE_BYTES
        {
            if let EntryKind::File { size, .. } = entry.kind {
                if size > SPLIT_BYTES {
                    if bundle.is_empty() {
                        self.entries = rest;
                        self.file = Some(entry);
                        self.parts.push((0, Part::whole(entry)));
                        return self.next_part();
                    }
                    break;
                }
                bundle.push(entry);
                bytes += size;
            }
            self.entries = rest;
        }
        Ok((!bundle.is_empty()).then_some(Job::Bundle(bundle)))
    }

    fn next_part(&mut self) -> Result<Option<Job<'a>>> {
        let Some(entry) = self.file else { return Ok(None) };
        while let Some((offset, part)) = self.parts.pop() {
            match part {
                Part::Node { cid, size } if size > SPLIT_BYTES && cid.codec() != RAW => self.cut(offset, &cid, size)?,
                part => return Ok(Some(Job::Part { entry, offset, part })),
            }
        }
        self.file = None;
        Ok(None)
    }

    /// Replaces a node by what is in it and its children.
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

impl<'a, S: Blockstore + ?Sized> Iterator for Jobs<'a, S> {
    type Item = Result<Job<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_job().transpose()
    }
}
