//! What goes into a package: the files of a directory, without what its ignore files and version control hold back.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use ignore::{DirEntry, WalkBuilder};

use super::{
    name::{MAX_ENTRIES, MAX_TREE_PATH_BYTES, case_collision, check_link, check_name, check_path, is_vcs, join},
    stamp::{FileSystem, RealFileSystem, Stamp},
};
use crate::{Error, Refusal, Result};

/// The ignore file of this project, read beside `.gitignore` on every level, and stronger than it.
const IGNORE_FILE: &str = ".ggenignore";

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path in the tree, with `/` between names.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link inside the tree.
    Symlink {
        /// Where it points to, relative to its directory.
        target: String,
    },
}

/// The entries of a tree, every directory before what is in it, the root left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Listed>,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' lengths, in bytes.
    pub size_bytes: u64,
    path_bytes: usize,
}

impl Listing {
    pub(crate) fn push(&mut self, entry: Listed) -> Result<()> {
        self.path_bytes += entry.path.len();
        if self.entries.len() >= MAX_ENTRIES || self.path_bytes > MAX_TREE_PATH_BYTES {
            return Err(Error::LimitExceeded { what: "files and directories", limit: MAX_ENTRIES as u64 });
        }
        if let EntryKind::File { size, .. } = entry.kind {
            self.files += 1;
            self.size_bytes += size;
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Checks that no two names of one directory differ by case alone.
    pub(crate) fn check_case(&self) -> Result<()> {
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for entry in &self.entries {
            let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
            names.entry(parent).or_default().push(name);
        }
        match names.into_iter().find_map(|(parent, names)| Some((parent, case_collision(names)?))) {
            Some((parent, (name, refusal))) => Err(Error::refused(join(parent, name), refusal)),
            None => Ok(()),
        }
    }

    /// The paths of executable files, sorted.
    pub fn executables(&self) -> Vec<String> {
        let executable = |entry: &&Listed| matches!(entry.kind, EntryKind::File { executable: true, .. });
        let mut paths: Vec<_> = self.entries.iter().filter(executable).map(|entry| entry.path.clone()).collect();
        paths.sort_unstable();
        paths
    }
}

/// Lists what an import of `directory` takes in, and reads no file but the ignore files.
///
/// Hidden files are in, version control directories (`.git`, `.hg`, `.jj`, `.svn`) are not. `.gitignore` and
/// `.ggenignore` files of the tree count on their level and below; nothing outside the tree does.
///
/// # Errors
/// [`Error::Refused`] for an unsafe entry; an I/O error.
pub fn list_directory(directory: &Path) -> Result<Listing> {
    list(&RealFileSystem, directory).map(|(listing, _)| listing)
}

/// As [`list_directory`], with the stamp of each entry.
pub(crate) fn list(system: &dyn FileSystem, directory: &Path) -> Result<(Listing, Vec<Stamp>)> {
    let metadata = fs::metadata(directory).map_err(Error::io("read", directory))?;
    if !metadata.is_dir() {
        return Err(Error::io("list", directory)(io::ErrorKind::NotADirectory.into()));
    }
    let (mut listing, mut stamps) = (Listing::default(), Vec::new());
    let walk = WalkBuilder::new(directory)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .sort_by_file_name(OsStr::cmp)
        .filter_entry(|entry| entry.depth() == 0 || !is_vcs(entry.file_name().as_bytes()))
        .build();
    for entry in walk {
        let entry = entry.map_err(|error| walk_error(directory, error))?;
        if let Some(error) = entry.error() {
            return Err(ignore_error(entry.path(), error));
        }
        if entry.depth() > 0 {
            let (listed, metadata) = list_entry(directory, &entry)?;
            stamps.push(system.stamp(&listed.path, &metadata));
            listing.push(listed)?;
        }
    }
    listing.check_case()?;
    Ok((listing, stamps))
}

fn list_entry(directory: &Path, entry: &DirEntry) -> Result<(Listed, fs::Metadata)> {
    let relative = entry.path().strip_prefix(directory).unwrap_or(entry.path());
    let refused = |refusal| Error::refused(relative.to_string_lossy(), refusal);
    check_name(entry.file_name().as_bytes()).map_err(refused)?;
    let path = relative.to_str().ok_or_else(|| refused(Refusal::NotUtf8))?.to_owned();
    check_path(&path).map_err(refused)?;
    let metadata = fs::symlink_metadata(entry.path()).map_err(Error::io("read", entry.path()))?;
    let file_type = metadata.file_type();
    let kind = if file_type.is_dir() {
        EntryKind::Directory
    } else if file_type.is_file() {
        EntryKind::File { size: metadata.len(), executable: metadata.mode() & 0o100 != 0 }
    } else if file_type.is_symlink() {
        let target = fs::read_link(entry.path()).map_err(Error::io("read", entry.path()))?;
        check_link(&path, target.as_os_str().as_bytes()).map_err(refused)?;
        EntryKind::Symlink { target: target.to_string_lossy().into_owned() }
    } else {
        return Err(refused(Refusal::Special { what: special(file_type) }));
    };
    Ok((Listed { path, kind }, metadata))
}

fn special(file_type: fs::FileType) -> &'static str {
    if file_type.is_fifo() {
        "a pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// An entry that the walk could not read.
fn walk_error(directory: &Path, error: ignore::Error) -> Error {
    let path = error_path(&error).unwrap_or(directory).to_owned();
    let text = error.to_string();
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other(text));
    Error::Io { action: "list", path, source }
}

/// An ignore file that cannot be read or understood: going on could publish what it was meant to hold back.
fn ignore_error(entry: &Path, error: &ignore::Error) -> Error {
    let path = error_path(error).unwrap_or(entry);
    match error.io_error() {
        Some(source) => Error::io("read", path)(io::Error::new(source.kind(), source.to_string())),
        None => Error::refused(path.to_string_lossy(), Refusal::IgnorePattern { reason: error.to_string() }),
    }
}

fn error_path(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => error_path(err),
        ignore::Error::Partial(errors) => errors.iter().find_map(error_path),
        _ => None,
    }
}
