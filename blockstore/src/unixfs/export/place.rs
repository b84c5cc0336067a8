//! The destination of an export, and the hidden location where the export is written.
//!
//! * If the destination does not exist, the tree is created beside it and renamed to it. The destination is then
//!   complete or absent.
//! * An empty directory is filled and keeps its mode and inode, because it may be a mount point or a shell's working
//!   directory. The tree is created in a hidden directory in it, whose entries are then renamed into it one by one. A
//!   process killed between two of these renames leaves the hidden directory beside the entries already moved. A
//!   process killed earlier leaves the hidden directory alone; a directory that contains nothing else still counts as
//!   empty.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    dir::Dir,
    lock::{Lock, try_lock},
    staging::{Staging, Target, is_for_itself},
};
use crate::{Error, Result};

/// A destination, and the data that will be moved there. Dropping it removes everything that was created.
#[derive(Debug)]
pub(crate) struct Place {
    destination: PathBuf,
    /// The name in the directory; `None` if the directory itself is filled.
    name: Option<OsString>,
    staging: Option<Staging>,
    /// The parent directory of the target; locked if it is filled itself.
    holder: Arc<Dir>,
    /// Parent directories that were created, the outermost first.
    made: Vec<PathBuf>,
}

impl Place {
    /// Checks that the destination is free, and creates an empty directory or file for its future content.
    ///
    /// # Errors
    /// [`Error::Exists`], an I/O error. Nothing is left behind.
    pub(crate) fn reserve(destination: &Path, is_file: bool) -> Result<Self> {
        match Dir::open(destination) {
            Ok(_) if is_file => Err(Error::Exists { path: destination.to_owned() }),
            Ok(directory) => Self::in_empty(destination, directory),
            Err(error) if is_absence(&error) => {
                let mut place = Self::named(destination)?;
                place.check_absent()?;
                place.stage(is_file)?;
                Ok(place)
            }
            Err(error) => Err(Error::io("open", destination)(error)),
        }
    }

    /// As `reserve`, in an existing directory.
    fn in_empty(destination: &Path, directory: Dir) -> Result<Self> {
        let holder = Arc::new(directory);
        let io = |action| Error::io(action, destination);
        if try_lock(&*holder).map_err(io("lock"))? == Lock::Busy {
            return Err(io("write to")(io::Error::other("another fetch or update of it is under way")));
        }
        let staging = Staging::make(&holder, OsStr::new(""), false).map_err(io("write to"))?;
        let place =
            Self { destination: destination.to_owned(), name: None, staging: Some(staging), holder, made: Vec::new() };
        place.check_empty()?;
        Ok(place)
    }

    /// Creates an empty file beside a destination, which may exist. Missing parent directories are created.
    pub(crate) fn beside(destination: &Path) -> Result<Self> {
        let mut place = Self::named(destination)?;
        place.stage(true)?;
        Ok(place)
    }

    /// Opens the directory of a destination.
    fn named(destination: &Path) -> Result<Self> {
        let (Some(name), Some(parent)) = (destination.file_name(), destination.parent()) else {
            return Err(Error::io("create", destination)(io::ErrorKind::InvalidInput.into()));
        };
        let (holder, made) = Dir::open_or_make(parent).map_err(Error::io("create", parent))?;
        let (destination, holder) = (destination.to_owned(), Arc::new(holder));
        Ok(Self { destination, name: Some(name.to_owned()), staging: None, holder, made })
    }

    fn stage(&mut self, is_file: bool) -> Result<()> {
        let name = self.name.as_deref().unwrap_or_default();
        let staging = Staging::make(&self.holder, name, is_file).map_err(Error::io("create", &self.destination))?;
        self.staging = Some(staging);
        Ok(())
    }

    /// The directory or file to write to.
    pub(crate) fn target(&self) -> &Target {
        self.staging.as_ref().expect("a place has one until it is filled").target()
    }

    /// The path of the destination.
    pub(crate) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Moves the written data to its destination.
    ///
    /// # Errors
    /// [`Error::Exists`] if the destination exists by now; an I/O error. Nothing is left behind.
    pub(crate) fn fill(mut self) -> Result<()> {
        let moved = match &self.name {
            None => {
                self.check_empty()?;
                self.staging.take().map_or(Ok(()), Staging::pour)
            }
            Some(name) => self.staging.take().map_or(Ok(()), |staging| staging.become_new(name)),
        };
        moved.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: self.destination.clone() },
            _ => Error::io("create", &self.destination)(error),
        })?;
        self.made.clear();
        Ok(())
    }

    /// Moves a written file to its destination, and replaces an existing file.
    ///
    /// # Errors
    /// An I/O error. The existing file is then unchanged, and the written file can still be read from the target.
    pub(crate) fn replace(&mut self) -> io::Result<()> {
        if let (Some(name), Some(staging)) = (&self.name, &mut self.staging) {
            staging.replace(name)?;
        }
        self.made.clear();
        Ok(())
    }

    fn check_absent(&self) -> Result<()> {
        let name = self.name.as_deref().unwrap_or_default();
        match self.holder.look(Path::new(name)).map_err(Error::io("read", &self.destination))? {
            None => Ok(()),
            Some(_) => Err(Error::Exists { path: self.destination.clone() }),
        }
    }

    fn check_empty(&self) -> Result<()> {
        let names = self.holder.names(Path::new("")).map_err(Error::io("list", &self.destination))?;
        match names.iter().all(|(name, _)| is_for_itself(name)) {
            true => Ok(()),
            false => Err(Error::Exists { path: self.destination.clone() }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.staging = None;
        for path in self.made.iter().rev() {
            // A directory that other processes have put something into stays.
            drop(fs::remove_dir(path));
        }
    }
}

/// Returns whether an export of a tree may be written to a destination, as far as that can be determined without
/// trying: it does not exist, or is a directory that contains nothing but what a killed export has left.
///
/// # Errors
/// An I/O error, such as for a parent directory that may not be searched, or a name that is too long.
pub fn is_vacant(destination: &Path) -> Result<bool> {
    match Dir::open(destination) {
        Ok(directory) => {
            let names = directory.names(Path::new("")).map_err(Error::io("list", destination))?;
            Ok(names.iter().all(|(name, _)| is_for_itself(name)))
        }
        Err(error) if is_absence(&error) => match fs::symlink_metadata(destination) {
            Ok(_) => Ok(false),
            Err(error) if is_absence(&error) => Ok(true),
            Err(error) => Err(Error::io("read", destination)(error)),
        },
        Err(error) => Err(Error::io("open", destination)(error)),
    }
}

/// Returns whether the error means that no directory exists; a file may exist.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
