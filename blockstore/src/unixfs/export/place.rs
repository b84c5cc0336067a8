//! The place an export goes to, and the hidden one where it is made.
//!
//! * Where nothing is, the tree is made beside its place and renamed into it: it is there as a whole or not at all.
//! * An empty directory is filled and stays the directory it was, with its mode and inode: it may be a mount point, or
//!   where a shell stands. The tree is made in a hidden directory in it, and what is in that is then renamed into it, entry
//!   by entry. Killed between two of these renames, the process leaves the hidden directory beside what has been moved;
//!   killed before, it leaves the hidden directory alone, which counts as nothing.

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

/// A destination, and what will be moved there. Dropped, all that was made is removed.
#[derive(Debug)]
pub(crate) struct Place {
    destination: PathBuf,
    /// The name in the directory; `None` where the directory itself is filled.
    name: Option<OsString>,
    staging: Option<Staging>,
    /// The directory that the target is in; locked if it is filled itself.
    holder: Arc<Dir>,
    /// Directories on the way that were missing, the outermost first.
    made: Vec<PathBuf>,
}

impl Place {
    /// Checks that the destination is free, and makes an empty directory or file for what will be there.
    ///
    /// # Errors
    /// [`Error::Exists`], an I/O error. Nothing stays behind.
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

    /// The same in a directory that is there.
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

    /// Makes an empty file beside a destination, be that free or not. Directories that are missing on the way are made.
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

    /// Where to write.
    pub(crate) fn target(&self) -> &Target {
        self.staging.as_ref().expect("a place has one until it is filled").target()
    }

    /// What the place is called.
    pub(crate) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Moves what was written into its place.
    ///
    /// # Errors
    /// [`Error::Exists`] if it was taken meanwhile; an I/O error. Nothing stays behind.
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

    /// Moves a file that was written into its place, whatever file is there.
    ///
    /// # Errors
    /// The system's; the file is as it was then, and can still be read from the target.
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
            // What others have put there meanwhile stays.
            drop(fs::remove_dir(path));
        }
    }
}

/// Whether an export of a tree may go to a place, as far as that can be said without trying: nothing is there, or a
/// directory with nothing in it but what a killed export left.
///
/// # Errors
/// An I/O error, such as for a directory on the way that may not be searched, or a name that is too long.
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

/// There is no directory; a file may be there.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
