//! From a directory or a file to a DAG in a store.
//!
//! The tree is listed first; then chunks are read and hashed by several threads while the calling one puts the blocks
//! into the store, in order, in batches. Every byte is hashed once and copied by nobody but the kernel. Memory is
//! bounded by the listing and some megabytes.

use std::{
    fs::{File, OpenOptions},
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use rustix::{buffer::spare_capacity, fs::OFlags, io::Errno};

use super::{
    ArchiveLimits, Profile,
    buffers::Buffers,
    directory::symlink,
    file::{Child, FileBuilder, Sink, leaf_block},
    listing::{EntryKind, Listed, Listing, list_directory},
    pipeline::{run_in_order, threads},
    sink::StoreSink,
    tree_builder::TreeBuilder,
};
use crate::{Block, Blockstore, Cid, Error, Lease, PutReport, Refusal, Result};

/// Bytes of small files that one thread reads at a time.
const BUNDLE_BYTES: u64 = 1 << 20;
/// Small files that one thread reads at a time.
const BUNDLE_FILES: usize = 64;

/// Bytes of buffers that are kept for the next chunks: as much as is usually under way.
const SPARE_BYTES: usize = 16 << 20;

/// How to import.
#[derive(Clone, Copy, Default)]
pub struct ImportOptions<'a> {
    /// Shape of the DAG.
    pub profile: Profile,
    /// Threads that read and hash; one per processor, up to 8, if not given.
    pub threads: Option<NonZeroUsize>,
    /// Bounds on archives.
    pub archive: ArchiveLimits,
    /// Is told of progress, from the calling thread.
    pub progress: Option<&'a (dyn Fn(ImportProgress) + Sync)>,
}

impl std::fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportOptions").field("profile", &self.profile).field("threads", &self.threads).finish()
    }
}

impl ImportOptions<'_> {
    pub(crate) fn report(&self, progress: ImportProgress) {
        if let Some(report) = self.progress {
            report(progress);
        }
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Files imported.
    pub files: u64,
    /// Bytes of files imported.
    pub bytes: u64,
    /// Files in all, where that is known.
    pub total_files: Option<u64>,
    /// Bytes of files in all, where that is known.
    pub total_bytes: Option<u64>,
}

/// What an import made.
#[derive(Debug)]
pub struct Imported {
    /// The tree's root.
    pub root: Cid,
    /// Sum of the files' lengths, in bytes.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Paths of executable files, sorted.
    pub executables: Vec<String>,
    /// Every entry of the tree.
    pub entries: Vec<Listed>,
    /// What was not in the store before.
    pub put: PutReport,
    /// Blocks built; those that occur more than once in the tree are counted each time.
    pub blocks: u64,
    /// Keeps the blocks out of a garbage collection until the root is pinned.
    pub lease: Lease,
}

impl Imported {
    pub(crate) fn new(root: Child, listing: Listing, (put, blocks): (PutReport, u64), lease: Lease) -> Self {
        Self {
            root: root.cid,
            size_bytes: listing.size_bytes,
            files: listing.files,
            executables: listing.executables(),
            entries: listing.entries,
            put,
            blocks,
            lease,
        }
    }
}

/// Imports a directory; see [`list_directory`] for what of it. The caller pins the root and syncs the store.
///
/// # Errors
/// [`Error::Refused`] for an unsafe or changing entry; an I/O error with the file that cannot be read; a store error.
/// Blocks put before the error stay, unpinned.
pub fn import_directory<S: Blockstore + ?Sized>(
    store: &S,
    directory: &Path,
    options: &ImportOptions<'_>,
) -> Result<Imported> {
    let lease = store.lease();
    let listing = list_directory(directory)?;
    let mut sink = StoreSink::new(store);
    let root = build(directory, &listing, options, &mut sink)?;
    Ok(Imported::new(root, listing, sink.finish()?, lease))
}

/// Imports one file: the root is the file itself, without a name.
///
/// # Errors
/// As [`import_directory`].
pub fn import_file<S: Blockstore + ?Sized>(store: &S, file: &Path, options: &ImportOptions<'_>) -> Result<Imported> {
    let lease = store.lease();
    let metadata = std::fs::metadata(file).map_err(Error::io("read", file))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !metadata.is_file() {
        return Err(Error::refused(name, Refusal::Special { what: "a directory or device" }));
    }
    let executable = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o100 != 0;
    let mut listing = Listing::default();
    listing.push(Listed { path: name, kind: EntryKind::File { size: metadata.len(), executable } })?;
    let mut sink = StoreSink::new(store);
    let mut root = None;
    let directory = file.parent().unwrap_or(Path::new(""));
    hash_files(directory, &listing, options, &mut sink, |_, child, _| {
        root = Some(child);
        Ok(())
    })?;
    let root = root.expect("the listing has one file");
    Ok(Imported::new(root, listing, sink.finish()?, lease))
}

/// Builds the DAG of a listed directory.
pub(crate) fn build(
    directory: &Path,
    listing: &Listing,
    options: &ImportOptions<'_>,
    sink: &mut impl Sink,
) -> Result<Child> {
    let mut tree = TreeBuilder::new(options.profile);
    let mut next = 0;
    hash_files(directory, listing, options, sink, |index, child, sink| {
        add_others(&mut tree, &listing.entries[next..index], &options.profile, sink)?;
        next = index + 1;
        tree.add(&listing.entries[index].path, child, sink)
    })?;
    add_others(&mut tree, &listing.entries[next..], &options.profile, sink)?;
    tree.finish(sink)
}

/// Adds entries that are not files.
fn add_others(tree: &mut TreeBuilder, entries: &[Listed], profile: &Profile, sink: &mut impl Sink) -> Result<()> {
    for entry in entries {
        if let EntryKind::Symlink { target } = &entry.kind {
            let child = symlink(profile, target, sink)?;
            tree.add(&entry.path, child, sink)?;
        } else {
            tree.enter(&entry.path, sink)?;
        }
    }
    Ok(())
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

/// Reads and hashes all files of a listing, and calls `done` with each one's index and DAG, in order.
fn hash_files<K: Sink>(
    directory: &Path,
    listing: &Listing,
    options: &ImportOptions<'_>,
    sink: &mut K,
    mut done: impl FnMut(usize, Child, &mut K) -> Result<()>,
) -> Result<()> {
    let profile = options.profile;
    let mut progress = ImportProgress {
        total_files: Some(listing.files),
        total_bytes: Some(listing.size_bytes),
        ..ImportProgress::default()
    };
    let mut builder = FileBuilder::new(profile);
    let jobs = Jobs { directory, entries: &listing.entries, next: 0, chunk_bytes: profile.chunk_bytes, open: None };
    let reading = Reading { directory, entries: &listing.entries, profile, buffers: chunk_buffers(&profile) };
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

/// Cuts the work on a listing's files into jobs.
#[derive(Debug)]
struct Jobs<'a> {
    directory: &'a Path,
    entries: &'a [Listed],
    next: usize,
    chunk_bytes: usize,
    /// The larger file that is being cut: index, handle, offset of its next chunk, length.
    open: Option<(usize, Arc<File>, u64, u64)>,
}

impl Jobs<'_> {
    fn next_job(&mut self) -> Result<Option<Job>> {
        if let Some(chunk) = self.next_chunk() {
            return Ok(Some(chunk));
        }
        let (mut bundle, mut bytes) = (Vec::new(), 0);
        while bundle.len() < BUNDLE_FILES && bytes < BUNDLE_BYTES && self.next < self.entries.len() {
            let index = self.next;
            if let EntryKind::File { size, .. } = self.entries[index].kind {
                if size > self.chunk_bytes as u64 {
                    if bundle.is_empty() {
                        self.next += 1;
                        let file = open(&self.directory.join(&self.entries[index].path))?;
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
#[derive(Debug)]
struct Reading<'a> {
    directory: &'a Path,
    entries: &'a [Listed],
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
        let EntryKind::File { size, .. } = self.entries[index].kind else { unreachable!("a bundle has files only") };
        let file = open(&self.directory.join(&self.entries[index].path))?;
        self.leaf(index, &file, 0, size as usize, true)
    }

    fn leaf(&self, index: usize, file: &File, offset: u64, length: usize, last: bool) -> Result<Leaf> {
        let entry = &self.entries[index].path;
        // One byte of room more shows whether the file goes on.
        let mut chunk = self.buffers.take(length + 1);
        read_chunk(file, offset, &mut chunk).map_err(Error::io("read", self.directory.join(entry)))?;
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

/// Opens a file that was one when it was listed: no symlink is followed, no pipe waited for.
fn open(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).map_err(Error::io("open", path))
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
