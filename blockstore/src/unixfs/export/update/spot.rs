//! Where an older tree is: a directory, or a file in one.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::Stat;

use super::super::{dir::Dir, write::join};
use crate::{Error, Result, unixfs::stamp::Stamp};

/// A place of a tree, seen from an open directory.
#[derive(Debug)]
pub(in super::super) struct Spot {
    /// The directory of the tree; if the tree is a file, the one in which that is.
    pub(super) dir: Dir,
    /// Name of the file in it; empty for a directory.
    name: OsString,
    /// What errors call it.
    destination: PathBuf,
}

impl Spot {
    /// The place of a directory.
    pub(super) fn of_directory(dir: Dir, destination: &Path) -> Self {
        Self { dir, name: OsString::new(), destination: destination.to_owned() }
    }

    /// The place of a file, whose path leads through no symlink at its end.
    pub(in super::super) fn of_file(destination: &Path) -> io::Result<Self> {
        let (Some(name), Some(parent)) = (destination.file_name(), destination.parent()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Self { dir: Dir::open(parent)?, name: name.to_owned(), destination: destination.to_owned() })
    }

    /// The place of whatever stands at a path.
    pub(in super::super) fn of(destination: &Path) -> io::Result<Self> {
        match Dir::open(destination) {
            Ok(dir) => Ok(Self::of_directory(dir, destination)),
            Err(_) => Self::of_file(destination),
        }
    }

    /// What stands at the place of an entry; `None` if nothing does.
    pub(super) fn look(&self, path: &str) -> Result<Option<Stat>> {
        self.dir.look(self.relative(path)).map_err(|error| Error::io("read", self.shown(path))(error))
    }

    /// Opens the file of an entry.
    pub(in super::super) fn open_file(&self, path: &str) -> io::Result<File> {
        self.dir.open_file(self.relative(path))
    }

    /// What the file system says of a file, but for its device; `None` if it cannot be asked.
    pub(in super::super) fn stamp(&self, path: &str) -> Option<Stamp> {
        let metadata = self.open_file(path).and_then(|file| file.metadata()).ok()?;
        Some(Stamp { device: 0, ..Stamp::of(&metadata) })
    }

    /// Where the symlink of an entry leads.
    pub(super) fn read_link(&self, path: &str) -> io::Result<OsString> {
        self.dir.read_link(self.relative(path))
    }

    /// Gives a file another mode.
    pub(super) fn set_mode(&self, path: &str, mode: u32) -> io::Result<()> {
        self.dir.set_mode(self.relative(path), mode)
    }

    /// The place of an entry, as errors call it.
    pub(super) fn shown(&self, path: &str) -> PathBuf {
        join(&self.destination, path)
    }

    /// The place of an entry, as seen from the directory. The root of a tree is the only entry without a path.
    fn relative<'a>(&'a self, path: &'a str) -> &'a Path {
        Path::new(if path.is_empty() { self.name.as_os_str() } else { OsStr::new(path) })
    }
}
