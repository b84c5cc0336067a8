//! Reading and hashing the files of a listing, by several threads.

use std::{fs::File, path::Path, sync::Arc};

use rustix::{buffer::spare_capacity, io::Errno};

use super::{ImportOptions, ImportProgress};
use crate::{
    Block, Error, Refusal, Result,
    unixfs::{
        EntryKind, Listed, Profile,
        buffers::Buffers,
        file::{Child, FileBuilder, Sink, leaf_block},
        pipeline::{run_in_order, threads},
        stamp::FileSystem,
    },
};

/// Bytes of small files that one thread reads at a time.
const BUNDLE_BYTES: u64 = 1 << 20;
/// Small files that one thread reads at a time.
const BUNDLE_FILES: usize = 64;

/// Bytes of buffers that are kept for the next chunks: as much as is usually under way.
const SPARE_BYTES: usize = 16 << 20;

/// Files to be hashed.
pub(super) struct Files<'a> {
    pub(super) system: &'a dyn FileSystem,
    pub(super) directory: &'a Path,
    pub(super) entries: &'a [Listed],
    /// By number of the entry: it need not be read. Those beyond the end have to be.
    pub(super) unchanged: &'a [bool],
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
}

/// Reads and hashes files, and calls `done` with each one's index and DAG, in order.
pub(super) fn hash_files<K: Sink>(
    files: &Files<'_>,
    options: &ImportOptions<'_>,
    mut progress: ImportProgress,
    sink: &mut K,
    mut done: impl FnMut(usize, Child, &mut K) -> Result<()>,
) -> Result<()> {
    let profile = options.profile;
    let mut builder = FileBuilder::new(profile);
    let jobs = Jobs { files, next: 0, chunk_bytes: profile.chunk_bytes, open: None };
    let reading = Reading { files, profile, buffers: chunk_buffers(&profile) };
    let work = |job| reading.run(job);
    run_in_order(threads(options.threads), jobs, work, |leaves: Vec<Leaf>| {
        for leaf in leaves {
            progress.bytes += leaf.content;
            builder.push(leaf.block, leaf.content, sink)?;
            if leaf.last {
                progress.files += 1;
                let file = std::mem::replace(&mut builder, FileBuilder::new(profile));
                let child = file.finish(sink)?;
                done(leaf.index, child, sink)?;
            }
        }
        options.report(progress);
        Ok(())
    })
}

/// Cuts the work into jobs.
struct Jobs<'a> {
    files: &'a Files<'a>,
    next: usize,
    chunk_bytes: usize,
    /// The larger file that is being cut: index, handle, offset of its next chunk, length.
    open: Option<(usize, Arc<File>, u64, u64)>,
}

impl Files<'_> {
    fn is_unchanged(&self, index: usize) -> bool {
        self.unchanged.get(index).copied().unwrap_or_default()
    }

    fn open(&self, index: usize) -> Result<File> {
        self.system.open(&self.directory.join(&self.entries[index].path))
    }
}

impl Jobs<'_> {
    fn next_job(&mut self) -> Result<Option<Job>> {
        if let Some(chunk) = self.next_chunk() {
            return Ok(Some(chunk));
        }
        let (mut bundle, mut bytes) = (Vec::new(), 0);
        while bundle.len() < BUNDLE_FILES && bytes < BUNDLE_BYTES && self.next < self.files.entries.len() {
            let index = self.next;
            if let EntryKind::File { size, .. } = self.files.entries[index].kind
                && !self.files.is_unchanged(index)
            {
                if size > self.chunk_bytes as u64 {
                    if bundle.is_empty() {
                        self.next += 1;
                        let file = self.files.open(index)?;
                        self.open = Some((index, Arc::new(file), 0, size));
                        return Ok(self.next_chunk());
                    }
                    break;
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

/// Buffers for a profile's chunks, and for the byte beyond a file's end.
pub(crate) fn chunk_buffers(profile: &Profile) -> Buffers {
    Buffers::new(profile.chunk_bytes + 1, (SPARE_BYTES / profile.chunk_bytes).max(1))
}

/// What the threads need to read and hash.
struct Reading<'a> {
    files: &'a Files<'a>,
    profile: Profile,
    buffers: Buffers,
}

impl Reading<'_> {
    fn run(&self, job: Job) -> Result<Vec<Leaf>> {
        match job {
            Job::Chunk { index, file, offset, length, last } => {
                Ok(vec![self.leaf(index, &file, offset, length, last)?])
            }
            Job::Bundle(files) => files.into_iter().map(|index| self.whole(index)).collect(),
        }
    }

    fn whole(&self, index: usize) -> Result<Leaf> {
        let EntryKind::File { size, .. } = self.files.entries[index].kind else {
            unreachable!("a bundle has files only")
        };
        let file = self.files.open(index)?;
        self.leaf(index, &file, 0, size as usize, true)
    }

    fn leaf(&self, index: usize, file: &File, offset: u64, length: usize, last: bool) -> Result<Leaf> {
        let entry = &self.files.entries[index].path;
        // One byte of room more shows whether the file goes on.
        let mut chunk = self.buffers.take(length + 1);
        read_chunk(file, offset, &mut chunk).map_err(Error::io("read", self.files.directory.join(entry)))?;
        if !last {
            chunk.truncate(length);
        }
        if chunk.len() != length {
            return Err(Error::refused(entry, Refusal::Changed));
        }
        let block = leaf_block(&self.profile, self.buffers.freeze(chunk))?;
        Ok(Leaf { index, block, content: length as u64, last })
    }
}

/// Reads at `offset` until `chunk` has no room left or the file ends.
fn read_chunk(file: &File, offset: u64, chunk: &mut Vec<u8>) -> std::io::Result<()> {
    while chunk.len() < chunk.capacity() {
        let at = offset + chunk.len() as u64;
        match rustix::io::pread(file, spare_capacity(chunk), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
