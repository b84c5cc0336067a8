//! What is written before it is shown: a file or directory under a short hidden name, in the directory it will be in.
//!
//! ```text
//! .ggen-partial-<hash of the name it will have, 8 digits>-<random, 16 digits>
//! ```
//! It is locked by the process that writes it, so that one whose process died can be told from one that is still being
//! written: the next export to the same place removes it. Where the file system has no locks, that cannot be told, and it
//! stays.

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

/// Names tried.
const ATTEMPTS: usize = 16;
/// Beginning of every name.
const PREFIX: &str = ".ggen-partial-";
/// Hexadecimal digits at the end of a name.
const RANDOM_DIGITS: usize = 16;
/// The process's umask applies, as to any file a user makes.
const FILE_MODE: u32 = 0o666;

/// Where an export writes.
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

/// A target under its hidden name. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Staging {
    /// The directory it is in.
    holder: Arc<Dir>,
    name: PathBuf,
    /// There until it is dropped.
    target: Option<Target>,
    /// It is somewhere else, or somebody else's.
    gone: bool,
}

impl Staging {
    /// Makes an empty directory or file in `holder` for what will have the name `destination` there; an empty name means
    /// the directory itself.
    ///
    /// # Errors
    /// The system's; what was made is removed then.
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
            // From here on it is removed if an error comes.
            let mut staging = Self { holder: Arc::clone(holder), name, target: Some(target), gone: false };
            let lock = try_lock(staging.target())?;
            if lock == Lock::Unsupported || (lock == Lock::Held && is_at(holder, &staging.name, staging.target())?) {
                return Ok(staging);
            }
            // Another process took it for abandoned before it was locked, and removes it.
            staging.gone = true;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Where to write.
    pub(crate) fn target(&self) -> &Target {
        self.target.as_ref().expect("it is there until it is dropped")
    }

    /// Moves it to a name in its directory where nothing stands.
    pub(crate) fn become_new(mut self, name: &OsStr) -> io::Result<()> {
        self.holder.rename_new(&self.name, &self.holder, Path::new(name))?;
        self.gone = true;
        Ok(())
    }

    /// Moves it to a name in its directory, in the place of a file that stands there.
    pub(crate) fn replace(&mut self, name: &OsStr) -> io::Result<()> {
        self.holder.rename(&self.name, &self.holder, Path::new(name))?;
        self.gone = true;
        Ok(())
    }

    /// Moves what is in it into its directory, all or nothing.
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
        // A process may have no descriptor left, and to list a directory takes one.
        self.target = None;
        if !self.gone {
            remove(&self.holder, &self.name);
        }
    }
}

/// Whether an export gives such names to what it writes in a directory to become the directory's content.
pub(super) fn is_for_itself(name: &OsStr) -> bool {
    has_form(name, &prefix(OsStr::new("")))
}

/// Whether this may be the random end of a name.
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

/// Makes and opens a file or directory that was not there.
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

/// Removes what exports to the same place left whose process is dead. What cannot be listed, opened or locked is left
/// alone: it is only litter.
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

/// Whether what is open stands at that name.
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
