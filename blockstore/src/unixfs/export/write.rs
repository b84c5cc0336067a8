//! Writing the entries of a tree with several threads.

use std::{
    cell::Cell,
    collections::HashSet,
    fs::{File, Permissions},
    io,
    ops::Deref,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    ExportOptions, ExportProgress, Exported,
    jobs::{Job, Jobs, Part, file_size},
    staging::Target,
};
use crate::{
    Blockstore, Error, Result,
    unixfs::{
        Entry, EntryKind,
        pipeline::{run_in_order, threads},
    },
};

/// Writes entries, directories before their contents, into the empty directory `target`; or a single entry, a file,
/// into the empty file `target`. Entries are consumed as the iterator yields them, so the walk that finds them may
/// still be in progress. Errors name `destination`, the final path.
pub(super) fn write_entries<S: Blockstore + ?Sized, E: Deref<Target = Entry> + Clone + Send>(
    store: &S,
    entries: impl Iterator<Item = Result<E>>,
    target: &Target,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let executables = options.executables.iter().map(String::as_str).collect();
    let writer = Writer { store, target, destination, executables };
    let seen = Cell::new(Exported::default());
    let mut symlinks = Vec::new();
    let files = entries.filter_map(|entry| writer.begin(entry, &seen, &mut symlinks).transpose());
    let (mut open, mut bytes) = (None, 0);
    let jobs = Jobs::new(store, files).map(|job| writer.open(job?, &mut open));
    let report = |written| {
        bytes += written;
        if let Some(report) = options.progress {
            report(ExportProgress { bytes, total_bytes: seen.get().size_bytes });
        }
        options.go_on()
    };
    run_in_order(threads(options.threads), jobs, |(job, file)| writer.run(job, file.as_deref()), report)?;
    for (path, to) in symlinks {
        writer.link(&path, &to).map_err(|error| writer.failed("create", &path)(error))?;
    }
    Ok(seen.get())
}

struct Writer<'a, S: ?Sized> {
    store: &'a S,
    target: &'a Target,
    destination: &'a Path,
    executables: HashSet<&'a str>,
}

/// The file that a job's part belongs to.
type Opened<E> = (Job<E>, Option<Arc<Shared>>);

/// A file that several threads write to, one at a time. The kernel serialises writes to a file anyway, but lets waiting
/// threads spin.
type Shared = Mutex<File>;

impl<S: Blockstore + ?Sized> Writer<'_, S> {
    /// Creates a directory at once, defers a symlink, and passes a file on.
    fn begin<E: Deref<Target = Entry>>(
        &self,
        entry: Result<E>,
        seen: &Cell<Exported>,
        symlinks: &mut Vec<(String, String)>,
    ) -> Result<Option<E>> {
        let entry = entry?;
        match &entry.kind {
            EntryKind::Directory => {
                self.make(&entry.path).map_err(|error| self.failed("create", &entry.path)(error))?;
            }
            EntryKind::Symlink { target } => symlinks.push((entry.path.clone(), target.clone())),
            EntryKind::File { size, .. } => {
                let Exported { files, size_bytes } = seen.get();
                seen.set(Exported { files: files + 1, size_bytes: size_bytes + size });
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Opens the file that a part belongs to, once for all its parts.
    fn open<E: Deref<Target = Entry>>(&self, job: Job<E>, open: &mut Option<Arc<Shared>>) -> Result<Opened<E>> {
        *open = match &job {
            Job::Bundle(_) => None,
            Job::Part { entry, offset: 0, .. } => Some(Arc::new(Mutex::new(self.create(entry)?))),
            Job::Part { .. } => open.take(),
        };
        Ok((job, open.clone()))
    }

    fn make(&self, path: &str) -> io::Result<()> {
        match self.target {
            Target::Directory(directory) => directory.make(Path::new(path)),
            Target::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn link(&self, path: &str, to: &str) -> io::Result<()> {
        match self.target {
            Target::Directory(directory) => directory.symlink(to, Path::new(path)),
            Target::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn create(&self, entry: &Entry) -> Result<File> {
        let executable = is_executable(entry, &self.executables);
        let created = match self.target {
            // The process's umask applies, as to any file a user creates.
            Target::Directory(directory) => {
                directory.create(Path::new(&entry.path), if executable { 0o777 } else { 0o666 })
            }
            // The single file was created and locked before.
            Target::File(file) => file.try_clone(),
        };
        let file = created.map_err(|error| self.failed("create", &entry.path)(error))?;
        if entry.path.is_empty() && executable {
            set_executable(&file).map_err(|error| self.failed("make executable", &entry.path)(error))?;
        }
        Ok(file)
    }

    /// An error with the operation and the entry.
    fn failed(&self, action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Error {
        Error::io(action, join(self.destination, path))
    }

    /// Performs a job, and returns the number of bytes written; `file` is the file of a part.
    fn run<E: Deref<Target = Entry>>(&self, job: Job<E>, file: Option<&Shared>) -> Result<u64> {
        match job {
            Job::Bundle(entries) => {
                for entry in &entries {
                    self.write(&Mutex::new(self.create(entry)?), entry, 0, Part::whole(entry))?;
                }
                Ok(entries.iter().map(|entry| file_size(entry)).sum())
            }
            Job::Part { entry, offset, part } => {
                self.write(file.expect("the file of a part was opened"), &entry, offset, part)
            }
        }
    }

    fn write(&self, file: &Shared, entry: &Entry, mut offset: u64, part: Part) -> Result<u64> {
        let begin = offset;
        part.read(self.store, |data| {
            let file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all_at(&data, offset).map_err(|error| self.failed("write", &entry.path)(error))?;
            offset += data.len() as u64;
            Ok(())
        })?;
        Ok(offset - begin)
    }
}

fn set_executable(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    file.set_permissions(Permissions::from_mode(with_execution(mode, true)))
}

/// The path of an entry at the destination.
pub(super) fn join(destination: &Path, path: &str) -> PathBuf {
    // Joining an empty path would add a slash, which is invalid for a file.
    if path.is_empty() { destination.to_owned() } else { destination.join(path) }
}

/// Returns whether a file is to be executable: by its UnixFS mode, or by the caller's list.
pub(super) fn is_executable(entry: &Entry, executables: &HashSet<&str>) -> bool {
    matches!(entry.kind, EntryKind::File { executable: true, .. }) || executables.contains(entry.path.as_str())
}

/// The mode of a file with or without execute permission for those who may read it.
pub(super) fn with_execution(mode: u32, executable: bool) -> u32 {
    if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 }
}
