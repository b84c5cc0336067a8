//! Data that is written before it becomes visible: a file or directory under a short hidden name, in its future parent
//! directory.
//!
//! ```text
//! .ggen-partial-<hash of the name it will have, 8 digits>-<random, 16 digits>
//! ```
//! The process that writes it keeps it locked. The next export to the same destination can thus recognise and remove
//! the data of a dead process. If the file system has no locks, abandoned data cannot be recognised, and stays.

use std::{
    ffi::OsStr,
    fs::File,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::fstat,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    dir::{Dir, file_type},
    lock::{Lock, try_lock},
};

/// Most names that are tried.
const ATTEMPTS: usize = 16;
/// Prefix of every name.
const PREFIX: &str = ".ggen-partial-";
/// Hexadecimal digits at the end of a name.
const RANDOM_DIGITS: usize = 16;
/// The process's umask applies, as to any file a user creates.
const FILE_MODE: u32 = 0o666;

/// The location an export writes to.
#[derive(Debug)]
pub(crate) enum Target {
    /// An empty directory.
    Directory(Dir),
    /// An empty file.
    File(File),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Directory(directory) => directory.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

/// A target under its hidden name. Dropping it removes the target.
#[derive(Debug)]
pub(crate) struct Staging {
    /// The parent directory.
    holder: Arc<Dir>,
    name: PathBuf,
    /// Set until it is dropped.
    target: Option<Target>,
    /// Whether it was moved away, or belongs to another process.
    gone: bool,
}

impl Staging {
    /// Creates an empty directory or file in `holder` for the future entry `destination`; an empty name means the
    /// directory itself.
    ///
    /// # Errors
    /// An I/O error; what was created is removed then.
    pub(crate) fn make(holder: &Arc<Dir>, destination: &OsStr, is_file: bool) -> io::Result<Self> {
        let prefix = prefix(destination);
        remove_abandoned(holder, &prefix);
        for _ in 0..ATTEMPTS {
            let random = RandomState::new().hash_one(destination);
            let name = PathBuf::from(format!("{prefix}{random:0RANDOM_DIGITS$x}"));
            let target = match make(holder, &name, is_file) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                outcome => outcome?,
            };
            // From now on an error removes it.
            let mut staging = Self { holder: Arc::clone(holder), name, target: Some(target), gone: false };
            let lock = try_lock(staging.target())?;
            if lock == Lock::Unsupported || (lock == Lock::Held && is_at(holder, &staging.name, staging.target())?) {
                return Ok(staging);
            }
            // Another process considered it abandoned before it was locked, and removes it.
            staging.gone = true;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// The directory or file to write to.
    pub(crate) fn target(&self) -> &Target {
        self.target.as_ref().expect("it is there until it is dropped")
    }

    /// Renames it in its directory to a name that must not exist.
    pub(crate) fn become_new(mut self, name: &OsStr) -> io::Result<()> {
        self.holder.rename_new(&self.name, &self.holder, Path::new(name))?;
        self.gone = true;
        Ok(())
    }

    /// Renames it in its directory, and replaces an existing file.
    pub(crate) fn replace(&mut self, name: &OsStr) -> io::Result<()> {
        self.holder.rename(&self.name, &self.holder, Path::new(name))?;
        self.gone = true;
        Ok(())
    }

    /// Moves its contents to its parent directory, all or nothing.
    pub(crate) fn pour(self) -> io::Result<()> {
        let Target::Directory(directory) = self.target() else { return Err(io::ErrorKind::NotADirectory.into()) };
        let mut moved: Vec<PathBuf> = Vec::new();
        for (name, _) in directory.names(Path::new(""))? {
            let name = PathBuf::from(name);
            if let Err(error) = directory.rename_new(&name, &self.holder, &name) {
                for name in moved.iter().rev() {
                    if let Err(error) = self.holder.rename_new(name, directory, name) {
                        tracing::warn!(name = %name.display(), %error, "cannot take back what was moved");
                    }
                }
                return Err(error);
            }
            moved.push(name);
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Listing a directory needs a descriptor, and the process may have none left.
        self.target = None;
        if !self.gone {
            remove(&self.holder, &self.name);
        }
    }
}

/// Returns whether the name is that of staged data for the content of its own parent directory.
pub(super) fn is_for_itself(name: &OsStr) -> bool {
    has_form(name, &prefix(OsStr::new("")))
}

/// Returns whether the text can be the random suffix of a name.
pub(super) fn is_random(text: &[u8]) -> bool {
    text.len() == RANDOM_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

fn prefix(destination: &OsStr) -> String {
    let purpose = xxh3_64(destination.as_bytes()) as u32;
    format!("{PREFIX}{purpose:08x}-")
}

fn has_form(name: &OsStr, prefix: &str) -> bool {
    name.as_bytes().strip_prefix(prefix.as_bytes()).is_some_and(is_random)
}

/// Creates and opens a file or directory that must not exist.
fn make(holder: &Dir, name: &Path, is_file: bool) -> io::Result<Target> {
    if is_file {
        return holder.create(name, FILE_MODE).map(Target::File);
    }
    holder.make(name)?;
    let opened = holder.open_below(name).map(Target::Directory);
    if opened.is_err() {
        remove(holder, name);
    }
    opened
}

/// Removes what dead processes that exported to the same destination have left. Entries that cannot be listed, opened
/// or locked are skipped, because they do no harm.
fn remove_abandoned(holder: &Dir, prefix: &str) {
    for (name, _) in holder.names(Path::new("")).unwrap_or_default() {
        let path = Path::new(&name);
        if has_form(&name, prefix)
            && let Ok(file) = holder.open_file(path)
            && let Ok(Lock::Held) = try_lock(&file)
            && let Ok(true) = is_at(holder, path, &file)
        {
            remove(holder, path);
        }
    }
}

/// Returns whether the open file or directory is the one with that name.
fn is_at(holder: &Dir, name: &Path, opened: impl AsFd) -> io::Result<bool> {
    let opened = fstat(opened)?;
    let is_ours = file_type(&opened).is_dir() || file_type(&opened).is_file();
    let there = holder.look(name)?;
    Ok(is_ours && there.is_some_and(|there| (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)))
}

fn remove(holder: &Dir, name: &Path) {
    if let Err(error) = holder.remove_all(name) {
        tracing::warn!(name = %name.display(), %error, "cannot remove a partial export");
    }
}
