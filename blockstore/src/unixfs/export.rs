//! From a DAG in a store to a directory or a file.
//!
//! A tree is written under a hidden name (see `staging`) by several threads, and moved into its place (see `place`) when it
//! is whole: no reader ever sees half of it. Symlinks are made last, so that nothing is ever written through one. Everything
//! is named relative to open directories (see `dir`), so no path is too long because of where the tree goes.
//! [`export_directory`] lists and checks the tree before it writes anything; [`stage_directory`] does so while it writes,
//! for a tree that is still arriving, and leaves the renaming to its caller. [`update_directory`] makes an older tree
//! equal to a newer one (see `update`), and [`export_tarball`] writes a tree as an archive.

mod dir;
mod former;
mod jobs;
mod lock;
mod place;
mod staging;
mod tar;
mod tarball;
mod update;
mod write;

use std::{num::NonZeroUsize, path::Path, sync::Arc};

pub use former::{Former, MAX_FORMER_ENTRIES};
#[cfg(test)]
pub(super) use lock::testing;
use place::Place;
pub use place::is_vacant;
pub use tar::export_tar;
pub use tarball::{Compression, export_tarball};
pub use update::{MAX_UNTRACKED, UpdateBegin, UpdateOptions, Updated, update_directory};

use super::{Entry, Tree, TreeLimits, list_tree, tree::TreeWalk};
use crate::{Blockstore, Cid, Error, Result};

/// How to export.
#[derive(Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// Paths of files to make executable, beside those whose UnixFS mode says so. Others are ignored.
    pub executables: &'a [String],
    /// Bounds on the tree.
    pub limits: TreeLimits,
    /// Threads that read, check and write; one per processor, from 2 to 8, if not given.
    pub threads: Option<NonZeroUsize>,
    /// Is told of progress, from the calling thread.
    pub progress: Option<&'a (dyn Fn(ExportProgress) + Sync)>,
    /// Asked between files and parts of files: once it says yes the export ends with
    /// [`Error::Cancelled`], and what was written for it is removed.
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl ExportOptions<'_> {
    /// An error if the export is to end.
    fn go_on(&self) -> Result<()> {
        match self.cancelled {
            Some(cancelled) if cancelled() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for ExportOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportOptions").field("limits", &self.limits).field("threads", &self.threads).finish()
    }
}

/// How far an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportProgress {
    /// Bytes written.
    pub bytes: u64,
    /// Bytes to be written, as far as the tree is known.
    pub total_bytes: u64,
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Number of files.
    pub files: u64,
    /// Sum of their lengths, in bytes.
    pub size_bytes: u64,
}

/// Writes the tree or file `root` to `destination`, which must not exist or, for a tree, be an empty directory: that is
/// filled, and stays the directory it was. Directories that are missing on the way are made.
///
/// # Errors
/// What [`list_tree`] returns; [`Error::Exists`]; [`Error::Cancelled`]; an I/O error. Nothing stays behind.
pub fn export_directory<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let tree = list_tree(store, root, &options.limits)?;
    export_tree(store, &tree, destination, options)
}

/// Writes a tree that was listed.
fn export_tree<S: Blockstore + ?Sized>(
    store: &S,
    tree: &Tree,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let place = Place::reserve(destination, tree.is_file())?;
    write::write_entries(store, tree.entries.iter().map(Ok), place.target(), destination, options)?;
    place.fill()?;
    Ok(Exported { files: tree.files, size_bytes: tree.size_bytes })
}

/// Writes the tree or file `root` under a hidden name beside or in `destination`, each entry as soon as it and what comes before it are there. From
/// a store that waits for blocks (see [`Arrivals`](crate::Arrivals)) it writes what arrives.
///
/// # Errors
/// As [`export_directory`]; what is wrong with an entry shows when it is its turn.
pub fn stage_directory<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Staged> {
    let mut former = Former::begin();
    let remembered = |entry: Result<Entry>| entry.map(Arc::new).inspect(|entry| former.add(entry));
    let mut entries = TreeWalk::new(store, root, &options.limits).map(remembered).peekable();
    let is_file = matches!(entries.peek(), Some(Ok(first)) if first.path.is_empty());
    if let Some(error) = entries.next_if(Result::is_err) {
        error?;
    }
    let place = Place::reserve(destination, is_file)?;
    let exported = write::write_entries(store, entries, place.target(), destination, options)?;
    Ok(Staged { place, exported, former })
}

/// A tree that is written under a hidden name. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    place: Place,
    exported: Exported,
    former: Former,
}

impl Staged {
    /// Moves it into its place.
    ///
    /// # Errors
    /// [`Error::Exists`] if the place was taken meanwhile; an I/O error.
    pub fn commit(self) -> Result<Exported> {
        self.commit_and_tell().map(|(exported, _)| exported)
    }

    /// The same; also says what stands there now, for a later update.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_and_tell(self) -> Result<(Exported, Former)> {
        let destination = self.place.destination().to_owned();
        self.place.fill()?;
        Ok((self.exported, self.former.stamped(&destination)))
    }
}
