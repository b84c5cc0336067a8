//! Lists the contents of a package: the files of a directory, except those that ignore files and version control
//! exclude.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use super::{
    finding::Finding,
    ignore::Ignore,
    name::{MAX_ENTRIES, MAX_TREE_PATH_BYTES, case_collision, check_link, check_name, check_path, is_vcs, join},
    stamp::{FileSystem, RealFileSystem, Stamp},
};
use crate::{Error, Refusal, Result};

/// Looks up an entry of one directory by its name.
pub type LookUp<'a> = dyn Fn(&str) -> Option<EntryKind> + 'a;

/// The type of [`Selection::leaves_out`].
pub type LeavesOut<'a> = dyn Fn(&LookUp<'_>) -> Option<&'static str> + Sync + 'a;

/// Which entries of a tree are imported, in addition to the rules of its ignore files.
#[derive(Clone, Copy, Default)]
pub struct Selection<'a> {
    /// Names in the root that ignore files cannot exclude.
    pub always: &'a [&'a str],
    /// Called for every directory below the root, with a lookup of its entries. If the directory is to be left out with
    /// all its contents, it returns a description.
    pub leaves_out: Option<&'a LeavesOut<'a>>,
    /// The user's own ignore file (git's `core.excludesFile`), which applies only in git work trees. A relative path
    /// begins at the root of the work tree.
    pub user_ignore_file: Option<&'a Path>,
}

impl fmt::Debug for Selection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("always", &self.always).finish_non_exhaustive()
    }
}

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path in the tree, with `/` between names.
    pub path: String,
    /// Its type.
    pub kind: EntryKind,
}

/// The type of an entry of a tree.
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
        /// Its target, relative to its directory.
        target: String,
    },
}

/// The entries of a tree, every directory before its contents, without the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Listed>,
    /// Number of files.
    pub files: u64,
    /// Sum of the files' lengths, in bytes.
    pub size_bytes: u64,
    /// Directories that the [`Selection`] left out with all their contents.
    pub left_out: Vec<Finding>,
    /// Ignore files that were not read because they are symlinks: their paths in the tree, or from the root of the file
    /// system for those above it.
    pub linked_ignore_files: Vec<String>,
    /// The kinds of ignore files (their name) that exclude the whole tree from above. Files of that kind above the tree
    /// are then not applied.
    pub ignored_by: Vec<&'static str>,
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

    /// Checks that no file system treats two names in one directory as equal.
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

/// Lists what an import of `directory` includes. Only ignore files are read.
///
/// Hidden files are included, version control directories (`.git`, `.hg`, `.jj`, `.svn`) are not. `.gitignore` and
/// `.ggenignore` files apply to their directory and below, by git's rules: those of the tree, and in a git work tree
/// those of the directories above it, and the repository's `info/exclude`.
///
/// # Errors
/// [`Error::Refused`] for an unsafe entry; an I/O error.
pub fn list_directory(directory: &Path) -> Result<Listing> {
    list(&RealFileSystem, directory, &Selection::default()).map(|(listing, _)| listing)
}

/// As [`list_directory`], with the stamp of each entry.
pub(crate) fn list(
    system: &dyn FileSystem,
    directory: &Path,
    selection: &Selection<'_>,
) -> Result<(Listing, Vec<Stamp>)> {
    let metadata = fs::metadata(directory).map_err(Error::io("read", directory))?;
    if !metadata.is_dir() {
        return Err(Error::io("list", directory)(io::ErrorKind::NotADirectory.into()));
    }
    let (ignore, above) = Ignore::above(directory, selection.user_ignore_file)?;
    let links = above.links.iter().map(|link| link.to_string_lossy().into_owned()).collect();
    let listing = Listing { linked_ignore_files: links, ignored_by: above.keep_all_out, ..Listing::default() };
    let mut walk = Walk { system, selection, ignore, listing, stamps: Vec::new() };
    walk.directory(directory, "", Names::of(directory)?)?;
    walk.listing.check_case()?;
    Ok((walk.listing, walk.stamps))
}

/// A listing in progress.
struct Walk<'a> {
    system: &'a dyn FileSystem,
    selection: &'a Selection<'a>,
    ignore: Ignore,
    listing: Listing,
    stamps: Vec<Stamp>,
}

impl Walk<'_> {
    /// Lists the directory at `place`, whose path in the tree is `path`. [`check_path`] bounds the depth.
    fn directory(&mut self, place: &Path, path: &str, names: Names) -> Result<()> {
        let links = self.ignore.enter(place, path.as_bytes(), |name| names.contain(name))?;
        self.listing.linked_ignore_files.extend(links.into_iter().map(|name| join(path, name)));
        for (name, file_type) in names.0 {
            self.entry(&place.join(&name), path, &name, file_type)?;
        }
        self.ignore.leave();
        Ok(())
    }

    fn entry(&mut self, place: &Path, parent: &str, name: &OsStr, file_type: fs::FileType) -> Result<()> {
        let (bytes, is_directory) = (name.as_bytes(), file_type.is_dir());
        if is_vcs(bytes) {
            return Ok(());
        }
        let is_wanted = parent.is_empty() && self.selection.always.iter().any(|always| always.as_bytes() == bytes);
        let path = match parent {
            "" => bytes.to_vec(),
            parent => [parent.as_bytes(), b"/", bytes].concat(),
        };
        if !is_wanted && self.ignore.keeps_out(&path, is_directory) {
            return Ok(());
        }
        if !is_directory {
            return self.push(place, path, false).map(drop);
        }
        let names = Names::of(place);
        if let Some(what) = names.as_ref().ok().and_then(|names| self.left_out_as(place, names)) {
            self.listing.left_out.push(Finding { path: String::from_utf8_lossy(&path).into_owned(), what });
            return Ok(());
        }
        let path = self.push(place, path, true)?;
        self.directory(place, &path, names?)
    }

    /// Adds an entry to the listing. Returns its path.
    ///
    /// # Errors
    /// Those of [`list_entry`]; [`Refusal::Changed`] if it became a directory, or no longer is one.
    fn push(&mut self, place: &Path, path: Vec<u8>, is_directory: bool) -> Result<String> {
        let (listed, metadata) = list_entry(place, path)?;
        if (listed.kind == EntryKind::Directory) != is_directory {
            return Err(Error::refused(&listed.path, Refusal::Changed));
        }
        self.stamps.push(self.system.stamp(&listed.path, &metadata));
        let path = listed.path.clone();
        self.listing.push(listed)?;
        Ok(path)
    }

    fn left_out_as(&self, directory: &Path, names: &Names) -> Option<&'static str> {
        let look_up = |name: &str| {
            let place = names.contain(name).then(|| directory.join(name))?;
            Some(list_entry(&place, name.as_bytes().to_vec()).ok()?.0.kind)
        };
        self.selection.leaves_out.and_then(|leaves_out| leaves_out(&look_up))
    }
}

/// The names in a directory, ordered by their bytes. They tell which files are worth opening, without a system call
/// for each.
struct Names(Vec<(OsString, fs::FileType)>);

impl Names {
    fn of(directory: &Path) -> Result<Self> {
        let failed = || Error::io("list", directory);
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            names.push((entry.file_name(), entry.file_type().map_err(failed())?));
        }
        names.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Ok(Self(names))
    }

    fn contain(&self, name: &str) -> bool {
        self.0.binary_search_by(|(listed, _)| listed.as_bytes().cmp(name.as_bytes())).is_ok()
    }
}

fn list_entry(place: &Path, path: Vec<u8>) -> Result<(Listed, fs::Metadata)> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    check_name(name).map_err(|refusal| Error::refused(String::from_utf8_lossy(&path), refusal))?;
    let path = String::from_utf8(path)
        .map_err(|error| Error::refused(String::from_utf8_lossy(error.as_bytes()), Refusal::NotUtf8))?;
    let refused = |refusal| Error::refused(path.as_str(), refusal);
    check_path(&path).map_err(refused)?;
    let metadata = fs::symlink_metadata(place).map_err(Error::io("read", place))?;
    let file_type = metadata.file_type();
    let kind = if file_type.is_dir() {
        EntryKind::Directory
    } else if file_type.is_file() {
        EntryKind::File { size: metadata.len(), executable: metadata.mode() & 0o100 != 0 }
    } else if file_type.is_symlink() {
        let target = fs::read_link(place).map_err(Error::io("read", place))?;
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
