//! Importing a directory or a file into a store as a DAG.
//!
//! The tree is listed first. Then several threads read and hash chunks, while the calling thread stores the blocks in
//! order, in batches. Every byte is hashed once, and only the kernel copies it. Memory is bounded by the listing and
//! some megabytes. Files that are unchanged since an earlier import are not read (`known`).

mod hash;
mod inspect;

use std::{num::NonZeroUsize, path::Path};

pub(crate) use hash::chunk_buffers;
use hash::{Files, Hashed, hash_files};
pub(crate) use inspect::{Across, Findings, Nowhere, Scanned};
pub use inspect::{INSPECTED_BYTES, Inspect, Inspected, inspect_parts};

use super::{
    ArchiveLimits, ArchiveNote, Profile,
    directory::symlink,
    file::{Child, Sink},
    known::KnownFiles,
    listing::{EntryKind, Listed, Listing, Selection, list},
    sink::StoreSink,
    stamp::{FileSystem, RealFileSystem, Stamp},
    tree_builder::TreeBuilder,
};
use crate::{Blockstore, Cid, Error, Finding, Lease, PutReport, Refusal, Result};

/// Options of an import.
#[derive(Clone, Copy, Default)]
pub struct ImportOptions<'a> {
    /// Shape of the DAG.
    pub profile: Profile,
    /// Threads that read and hash; by default one per processor, from 2 to 8.
    pub threads: Option<NonZeroUsize>,
    /// Limits on archives.
    pub archive: ArchiveLimits,
    /// A file that caches the results for the files of a directory, so that unchanged files are not read again. It is
    /// valid only for this directory and this `inspect`. Other imports ignore it.
    pub known: Option<&'a Path>,
    /// Which entries of a tree are imported. Ignore files are not applied to an archive.
    pub selection: Selection<'a>,
    /// Finds files to exclude. Without it files are not inspected.
    pub inspect: Option<&'a Inspect<'a>>,
    /// Returns whether to import a file, given by its path, in which `inspect` found something. Without it the tree is
    /// refused.
    pub take_found: Option<&'a (dyn Fn(&str) -> bool + Sync)>,
    /// Receives progress, on the calling thread.
    pub progress: Option<&'a (dyn Fn(ImportProgress) + Sync)>,
    /// Called between files and parts of files. If it returns true, the import ends with [`Error::Cancelled`].
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl std::fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportOptions").field("profile", &self.profile).field("threads", &self.threads).finish()
    }
}

impl ImportOptions<'_> {
    /// Reports progress; returns an error if the import is cancelled.
    pub(crate) fn go_on(&self, progress: ImportProgress) -> Result<()> {
        self.report(progress);
        match self.cancelled {
            Some(cancelled) if cancelled() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// Returns whether a file is refused because of a finding.
    pub(crate) fn refuses(&self, path: &str) -> bool {
        self.take_found.is_none_or(|takes| !takes(path))
    }

    pub(crate) fn report(&self, progress: ImportProgress) {
        if let Some(report) = self.progress {
            report(progress);
        }
    }
}

/// Progress of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Files imported.
    pub files: u64,
    /// Bytes of files imported.
    pub bytes: u64,
    /// Total number of files, if known.
    pub total_files: Option<u64>,
    /// Total bytes of files, if known.
    pub total_bytes: Option<u64>,
}

impl ImportProgress {
    fn of(listing: &Listing) -> Self {
        Self { total_files: Some(listing.files), total_bytes: Some(listing.size_bytes), ..Self::default() }
    }
}

/// Result of an import.
#[derive(Debug)]
pub struct Imported {
    /// The tree's root.
    pub root: Cid,
    /// Sum of the files' lengths, in bytes.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Number of files that were recognised as unchanged and not read.
    pub files_known: u64,
    /// Paths of executable files, sorted.
    pub executables: Vec<String>,
    /// Every entry of the tree.
    pub entries: Vec<Listed>,
    /// Directories that the [`Selection`] left out.
    pub left_out: Vec<Finding>,
    /// Ignore files that were not read because they are symlinks: see [`Listing`].
    pub linked_ignore_files: Vec<String>,
    /// The kinds of ignore files that exclude the whole tree: see [`Listing`].
    pub ignored_by: Vec<&'static str>,
    /// Findings that were imported nevertheless.
    pub found: Vec<Finding>,
    /// Counts of blocks that the store did not have before.
    pub put: PutReport,
    /// Number of blocks built; a block that occurs several times in the tree is counted each time.
    pub blocks: u64,
    /// Notes about the archive, if it was one.
    pub notes: Vec<ArchiveNote>,
    /// Protects the blocks from garbage collection until the root is pinned.
    pub lease: Lease,
}

impl Imported {
    pub(crate) fn new(root: Child, listing: Listing, (put, blocks): (PutReport, u64), lease: Lease) -> Self {
        Self {
            root: root.cid,
            size_bytes: listing.size_bytes,
            files: listing.files,
            files_known: 0,
            executables: listing.executables(),
            entries: listing.entries,
            left_out: listing.left_out,
            linked_ignore_files: listing.linked_ignore_files,
            ignored_by: listing.ignored_by,
            found: Vec::new(),
            put,
            blocks,
            notes: Vec::new(),
            lease,
        }
    }
}

/// Imports a directory; [`list_directory`](super::list_directory) describes which entries. The caller pins the root and
/// syncs the store.
///
/// # Errors
/// [`Error::Refused`] for an unsafe or changing entry; [`Error::Withheld`] with every excluded file; an I/O error with
/// the file that cannot be read; a store error. Blocks stored before the error remain, unpinned, including the first
/// blocks of a long file in which something was found later. After the first finding no block is stored.
pub fn import_directory<S: Blockstore + ?Sized>(
    store: &S,
    directory: &Path,
    options: &ImportOptions<'_>,
) -> Result<Imported> {
    import_directory_on(&RealFileSystem, store, directory, options)
}

/// As [`import_directory`], with `system` in place of the operating system.
pub(crate) fn import_directory_on<S: Blockstore + ?Sized>(
    system: &dyn FileSystem,
    store: &S,
    directory: &Path,
    options: &ImportOptions<'_>,
) -> Result<Imported> {
    let lease = store.lease();
    let begun = system.now();
    let (listing, stamps) = list(system, directory, &options.selection)?;
    let known = options.known.zip(system.believed(directory));
    let known = known.map(|(place, device)| KnownFiles::load(place, &options.profile, device, begun));
    let unchanged = known.as_ref().map_or(Ok(Vec::new()), |known| known.recognise(store, &listing, &stamps))?;
    let mut sink = StoreSink::new(store);
    let findings = Findings::by_path(&listing, options);
    let mut tree = Importing { system, directory, listing: &listing, stamps: &stamps, known, unchanged, findings };
    let root = tree.build(options, &mut sink)?;
    let (files_known, blocks_known) = tree.recognised(&options.profile);
    let known = tree.known;
    let found = tree.findings.finish(&listing, options)?;
    let (put, blocks) = sink.finish()?;
    if let Some(known) = known {
        known.save();
    }
    let imported = Imported::new(root, listing, (put, blocks + blocks_known), lease);
    Ok(Imported { files_known, found, ..imported })
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
    let mut findings = Findings::by_path(&listing, options);
    let (entries, refused) = (listing.entries.as_slice(), findings.refuse(&listing, options));
    let files = Files { system: &RealFileSystem, directory, entries, unchanged: &[], refused };
    hash_files(&files, options, ImportProgress::of(&listing), &mut sink, |file, _| {
        findings.add(file.index, file.found);
        root = Some(file.child);
        Ok(())
    })?;
    let found = findings.finish(&listing, options)?;
    let root = root.expect("the listing has one file");
    let imported = Imported::new(root, listing, sink.finish()?, lease);
    Ok(Imported { found, ..imported })
}

/// A listed directory being imported.
struct Importing<'a> {
    system: &'a dyn FileSystem,
    directory: &'a Path,
    listing: &'a Listing,
    /// The stamp of each entry of the listing.
    stamps: &'a [Stamp],
    known: Option<KnownFiles>,
    /// For each entry, whether it is a file that need not be read. Empty if nothing is known.
    unchanged: Vec<bool>,
    findings: Findings,
}

impl Importing<'_> {
    /// Builds the DAG: unknown files are read, and cached unless something was found in them.
    fn build(&mut self, options: &ImportOptions<'_>, sink: &mut impl Sink) -> Result<Child> {
        let (listing, stamps) = (self.listing, self.stamps);
        let mut progress = ImportProgress::of(listing);
        for size in self.unchanged_sizes() {
            progress.files += 1;
            progress.bytes += size;
        }
        let unchanged = std::mem::take(&mut self.unchanged);
        let (system, directory) = (self.system, self.directory);
        let (entries, refused) = (listing.entries.as_slice(), self.findings.refuse(listing, options));
        let files = Files { system, directory, entries, unchanged: &unchanged, refused };
        let mut tree = TreeBuilder::new(options.profile);
        let mut next = 0;
        hash_files(&files, options, progress, sink, |file, sink| {
            let Hashed { index: number, child, found } = file;
            self.add_others(&mut tree, next..number, &options.profile, sink)?;
            next = number + 1;
            let path = &listing.entries[number].path;
            self.findings.add(number, found);
            if let Some(known) = self.known.as_mut().filter(|_| found.is_none()) {
                known.learn(path, &stamps[number], &child);
            }
            tree.add(path, child, sink)
        })?;
        self.add_others(&mut tree, next..listing.entries.len(), &options.profile, sink)?;
        options.report(ImportProgress { files: listing.files, bytes: listing.size_bytes, ..progress });
        self.unchanged = unchanged;
        tree.finish(sink)
    }

    /// Adds entries that are not read: symlinks, directories, known files.
    fn add_others(
        &mut self,
        tree: &mut TreeBuilder,
        numbers: std::ops::Range<usize>,
        profile: &Profile,
        sink: &mut impl Sink,
    ) -> Result<()> {
        for number in numbers {
            let entry = &self.listing.entries[number];
            match &entry.kind {
                EntryKind::Symlink { target } => {
                    let child = symlink(profile, target, sink)?;
                    tree.add(&entry.path, child, sink)?;
                }
                EntryKind::Directory => tree.enter(&entry.path, sink)?,
                EntryKind::File { .. } => {
                    let stamp = &self.stamps[number];
                    let known = self.known.as_mut().expect("without it every file is read");
                    let child = known.find(&entry.path, stamp).expect("only files that are known are not read");
                    known.learn(&entry.path, stamp, &child);
                    tree.add(&entry.path, child, sink)?;
                }
            }
        }
        Ok(())
    }

    /// Lengths of the files that need not be read.
    fn unchanged_sizes(&self) -> impl Iterator<Item = u64> {
        let entries = self.listing.entries.iter().zip(&self.unchanged).filter(|(_, unchanged)| **unchanged);
        entries.filter_map(|(entry, _)| match entry.kind {
            EntryKind::File { size, .. } => Some(size),
            _ => None,
        })
    }

    /// Number of files that were not read, and the number of their blocks.
    fn recognised(&self, profile: &Profile) -> (u64, u64) {
        self.unchanged_sizes().fold((0, 0), |(files, blocks), size| (files + 1, blocks + profile.file_blocks(size)))
    }
}
