//! Writing a listed tree with several threads.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ExportOptions, ExportProgress,
    jobs::{Job, Jobs, Part, file_size},
};
use crate::{
    Blockstore, Error, Result,
    unixfs::{
        Entry, EntryKind, Tree,
        pipeline::{run_in_order, threads},
    },
};

/// Writes the tree into the empty directory `target`, or its only file into the empty file `target`.
pub(super) fn write_tree<S: Blockstore + ?Sized>(
    store: &S,
    tree: &Tree,
    target: &Path,
    options: &ExportOptions<'_>,
) -> Result<()> {
    for entry in tree.entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let path = target.join(&entry.path);
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
    }
    let executables = options.executables.iter().map(String::as_str).collect();
    let writer = Writer { store, target, executables };
    let mut progress = ExportProgress { bytes: 0, total_bytes: tree.size_bytes };
    let mut open = None;
    let jobs = Jobs::new(store, &tree.entries).map(|job| writer.open(job?, &mut open));
    let report = |bytes| {
        progress.bytes += bytes;
        if let Some(report) = options.progress {
            report(progress);
        }
        Ok(())
    };
    run_in_order(threads(options.threads), jobs, |(job, file)| writer.run(job, file.as_deref()), report)?;
    for entry in &tree.entries {
        if let EntryKind::Symlink { target: to } = &entry.kind {
            let path = target.join(&entry.path);
            symlink(to, &path).map_err(Error::io("create", &path))?;
        }
    }
    Ok(())
}

struct Writer<'a, S: ?Sized> {
    store: &'a S,
    target: &'a Path,
    executables: HashSet<&'a str>,
}

impl<S: Blockstore + ?Sized> Writer<'_, S> {
    /// Opens the file that a part belongs to, once for all its parts.
    fn open<'j>(&self, job: Job<'j>, open: &mut Option<Arc<File>>) -> Result<(Job<'j>, Option<Arc<File>>)> {
        *open = match &job {
            Job::Bundle(_) => None,
            Job::Part { entry, offset: 0, .. } => Some(Arc::new(self.create(entry)?)),
            Job::Part { .. } => open.take(),
        };
        Ok((job, open.clone()))
    }

    fn create(&self, entry: &Entry) -> Result<File> {
        let executable = matches!(entry.kind, EntryKind::File { executable: true, .. });
        let executable = executable || self.executables.contains(entry.path.as_str());
        let path = self.path(entry);
        // The process's umask applies, as it does to any file a user makes.
        let mode = if executable { 0o777 } else { 0o666 };
        let mut options = OpenOptions::new();
        if entry.path.is_empty() {
            // The place of a single file was made and locked before.
            options.write(true);
        } else {
            options.write(true).create_new(true).mode(mode);
        }
        let file = options.open(&path).map_err(Error::io("create", &path))?;
        if entry.path.is_empty() && executable {
            let readable = file.metadata().map_err(Error::io("read", &path))?.permissions().mode();
            let mode = readable | (readable & 0o444) >> 2;
            file.set_permissions(Permissions::from_mode(mode)).map_err(Error::io("make executable", &path))?;
        }
        Ok(file)
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        // Joining an empty path would add a slash, which no file may have.
        if entry.path.is_empty() { self.target.to_owned() } else { self.target.join(&entry.path) }
    }

    /// Does a job and returns the bytes written; `file` is that of a part.
    fn run(&self, job: Job<'_>, file: Option<&File>) -> Result<u64> {
        match job {
            Job::Bundle(entries) => {
                for entry in &entries {
                    self.write(&self.create(entry)?, entry, 0, Part::whole(entry))?;
                }
                Ok(entries.into_iter().map(file_size).sum())
            }
            Job::Part { entry, offset, part } => {
                self.write(file.expect("the file of a part was opened"), entry, offset, part)
            }
        }
    }

    fn write(&self, file: &File, entry: &Entry, mut offset: u64, part: Part) -> Result<u64> {
        let begin = offset;
        part.read(self.store, |data| {
            file.write_all_at(&data, offset).map_err(Error::io("write", self.path(entry)))?;
            offset += data.len() as u64;
            Ok(())
        })?;
        Ok(offset - begin)
    }
}
