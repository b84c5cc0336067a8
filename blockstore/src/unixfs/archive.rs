//! From a tarball to a DAG in a store, streamed: nothing is unpacked to disk.
//!
//! The calling thread unpacks and parses and puts blocks; others hash. A single top folder is stripped, as cargo and npm
//! do, unless the archive has an entry for its root (`./`), which says that there is none. Version control directories
//! are left out; ignore files are not applied, since an archive is what its maker chose.

mod decode;
mod entries;
mod tar_reader;

use std::io::Read;

use bytes::Bytes;
use decode::Input;
use entries::{Entries, Item};
use tar_reader::{TarKind, TarReader};

use super::{
    ImportOptions, ImportProgress, Imported, Listed, Listing, Profile,
    directory::symlink,
    file::{Child, FileBuilder, leaf_block},
    import::chunk_buffers,
    listing::EntryKind,
    name::check_link,
    pipeline::{run_in_order, threads},
    sink::StoreSink,
    tree_builder::TreeBuilder,
};
use crate::{Block, Blockstore, Buffers, Error, Result, unixfs::file::Sink};

/// Most bytes that an archive may unpack to: [`ArchiveLimits::max_bytes`] by default.
pub const MAX_ARCHIVE_BYTES: u64 = 64 << 30;
/// Most bytes that an archive may unpack to for each byte of it: [`ArchiveLimits::max_ratio`] by default. Sources reach
/// 20, gzip of zeros 1,000.
pub const MAX_ARCHIVE_RATIO: u64 = 200;
/// Bytes that an archive may unpack to whatever its ratio: [`ArchiveLimits::ratio_free_bytes`] by default.
pub const ARCHIVE_RATIO_FREE_BYTES: u64 = 64 << 20;

/// Bounds on an archive that somebody else made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most bytes that it may unpack to.
    pub max_bytes: u64,
    /// Most bytes that it may unpack to for each byte of it, counted above `ratio_free_bytes`.
    pub max_ratio: u64,
    /// Bytes that it may unpack to whatever the ratio.
    pub ratio_free_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { max_bytes: MAX_ARCHIVE_BYTES, max_ratio: MAX_ARCHIVE_RATIO, ratio_free_bytes: ARCHIVE_RATIO_FREE_BYTES }
    }
}

/// Imports a tarball: plain, gzip (`.tar.gz`, `.tgz`, `.crate`) or zstd, told apart by their first bytes. The caller pins
/// the root and syncs the store.
///
/// # Errors
/// [`Error::Archive`] for one that is damaged, truncated, a bomb or of another format; [`Error::Refused`] for an unsafe
/// entry: an absolute path, `..`, something twice, a link that leaves the tree, a device; a store error. Blocks put before
/// the error stay, unpinned.
pub fn import_tarball<S: Blockstore + ?Sized>(
    store: &S,
    reader: &mut dyn Read,
    options: &ImportOptions<'_>,
) -> Result<Imported> {
    let lease = store.lease();
    let mut sink = StoreSink::new(store);
    let mut archive = Archive {
        tar: TarReader::new(Input::open(reader, options.archive)?),
        entries: Entries::default(),
        chunk_bytes: options.profile.chunk_bytes,
        buffers: chunk_buffers(&options.profile),
        open: None,
    };
    let files = hash_chunks(&mut archive, options, &mut sink)?;
    let (root, listing) = build(archive.entries, &files, &options.profile, &mut sink)?;
    Ok(Imported::new(root, listing, sink.finish()?, lease))
}

/// A chunk of a file in the archive.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    last: bool,
}

/// An archive that is being read, chunk by chunk.
struct Archive<'a> {
    tar: TarReader<Input<'a>>,
    entries: Entries,
    chunk_bytes: usize,
    buffers: Buffers,
    /// Bytes left of the file that is being read.
    open: Option<u64>,
}

impl Archive<'_> {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        while self.open.is_none() {
            let Some(entry) = self.tar.next_entry()? else { return Ok(None) };
            let size = entry.size;
            let is_file = entry.kind == TarKind::File;
            if self.entries.add(entry)? && is_file {
                self.open = Some(size);
            }
        }
        let left = self.open.take().unwrap_or_default();
        let length = left.min(self.chunk_bytes as u64);
        let mut bytes = self.buffers.take(length as usize);
        bytes.resize(length as usize, 0);
        self.tar.read_data(&mut bytes)?;
        if left > length {
            self.open = Some(left - length);
        }
        Ok(Some(Chunk { bytes: self.buffers.freeze(bytes), last: left == length }))
    }
}

impl Iterator for Archive<'_> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

/// Reads and hashes the whole archive, and returns its files in order.
fn hash_chunks(archive: &mut Archive<'_>, options: &ImportOptions<'_>, sink: &mut impl Sink) -> Result<Vec<Child>> {
    let profile = options.profile;
    let mut files = Vec::new();
    let mut progress = ImportProgress::default();
    let mut builder = FileBuilder::new(profile);
    let hash = |chunk: Chunk| -> Result<(Block, u64, bool)> {
        let length = chunk.bytes.len() as u64;
        Ok((leaf_block(&profile, chunk.bytes)?, length, chunk.last))
    };
    run_in_order(threads(options.threads), archive, hash, |(block, length, last)| {
        builder.push(block, length, sink)?;
        progress.bytes += length;
        if last {
            progress.files += 1;
            files.push(std::mem::replace(&mut builder, FileBuilder::new(profile)).finish(sink)?);
        }
        options.go_on(progress)
    })?;
    Ok(files)
}

fn build(entries: Entries, files: &[Child], profile: &Profile, sink: &mut impl Sink) -> Result<(Child, Listing)> {
    let mut tree = TreeBuilder::new(*profile);
    let items = entries.into_sorted()?;
    let listing = list(&items)?;
    for (path, item) in items {
        match item {
            Item::Directory => tree.enter(&path, sink)?,
            Item::File { number, .. } => tree.add(&path, files[number], sink)?,
            Item::Symlink { target } => {
                let child = symlink(profile, &target, sink)?;
                tree.add(&path, child, sink)?;
            }
        }
    }
    Ok((tree.finish(sink)?, listing))
}

/// Lists what an import of a tarball takes in, without a store; everything is read, and checked as an import would.
///
/// # Errors
/// As [`import_tarball`], but for those of a store.
pub fn list_tarball(reader: &mut dyn Read, limits: ArchiveLimits) -> Result<Listing> {
    let mut tar = TarReader::new(Input::open(reader, limits)?);
    let mut entries = Entries::default();
    while let Some(entry) = tar.next_entry()? {
        entries.add(entry)?;
    }
    list(&entries.into_sorted()?)
}

fn list(items: &[(String, Item)]) -> Result<Listing> {
    let mut listing = Listing::default();
    for (path, item) in items {
        let kind = match item {
            Item::Directory => EntryKind::Directory,
            Item::File { size, executable, .. } => EntryKind::File { size: *size, executable: *executable },
            Item::Symlink { target } => {
                check_link(path, target.as_bytes()).map_err(|refusal| Error::refused(path, refusal))?;
                EntryKind::Symlink { target: target.clone() }
            }
        };
        listing.push(Listed { path: path.clone(), kind })?;
    }
    listing.check_case()?;
    Ok(listing)
}
