//! The place an export goes to, and the one beside it where it is made.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Names tried for the place beside.
const ATTEMPTS: usize = 16;

/// A destination and the partial tree beside it, which is deleted unless it is moved into its place.
#[derive(Debug)]
pub(crate) struct Place {
    destination: PathBuf,
    partial: PathBuf,
    is_file: bool,
    filled: bool,
}

impl Place {
    /// Checks that the destination is free and finds a name beside it. For a directory, makes it.
    pub(crate) fn reserve(destination: &Path, is_file: bool) -> Result<Self> {
        check_free(destination, is_file)?;
        let Some(name) = destination.file_name() else {
            return Err(Error::io("create", destination)(io::ErrorKind::InvalidInput.into()));
        };
        for _ in 0..ATTEMPTS {
            let random = RandomState::new().hash_one(name);
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".partial-{random:016x}"));
            let partial = destination.with_file_name(hidden);
            let made = if is_file { fs::File::create_new(&partial).map(drop) } else { fs::create_dir(&partial) };
            match made {
                Ok(()) => {
                    return Ok(Self { destination: destination.to_owned(), partial, is_file, filled: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", partial)(error)),
            }
        }
        Err(Error::Exists { path: destination.to_owned() })
    }

    /// Where to write.
    pub(crate) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Moves what was written into its place.
    pub(crate) fn fill(mut self) -> Result<()> {
        check_free(&self.destination, self.is_file)?;
        if self.is_file {
            // A rename would replace a file that appeared meanwhile. A link does not, but not every file system has it;
            // where it does, the partial name is removed like that of a failed export.
            match fs::hard_link(&self.partial, &self.destination) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(Error::Exists { path: self.destination.clone() });
                }
                Err(_) => {}
            }
        }
        fs::rename(&self.partial, &self.destination).map_err(Error::io("create", &self.destination))?;
        self.filled = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.filled {
            return;
        }
        let removed = if self.is_file { fs::remove_file(&self.partial) } else { fs::remove_dir_all(&self.partial) };
        if let Err(error) = removed {
            tracing::warn!(path = %self.partial.display(), %error, "cannot remove a partial export");
        }
    }
}

fn check_free(destination: &Path, is_file: bool) -> Result<()> {
    let taken = || Error::Exists { path: destination.to_owned() };
    match fs::symlink_metadata(destination) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read", destination)(error)),
        Ok(metadata) if is_file || !metadata.is_dir() => Err(taken()),
        Ok(_) => match fs::read_dir(destination).map_err(Error::io("list", destination))?.next() {
            None => Ok(()),
            Some(_) => Err(taken()),
        },
    }
}
