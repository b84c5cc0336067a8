//! The place an export goes to, and the one beside it where it is made.
//!
//! A partial export is locked by the process that makes it, so that one whose process died can be told from one that is
//! still being made: the next export to the same place removes it.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Names tried for the place beside.
const ATTEMPTS: usize = 16;
/// Hexadecimal digits at the end of a partial export's name.
const RANDOM_DIGITS: usize = 16;

/// A destination and the partial tree beside it, which is deleted unless it is moved into its place.
#[derive(Debug)]
pub(crate) struct Place {
    destination: PathBuf,
    partial: PathBuf,
    is_file: bool,
    filled: bool,
    /// Held for as long as this lives.
    _lock: File,
}

impl Place {
    /// Checks that the destination is free, and makes an empty directory or file beside it.
    pub(crate) fn reserve(destination: &Path, is_file: bool) -> Result<Self> {
        check_free(destination, is_file)?;
        Self::beside(destination, is_file)
    }

    /// Makes an empty directory or file beside a destination, be that free or not.
    pub(crate) fn beside(destination: &Path, is_file: bool) -> Result<Self> {
        let Some(name) = destination.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::io("create", destination)(io::ErrorKind::InvalidInput.into()));
        };
        let prefix = format!(".{name}.partial-");
        remove_abandoned(destination, &prefix);
        for _ in 0..ATTEMPTS {
            let random = RandomState::new().hash_one(name);
            let partial = destination.with_file_name(format!("{prefix}{random:0RANDOM_DIGITS$x}"));
            let made = if is_file { File::create_new(&partial).map(drop) } else { fs::create_dir(&partial) };
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("create", partial)(error)),
                Ok(()) => {}
            }
            // Another process may take it for abandoned before it is locked.
            if let Some(lock) = lock(&partial) {
                return Ok(Self { destination: destination.to_owned(), partial, is_file, filled: false, _lock: lock });
            }
        }
        Err(Error::io("create", destination)(io::ErrorKind::ResourceBusy.into()))
    }

    /// Where to write.
    pub(crate) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Moves what was written into its place.
    pub(crate) fn fill(self) -> Result<()> {
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
        self.rename("create")
    }

    /// Moves what was written into its place, whatever file is there.
    pub(crate) fn replace(self) -> Result<()> {
        self.rename("replace")
    }

    fn rename(mut self, action: &'static str) -> Result<()> {
        fs::rename(&self.partial, &self.destination).map_err(Error::io(action, &self.destination))?;
        self.filled = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            remove(&self.partial);
        }
    }
}

/// Locks a partial export; `None` if another process holds or has removed it.
fn lock(partial: &Path) -> Option<File> {
    let file = File::open(partial).ok()?;
    file.try_lock().ok()?;
    let (locked, there) = (file.metadata().ok()?, fs::symlink_metadata(partial).ok()?);
    ((locked.dev(), locked.ino()) == (there.dev(), there.ino())).then_some(file)
}

/// Removes partial exports to the same destination whose process is dead. What cannot be listed or locked is left alone:
/// it is only litter.
fn remove_abandoned(destination: &Path, prefix: &str) {
    let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(prefix));
        let is_partial = random.is_some_and(is_random);
        let is_link = entry.file_type().map_or(true, |kind| kind.is_symlink());
        if is_partial
            && !is_link
            && let Some(_lock) = lock(&entry.path())
        {
            remove(&entry.path());
        }
    }
}

/// Whether this may be the random end of a name.
pub(super) fn is_random(text: &str) -> bool {
    text.len() == RANDOM_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn remove(partial: &Path) {
    let is_directory = fs::symlink_metadata(partial).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_directory { fs::remove_dir_all(partial) } else { fs::remove_file(partial) };
    if let Err(error) = removed {
        tracing::warn!(path = %partial.display(), %error, "cannot remove a partial export");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_partial_export_is_removed_unless_its_process_lives() {
        let home = tempfile::tempdir().unwrap();
        let destination = home.path().join("out");
        let living = Place::reserve(&destination, false).unwrap();
        let abandoned = home.path().join(".out.partial-0123456789abcdef");
        fs::create_dir_all(abandoned.join("half/a/tree")).unwrap();
        fs::write(home.path().join(".out.partial-0123456789abcdee"), "half a file").unwrap();
        let others = [".out.partial-mine", ".outer.partial-0123456789abcdef", "out.partial-0123456789abcdef"];
        others.iter().for_each(|name| fs::create_dir(home.path().join(name)).unwrap());
        let second = Place::reserve(&destination, false).unwrap();
        assert!(living.partial().is_dir() && second.partial().is_dir() && living.partial() != second.partial());
        second.fill().unwrap();
        drop(living);
        let mut expected = others.to_vec();
        expected.push("out");
        expected.sort_unstable();
        assert_eq!(names(home.path()), expected);
    }

    #[test]
    fn of_two_exports_to_one_place_the_first_wins() {
        for is_file in [false, true] {
            let home = tempfile::tempdir().unwrap();
            let [first, second] = [1, 2].map(|_| Place::reserve(&home.path().join("out"), is_file).unwrap());
            let write = |place: &Place, text| match is_file {
                true => fs::write(place.partial(), text).unwrap(),
                false => fs::write(place.partial().join("file"), text).unwrap(),
            };
            write(&first, "first");
            write(&second, "second");
            first.fill().unwrap();
            assert!(matches!(second.fill(), Err(Error::Exists { .. })));
            assert_eq!(names(home.path()), ["out"]);
            let written = if is_file { home.path().join("out") } else { home.path().join("out/file") };
            assert_eq!(fs::read_to_string(written).unwrap(), "first");
        }
    }
}
