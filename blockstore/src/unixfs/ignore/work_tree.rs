//! Locates git's additional ignore files: the work tree that contains a directory, and the directory of its repository.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{Error, Result};

/// Name of the directory of a repository, or of a file that names this directory.
pub(super) const GIT: &str = ".git";
/// Prefix of such a file.
const GITDIR: &[u8] = b"gitdir:";
/// Longest file that names a directory, in bytes.
const MAX_NAMING_BYTES: u64 = 8192;

/// The root of the innermost git work tree that contains a directory, which is given by its real path.
///
/// As in git, the search stops at the boundary of the file system.
pub(super) fn root_around(directory: &Path) -> Result<Option<&Path>> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).map_err(Error::io("read", path));
    let first = device(directory)?;
    for ancestor in directory.ancestors() {
        if device(ancestor)? != first {
            return Ok(None);
        }
        if repository_of(ancestor)?.is_some() {
            return Ok(Some(ancestor));
        }
    }
    Ok(None)
}

/// The exclude file of the repository whose work tree has the root `directory`; `None` if there is none.
pub(super) fn exclude_file_of(directory: &Path) -> Result<Option<PathBuf>> {
    Ok(repository_of(directory)?.map(|repository| repository.join("info/exclude")))
}

/// The repository whose work tree has the root `directory`: its common directory, which all its work trees share.
///
/// A `.git` that is no valid repository is ignored, as in git.
fn repository_of(directory: &Path) -> Result<Option<PathBuf>> {
    let git = directory.join(GIT);
    let own = match fs::metadata(&git) {
        Ok(metadata) if metadata.is_dir() => git,
        Ok(metadata) if metadata.is_file() => {
            let Some(named) = named_in(&git)? else { return Ok(None) };
            let Some(named) = named.strip_prefix(GITDIR) else { return Ok(None) };
            directory.join(OsStr::from_bytes(named.trim_ascii_start()))
        }
        _ => return Ok(None),
    };
    let common = match named_in(&own.join("commondir"))? {
        Some(named) => own.join(OsStr::from_bytes(&named)),
        None => own.clone(),
    };
    let is_one = own.join("HEAD").symlink_metadata().is_ok()
        && ["objects", "refs"].iter().all(|name| common.join(name).is_dir());
    Ok(is_one.then_some(common))
}

/// The contents of a file that names a directory; `None` if there is no such file.
fn named_in(file: &Path) -> Result<Option<Vec<u8>>> {
    // Opening a pipe would wait for its writer.
    let opened = match OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(file) {
        Ok(opened) if opened.metadata().is_ok_and(|metadata| metadata.is_file()) => opened,
        Ok(_) => return Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", file)(error)),
    };
    let mut text = Vec::new();
    opened.take(MAX_NAMING_BYTES).read_to_end(&mut text).map_err(Error::io("read", file))?;
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    text.truncate(end);
    Ok(Some(text))
}
