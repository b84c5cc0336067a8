//! Storage of key files: a directory, or memory for a registry without a home.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    database::MEMORY,
    home::{HomeError, rename_private, write_private},
};

/// Files by name. Clones share the same files.
#[derive(Clone)]
pub(super) enum KeyFiles {
    /// In a directory with access for its owner only.
    Directory(PathBuf),
    /// In the memory of this process.
    Memory(Memory),
    /// In a read-only directory, which need not exist. Writes stay in memory.
    ReadOnly(PathBuf, Memory),
}

/// Contents by name.
type Memory = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

impl KeyFiles {
    /// The name of a file in messages.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) | Self::ReadOnly(directory, _) => directory.join(name),
            Self::Memory(_) => Path::new(MEMORY).join(name),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, HomeError> {
        match self {
            Self::Directory(directory) => read_if_there(&directory.join(name)),
            Self::Memory(files) => Ok(lock(files).get(name).cloned()),
            Self::ReadOnly(directory, written) => match lock(written).get(name) {
                Some(contents) => Ok(Some(contents.clone())),
                None => read_if_there(&directory.join(name)),
            },
        }
    }

    /// Writes a file atomically.
    pub(super) fn write(&self, name: &str, contents: &[u8]) -> Result<(), HomeError> {
        match self {
            Self::Directory(directory) => write_private(&directory.join(name), contents),
            Self::Memory(files) | Self::ReadOnly(_, files) => {
                lock(files).insert(name.to_owned(), contents.to_owned());
                Ok(())
            }
        }
    }

    /// The same for a file of a name that no file has.
    pub(super) fn create(&self, name: &str, contents: &[u8]) -> Result<(), HomeError> {
        // The home is held by this process alone: no other one makes the file in between.
        if self.read(name)?.is_some() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(HomeError::Io { action: "create", path: self.path(name), source });
        }
        self.write(name, contents)
    }

    /// Gives a file another name, which no file has.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), HomeError> {
        match self {
            Self::Directory(directory) => rename_private(&directory.join(from), &directory.join(to)),
            Self::Memory(files) | Self::ReadOnly(_, files) => {
                let mut files = lock(files);
                let contents = files.remove(from);
                files.extend(contents.map(|contents| (to.to_owned(), contents)));
                Ok(())
            }
        }
    }

    /// Removes a file; it need not be there.
    pub(super) fn remove(&self, name: &str) -> Result<(), HomeError> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name);
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        Err(HomeError::Io { action: "remove", path, source })
                    }
                    _ => Ok(()),
                }
            }
            Self::Memory(files) => {
                lock(files).remove(name);
                Ok(())
            }
            // A read-only home cannot remove a key.
            Self::ReadOnly(directory, _) => {
                let source = io::ErrorKind::ReadOnlyFilesystem.into();
                Err(HomeError::Io { action: "remove", path: directory.join(name), source })
            }
        }
    }

    /// The names of all files, ordered.
    pub(super) fn names(&self) -> Result<Vec<String>, HomeError> {
        match self {
            Self::Directory(directory) => list(directory),
            Self::Memory(files) => Ok(lock(files).keys().cloned().collect()),
            Self::ReadOnly(directory, written) => {
                let mut names = if directory.exists() { list(directory)? } else { Vec::new() };
                names.extend(lock(written).keys().cloned());
                names.sort();
                names.dedup();
                Ok(names)
            }
        }
    }
}

impl fmt::Debug for KeyFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the contents of the files.
        formatter.debug_tuple("KeyFiles").field(&self.path("")).finish()
    }
}

fn list(directory: &Path) -> Result<Vec<String>, HomeError> {
    let failed = |source| HomeError::Io { action: "list", path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn lock(files: &Mutex<BTreeMap<String, Vec<u8>>>) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, HomeError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HomeError::Io { action: "read", path: path.to_owned(), source }),
    }
}
