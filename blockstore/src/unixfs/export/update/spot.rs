//! The location of an older tree: a directory, or a file in a directory.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;

use super::super::{dir::Dir, write::join};
use crate::{Error, Result, unixfs::stamp::Stamp};

/// The location of a tree, relative to an open directory.
#[derive(Debug)]
pub(in super::super) struct Spot {
    /// The directory of the tree; if the tree is a file, its parent directory.
    pub(super) dir: Dir,
    /// Name of the file in it; empty for a directory.
    name: OsString,
    /// The path for errors.
    destination: PathBuf,
}

impl Spot {
    /// The location of a directory.
    pub(super) fn of_directory(dir: Dir, destination: &Path) -> Self {
        Self { dir, name: OsString::new(), destination: destination.to_owned() }
    }

    /// The location of a file, whose path does not end with a symlink.
    pub(in super::super) fn of_file(destination: &Path) -> io::Result<Self> {
        let (Some(name), Some(parent)) = (destination.file_name(), destination.parent()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Self { dir: Dir::open(parent)?, name: name.to_owned(), destination: destination.to_owned() })
    }

    /// The location of whatever exists at a path.
    pub(in super::super) fn of(destination: &Path) -> io::Result<Self> {
        match Dir::open(destination) {
            Ok(dir) => Ok(Self::of_directory(dir, destination)),
            Err(_) => Self::of_file(destination),
        }
    }

    /// The metadata of an entry; `None` if it does not exist.
    pub(super) fn look(&self, path: &str) -> Result<Option<Stat>> {
        self.dir.look(self.relative(path)).map_err(|error| Error::io("read", self.shown(path))(error))
    }

    /// Opens the file of an entry.
    pub(in super::super) fn open_file(&self, path: &str) -> io::Result<File> {
        self.dir.open_file(self.relative(path))
    }

    /// The stamp of a file, without its device; `None` if its metadata cannot be read.
    pub(in super::super) fn stamp(&self, path: &str) -> Option<Stamp> {
        let metadata = self.open_file(path).and_then(|file| file.metadata()).ok()?;
        Some(Stamp { device: 0, ..Stamp::of(&metadata) })
    }

    /// The target of the symlink of an entry.
    pub(super) fn read_link(&self, path: &str) -> io::Result<OsString> {
        self.dir.read_link(self.relative(path))
    }

    /// Changes the mode of a file.
    pub(super) fn set_mode(&self, path: &str, mode: u32) -> io::Result<()> {
        self.dir.set_mode(self.relative(path), mode)
    }

    /// The path of an entry for errors.
    pub(super) fn shown(&self, path: &str) -> PathBuf {
        join(&self.destination, path)
    }

    /// The path of an entry relative to the directory. The root of a tree is the only entry with an empty path.
    fn relative<'a>(&'a self, path: &'a str) -> &'a Path {
        Path::new(if path.is_empty() { self.name.as_os_str() } else { OsStr::new(path) })
    }
}
