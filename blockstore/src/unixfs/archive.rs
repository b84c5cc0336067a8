//! Importing a tarball into a store as a DAG, streamed: nothing is unpacked to disk.
//!
//! The calling thread unpacks, parses and stores blocks; other threads hash. A single top folder is stripped, as cargo
//! and npm do, unless the archive has an entry for its root (`./`), which means that there is none. Version control
//! directories are excluded. Ignore files are not applied, because the archive's creator has chosen its contents.

mod block;
mod decode;
mod entries;
mod limits;
mod sparse;
mod tar_reader;

use std::{collections::BTreeMap, io::Read, sync::Arc};

use bytes::Bytes;
use decode::{Input, Source};
use entries::{Entries, Item, Tree};
pub use limits::{ARCHIVE_RATIO_FREE_BYTES, ArchiveLimits, ArchiveNote, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO};
use tar_reader::{TarKind, TarReader};

use super::{
    Finding, ImportOptions, ImportProgress, Imported, Listed, Listing, Profile,
    directory::symlink,
    file::{Child, FileBuilder, leaf_block},
    import::{Across, Findings, Nowhere, Scanned, chunk_buffers},
    name::check_link,
    pipeline::{run_in_order, threads},
    sink::StoreSink,
    tree_builder::TreeBuilder,
};
use crate::{Blockstore, Buffers, Error, Result, unixfs::file::Sink};

/// Imports a tarball: plain, gzip (`.tar.gz`, `.tgz`, `.crate`) or zstd, distinguished by their first bytes. The caller
/// pins the root and syncs the store.
///
/// # Errors
/// [`Error::Archive`] for an archive that is damaged, truncated, a bomb or of another format; [`Error::Refused`] for an
/// unsafe entry: an absolute path, `..`, a duplicate, a link that leaves the tree, a device; [`Error::Withheld`] with
/// every excluded file, and every directory that the [`Selection`](super::Selection) leaves out, because an archive is
/// imported completely or not at all; a store error. Blocks stored before the error remain, unpinned, including the
/// first blocks of a long file in which something was found later. After the first finding no block is stored.
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
    let left_out = archive.entries.left_out(&options.selection);
    if !left_out.is_empty() {
        return Err(Error::Withheld { findings: left_out });
    }
    let tree = archive.entries.into_sorted()?;
    let notes = notes(&archive.tar, &tree);
    let items = tree.items;
    let listing = list(&items)?;
    let mut findings = Findings::by_path(&listing, options);
    for (entry, (_, item)) in items.iter().enumerate() {
        if let Item::File { number, .. } = item {
            findings.add(entry, files.found.get(number).copied());
        }
    }
    let found = findings.finish(&listing, options)?;
    if let Some(Finding { path, what }) = files.refused {
        return Err(Error::archive(format!(
            "its entry `{path}`, which a later one replaces or which is left out, holds {what}: unpack it with `tar xf` and \
             publish the directory"
        )));
    }
    let root = build(items, &files.children, &options.profile, &mut sink)?;
    Ok(Imported { found, notes, ..Imported::new(root, listing, sink.finish()?, lease) })
}

/// A chunk of a file in the archive.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    last: bool,
    file: Arc<OpenFile>,
}

/// A file of an archive in progress.
#[derive(Debug)]
struct OpenFile {
    path: String,
    bytes: u64,
}

/// The files of an archive, by number.
#[derive(Debug, Default)]
struct Files {
    children: Vec<Child>,
    /// The findings, by file.
    found: BTreeMap<usize, &'static str>,
    /// The first that must not go in: from it on no block was put.
    refused: Option<Finding>,
}

/// An archive that is read chunk by chunk.
struct Archive<'a> {
    tar: TarReader<Input<'a>>,
    entries: Entries,
    chunk_bytes: usize,
    buffers: Buffers,
    /// The current file, and its remaining bytes.
    open: Option<(Arc<OpenFile>, u64)>,
}

impl Archive<'_> {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let (file, left) = loop {
            if let Some(open) = self.open.take() {
                break open;
            }
            let Some(entry) = self.tar.next_entry()? else { return Ok(None) };
            let (bytes, is_file) = (entry.size, entry.kind == TarKind::File);
            if let Some(path) = self.entries.add(entry)?.filter(|_| is_file) {
                self.open = Some((Arc::new(OpenFile { path, bytes }), bytes));
            }
        };
        let length = left.min(self.chunk_bytes as u64);
        let mut bytes = self.buffers.take(length as usize);
        bytes.resize(length as usize, 0);
        self.tar.read_data(&mut bytes)?;
        if left > length {
            self.open = Some((Arc::clone(&file), left - length));
        }
        Ok(Some(Chunk { bytes: self.buffers.freeze(bytes), last: left == length, file }))
    }
}

impl Iterator for Archive<'_> {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_chunk().transpose()
    }
}

/// Reads and hashes the whole archive, and returns its files in order.
fn hash_chunks(archive: &mut Archive<'_>, options: &ImportOptions<'_>, sink: &mut impl Sink) -> Result<Files> {
    let profile = options.profile;
    let mut files = Files::default();
    let mut progress = ImportProgress::default();
    let mut builder = FileBuilder::new(profile);
    let mut across = Across::default();
    let hash = |Chunk { bytes, last, file }: Chunk| -> Result<_> {
        let length = bytes.len() as u64;
        let scanned = Scanned::chunk(options.inspect, &file.path, &bytes, file.bytes);
        Ok((leaf_block(&profile, bytes)?, length, last, (file, scanned)))
    };
    run_in_order(threads(options.threads), archive, hash, |(block, length, last, (file, scanned))| {
        let found = across.add(options.inspect, &file.path, scanned, last);
        if let Some(what) = found {
            files.found.insert(files.children.len(), what);
            if files.refused.is_none() && refuses(options, &file.path) {
                files.refused = Some(Finding { path: file.path.clone(), what });
            }
        }
        let refused = files.refused.is_some();
        match refused {
            true => builder.push(block, length, &mut Nowhere)?,
            false => builder.push(block, length, sink)?,
        }
        progress.bytes += length;
        if last {
            progress.files += 1;
            let file = std::mem::replace(&mut builder, FileBuilder::new(profile));
            files.children.push(if refused { file.finish(&mut Nowhere)? } else { file.finish(sink)? });
        }
        options.go_on(progress)
    })?;
    Ok(files)
}

/// Returns whether a file will be refused because of a finding. Whether its path begins with a single top folder, which
/// is not part of the tree, is only known at the end of the archive.
fn refuses(options: &ImportOptions<'_>, path: &str) -> bool {
    options.refuses(path) && path.split_once('/').is_none_or(|(_, below)| options.refuses(below))
}

fn notes<R: Source>(tar: &TarReader<R>, tree: &Tree) -> Vec<ArchiveNote> {
    let no_end = tar.lacks_end().then_some(ArchiveNote::NoEndMarker);
    let left_out = tree.left_out.clone().map(|path| ArchiveNote::LeftOut { path });
    let repeated = tree.replaced.clone().map(|(path, replaced)| ArchiveNote::Repeated { path, replaced });
    let incremental = tar.is_incremental().then_some(ArchiveNote::Incremental);
    no_end.into_iter().chain(left_out).chain(repeated).chain(incremental).collect()
}

fn build(items: Vec<(String, Item)>, files: &[Child], profile: &Profile, sink: &mut impl Sink) -> Result<Child> {
    let mut tree = TreeBuilder::new(*profile);
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
    tree.finish(sink)
}

/// Lists what an import of a tarball would include, without a store. Everything is read and checked as in an import.
///
/// # Errors
/// As [`import_tarball`], except store errors.
pub fn list_tarball(reader: &mut dyn Read, limits: ArchiveLimits) -> Result<Listing> {
    let mut tar = TarReader::new(Input::open(reader, limits)?);
    let mut entries = Entries::default();
    while let Some(entry) = tar.next_entry()? {
        entries.add(entry)?;
    }
    list(&entries.into_sorted()?.items)
}

fn list(items: &[(String, Item)]) -> Result<Listing> {
    let mut listing = Listing::default();
    for (path, item) in items {
        if let Item::Symlink { target } = item {
            check_link(path, target.as_bytes()).map_err(|refusal| Error::refused(path, refusal))?;
        }
        listing.push(Listed { path: path.clone(), kind: item.kind() })?;
    }
    listing.check_case()?;
    Ok(listing)
}
