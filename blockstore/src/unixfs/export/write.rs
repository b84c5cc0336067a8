//! Writing a listed tree with several threads.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt, symlink},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

use super::{ExportOptions, ExportProgress};
use crate::{
    Blockstore, Cid, Error, MAX_WALK_PENDING, RAW, Result,
    unixfs::{
        Entry, EntryKind, Tree,
        pipeline::run_in_order,
        reader::{Chunks, read_part},
    },
};

/// Files above this are written in parts by several threads, in bytes.
const SPLIT_BYTES: u64 = 4 << 20;
/// Bytes of small files that one thread writes at a time.
const BUNDLE_BYTES: u64 = 1 << 20;
/// Small files that one thread writes at a time.
const BUNDLE_FILES: usize = 32;

/// Writes the tree into the empty directory `target`, or its only file over the empty file `target`.
pub(super) fn write_tree<S: Blockstore + ?Sized>(
    store: &S,
    tree: &Tree,
    target: &Path,
    options: &ExportOptions<'_>,
) -> Result<()> {
    if tree.is_file() {
        fs::remove_file(target).map_err(Error::io("create", target))?;
    }
    for entry in tree.entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let path = target.join(&entry.path);
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
    }
    let executables = options.executables.iter().map(String::as_str).collect();
    let writer = Writer { store, target, executables };
    let mut progress = ExportProgress { bytes: 0, total_bytes: tree.size_bytes };
    let jobs = Jobs { writer: &writer, entries: &tree.entries, parts: Vec::new(), file: None };
    run_in_order(
        options.threads(),
        jobs,
        |job| writer.run(job),
        |bytes| {
            progress.bytes += bytes;
            if let Some(report) = options.progress {
                report(progress);
            }
            Ok(())
        },
    )?;
    for entry in &tree.entries {
        if let EntryKind::Symlink { target: to } = &entry.kind {
            let path = target.join(&entry.path);
            symlink(to, &path).map_err(Error::io("create", &path))?;
        }
    }
    Ok(())
}

/// A part of the work.
#[derive(Debug)]
enum Job<'a> {
    /// Whole files.
    Bundle(Vec<&'a Entry>),
    /// A part of a larger file.
    Part { file: Arc<File>, entry: &'a Entry, offset: u64, part: Part },
}

#[derive(Debug)]
enum Part {
    Data(Bytes),
    Node { cid: Cid, size: u64 },
}

struct Writer<'a, S: ?Sized> {
    store: &'a S,
    target: &'a Path,
    executables: HashSet<&'a str>,
}

impl<S: Blockstore + ?Sized> Writer<'_, S> {
    fn create(&self, entry: &Entry) -> Result<File> {
        let executable = matches!(entry.kind, EntryKind::File { executable: true, .. });
        // The process's umask applies, as it does to any file a user makes.
        let mode = if executable || self.executables.contains(entry.path.as_str()) { 0o777 } else { 0o666 };
        let path = self.path(entry);
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(Error::io("create", &path))
    }

    fn path(&self, entry: &Entry) -> std::path::PathBuf {
        // Joining an empty path would add a slash, which no file may have.
        if entry.path.is_empty() { self.target.to_owned() } else { self.target.join(&entry.path) }
    }

    fn run(&self, job: Job<'_>) -> Result<u64> {
        match job {
            Job::Bundle(entries) => {
                let mut bytes = 0;
                for entry in entries {
                    let size = file_size(entry);
                    self.write(&self.create(entry)?, entry, 0, Part::Node { cid: entry.cid, size })?;
                    bytes += size;
                }
                Ok(bytes)
            }
            Job::Part { file, entry, offset, part } => self.write(&file, entry, offset, part),
        }
    }

    fn write(&self, file: &File, entry: &Entry, mut offset: u64, part: Part) -> Result<u64> {
        let begin = offset;
        let mut put = |data: &Bytes| {
            file.write_all_at(data, offset).map_err(Error::io("write", self.path(entry)))?;
            offset += data.len() as u64;
            Ok(())
        };
        match part {
            Part::Data(data) => put(&data)?,
            Part::Node { cid, size } => {
                for chunk in Chunks::new(self.store, cid, size) {
                    put(&chunk?)?;
                }
            }
        }
        Ok(offset - begin)
    }
}

/// Cuts the work into jobs. Larger files are cut along their upper nodes.
struct Jobs<'a, S: ?Sized> {
    writer: &'a Writer<'a, S>,
    /// Entries to come.
    entries: &'a [Entry],
    /// Parts to come of the file that is being cut, the next one last.
    parts: Vec<(u64, Part)>,
    file: Option<(Arc<File>, &'a Entry)>,
}

impl<'a, S: Blockstore + ?Sized> Jobs<'a, S> {
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
                        self.file = Some((Arc::new(self.writer.create(entry)?), entry));
                        self.parts.push((0, Part::Node { cid: entry.cid, size }));
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
        let Some((file, entry)) = &self.file else { return Ok(None) };
        while let Some((mut offset, part)) = self.parts.pop() {
            let (cid, size) = match part {
                Part::Node { cid, size } if size > SPLIT_BYTES && cid.codec() != RAW => (cid, size),
                part => return Ok(Some(Job::Part { file: Arc::clone(file), entry, offset, part })),
            };
            let node = read_part(self.writer.store, &cid, size)?;
            let mut parts = Vec::with_capacity(node.parts.len() + 1);
            let data = (node.data.len() as u64, Part::Data(node.data));
            for (size, part) in
                [data].into_iter().chain(node.parts.into_iter().map(|(cid, size)| (size, Part::Node { cid, size })))
            {
                if size > 0 {
                    parts.push((offset, part));
                    offset += size;
                }
            }
            self.parts.extend(parts.into_iter().rev());
            if self.parts.len() > MAX_WALK_PENDING {
                return Err(Error::LimitExceeded { what: "links of one file", limit: MAX_WALK_PENDING as u64 });
            }
        }
        self.file = None;
        Ok(None)
    }
}

impl<'a, S: Blockstore + ?Sized> Iterator for Jobs<'a, S> {
    type Item = Result<Job<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_job().transpose()
    }
}

fn file_size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size,
        EntryKind::Directory | EntryKind::Symlink { .. } => 0,
    }
}
