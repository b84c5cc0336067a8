//! Reading and hashing the files of a listing with several threads.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};

use super::{
    ImportOptions, ImportProgress,
    inspect::{Across, Nowhere, Scanned},
};
use crate::{
    Block, Buffers, Error, Refusal, Result,
    unixfs::{
        EntryKind, Listed, Profile,
        file::{Child, FileBuilder, Sink, leaf_block},
        pipeline::{run_in_order, threads},
        stamp::FileSystem,
    },
};

/// Bytes of small files that one thread reads at a time.
const BUNDLE_BYTES: u64 = 1 << 20;
/// Small files that one thread reads at a time.
const BUNDLE_FILES: usize = 64;

/// Bytes of buffers that are kept for later chunks: as much as is usually in flight.
const SPARE_BYTES: usize = 16 << 20;

/// Files to be hashed.
pub(super) struct Files<'a> {
    pub(super) system: &'a dyn FileSystem,
    pub(super) directory: &'a Path,
    pub(super) entries: &'a [Listed],
    /// For each entry, whether it need not be read. Entries beyond the end must be read.
    pub(super) unchanged: &'a [bool],
    /// Whether the tree is already refused, so that its blocks are dropped.
    pub(super) refused: bool,
}

/// A file that was read and hashed.
pub(super) struct Hashed {
    /// Index of the entry.
    pub(super) index: usize,
    pub(super) child: Child,
    /// The finding, if the file is to be excluded.
    pub(super) found: Option<&'static str>,
}

/// A part of the work on a listing's files.
#[derive(Debug)]
enum Job {
    /// Whole files of at most one chunk each, by index.
    Bundle(Vec<usize>),
    /// A chunk of a larger file.
    Chunk { index: usize, file: Arc<File>, offset: u64, length: usize, last: bool },
}

/// A hashed chunk.
#[derive(Debug)]
struct Leaf {
    index: usize,
    block: Block,
    content: u64,
    last: bool,
    scanned: Scanned,
}

/// Reads and hashes files, and calls `done` with each of them, in order. From the first refused file on, blocks are
/// dropped.
pub(super) fn hash_files<K: Sink>(
    files: &Files<'_>,
    options: &ImportOptions<'_>,
    mut progress: ImportProgress,
    sink: &mut K,
    mut done: impl FnMut(Hashed, &mut K) -> Result<()>,
) -> Result<()> {
    let profile = options.profile;
    let mut builder = FileBuilder::new(profile);
    let jobs = Jobs { files, next: 0, chunk_bytes: profile.chunk_bytes, open: None };
    let reading = Reading { files, options, buffers: chunk_buffers(&profile) };
    let work = |job| reading.run(job);
    let (mut refused, mut across) = (files.refused, Across::default());
    run_in_order(threads(options.threads), jobs, work, |leaves: Vec<Leaf>| {
        for leaf in leaves {
            progress.bytes += leaf.content;
            let path = &files.entries[leaf.index].path;
            let found = across.add(options.inspect, path, leaf.scanned, leaf.last);
            refused |= found.is_some() && options.refuses(path);
            match refused {
                true => builder.push(leaf.block, leaf.content, &mut Nowhere)?,
                false => builder.push(leaf.block, leaf.content, sink)?,
            }
            if leaf.last {
                progress.files += 1;
                let file = std::mem::replace(&mut builder, FileBuilder::new(profile));
                let child = if refused { file.finish(&mut Nowhere)? } else { file.finish(sink)? };
                done(Hashed { index: leaf.index, child, found }, sink)?;
            }
        }
        options.go_on(progress)
    })
}

/// Splits the work into jobs.
struct Jobs<'a> {
    files: &'a Files<'a>,
    next: usize,
    chunk_bytes: usize,
    /// The larger file being split: index, handle, offset of its next chunk, length.
    open: Option<(usize, Arc<File>, u64, u64)>,
}

impl Files<'_> {
    fn is_unchanged(&self, index: usize) -> bool {
        self.unchanged.get(index).copied().unwrap_or_default()
    }

    /// The listed length of a file, 0 for other entries.
    fn size(&self, index: usize) -> usize {
        match self.entries[index].kind {
            EntryKind::File { size, .. } => size as usize,
            _ => 0,
        }
    }

    fn open(&self, index: usize) -> Result<File> {
        self.system.open(&self.directory.join(&self.entries[index].path))
    }

    fn check_length(&self, index: usize, read: usize, listed: usize) -> Result<()> {
        if read == listed { Ok(()) } else { Err(Error::refused(&self.entries[index].path, Refusal::Changed)) }
    }

    fn read_error(&self, index: usize) -> impl FnOnce(io::Error) -> Error + use<> {
        Error::io("read", self.directory.join(&self.entries[index].path))
    }
}

impl Jobs<'_> {
    fn next_job(&mut self) -> Result<Option<Job>> {
        if let Some(chunk) = self.next_chunk() {
            return Ok(Some(chunk));
        }
        // One buffer, with the capacity of a chunk, receives all files of a bundle.
        let limit = BUNDLE_BYTES.min(self.chunk_bytes as u64);
        let (mut bundle, mut bytes) = (Vec::new(), 0);
        while bundle.len() < BUNDLE_FILES && self.next < self.files.entries.len() {
            let index = self.next;
            if let EntryKind::File { size, .. } = self.files.entries[index].kind
                && !self.files.is_unchanged(index)
            {
                if bytes + size > limit && !bundle.is_empty() {
                    break;
                }
                if size > self.chunk_bytes as u64 {
                    self.next += 1;
                    let file = self.files.open(index)?;
                    self.open = Some((index, Arc::new(file), 0, size));
                    return Ok(self.next_chunk());
                }
                bundle.push(index);
                bytes += size;
            }
            self.next += 1;
        }
        Ok((!bundle.is_empty()).then_some(Job::Bundle(bundle)))
    }

    fn next_chunk(&mut self) -> Option<Job> {
        let (index, file, offset, size) = self.open.take()?;
        let length = (size - offset).min(self.chunk_bytes as u64);
        let last = offset + length == size;
        if !last {
            self.open = Some((index, Arc::clone(&file), offset + length, size));
        }
        Some(Job::Chunk { index, file, offset, length: length as usize, last })
    }
}

impl Iterator for Jobs<'_> {
    type Item = Result<Job>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_job().transpose()
    }
}

/// Buffers for a profile's chunks, or for a bundle's files, and for one extra byte per file.
pub(crate) fn chunk_buffers(profile: &Profile) -> Buffers {
    Buffers::new(profile.chunk_bytes + BUNDLE_FILES, (SPARE_BYTES / profile.chunk_bytes).max(1))
}

/// The resources of a thread that reads and hashes.
struct Reading<'a> {
    files: &'a Files<'a>,
    options: &'a ImportOptions<'a>,
    buffers: Buffers,
}

impl Reading<'_> {
    fn run(&self, job: Job) -> Result<Vec<Leaf>> {
        match job {
            Job::Chunk { index, file, offset, length, last } => {
                Ok(vec![self.leaf(index, &file, offset, length, last)?])
            }
            Job::Bundle(files) => self.bundle(&files),
        }
    }

    /// Reads whole files into one buffer, because thousands of small files would cost as many allocations.
    fn bundle(&self, files: &[usize]) -> Result<Vec<Leaf>> {
        let room = files.iter().map(|index| self.files.size(*index) + 1).sum();
        let mut buffer = self.buffers.take(room);
        for &index in files {
            let (begin, length) = (buffer.len(), self.files.size(index));
            // One extra byte shows whether the file is longer than listed.
            buffer.resize(begin + length + 1, 0);
            let file = self.files.open(index)?;
            let read = read_whole(&file, &mut buffer[begin..]).map_err(self.files.read_error(index))?;
            self.files.check_length(index, read, length)?;
            buffer.truncate(begin + length);
        }
        let content = self.buffers.freeze(buffer);
        let mut begin = 0;
        let hash = |&index: &usize| {
            let end = begin + self.files.size(index);
            let whole = content.slice(begin..end);
            let scanned = self.scan(index, &whole);
            let block = leaf_block(&self.options.profile, whole)?;
            let leaf = Leaf { index, block, content: (end - begin) as u64, last: true, scanned };
            begin = end;
            Ok(leaf)
        };
        files.iter().map(hash).collect()
    }

    fn leaf(&self, index: usize, file: &File, offset: u64, length: usize, last: bool) -> Result<Leaf> {
        let mut chunk = self.buffers.take(length + 1);
        read_chunk(file, offset, length, &mut chunk).map_err(self.files.read_error(index))?;
        if !last {
            chunk.truncate(length);
        }
        self.files.check_length(index, chunk.len(), length)?;
        let chunk = self.buffers.freeze(chunk);
        let scanned = self.scan(index, &chunk);
        let block = leaf_block(&self.options.profile, chunk)?;
        Ok(Leaf { index, block, content: length as u64, last, scanned })
    }

    fn scan(&self, index: usize, chunk: &Bytes) -> Scanned {
        Scanned::chunk(self.options.inspect, &self.files.entries[index].path, chunk, self.files.size(index) as u64)
    }
}

/// Reads a file from its beginning to its end, or until `buffer` has room for one byte only; returns the number of
/// bytes read.
fn read_whole(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    loop {
        match file.read_at(&mut buffer[read..], read as u64) {
            Ok(0) => return Ok(read),
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A read that stops one byte short of the buffer has reached the end.
        if read + 1 >= buffer.len() {
            return Ok(read);
        }
    }
}

/// Reads at `offset` until `chunk` has `length` bytes or more, as far as there is room, or until the file ends.
fn read_chunk(file: &File, offset: u64, length: usize, chunk: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let at = offset + chunk.len() as u64;
        match rustix::io::pread(file, spare_capacity(chunk), at) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if chunk.len() >= length {
            return Ok(());
        }
    }
}
