//! Exporting a DAG in a store to a directory or a file.
//!
//! Several threads write a tree under a hidden name (see `staging`). It is moved to its destination (see `place`) when
//! it is complete, so that no reader sees a part of it. Symlinks are created last, so that nothing is written through
//! one. All paths are relative to open directories (see `dir`), so the length of the destination's path does not
//! matter. [`export_directory`] lists and checks the tree before it writes anything. [`stage_directory`] does so while
//! it writes, for a tree that is still arriving, and leaves the rename to its caller. [`update_directory`] makes an
//! older tree equal to a newer one (see `update`), and [`export_tarball`] writes a tree as an archive.

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

/// Options of an export.
#[derive(Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// Paths of files to make executable, in addition to those whose UnixFS mode is executable. Unknown paths are
    /// ignored.
    pub executables: &'a [String],
    /// Limits on the tree.
    pub limits: TreeLimits,
    /// Threads that read, check and write; one per processor, from 2 to 8,by default.
    pub threads: Option<NonZeroUsize>,
    /// Receives progress, on the calling thread.
    pub progress: Option<&'a (dyn Fn(ExportProgress) + Sync)>,
    /// Called between files and parts of files. If it returns true, the export ends with [`Error::Cancelled`], and what
    /// it has written is removed.
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl ExportOptions<'_> {
    /// Returns an error if the export is cancelled.
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

/// Progress of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportProgress {
    /// Bytes written.
    pub bytes: u64,
    /// Bytes to write, as far as the tree is known.
    pub total_bytes: u64,
}

/// Result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Number of files.
    pub files: u64,
    /// Sum of the files' lengths, in bytes.
    pub size_bytes: u64,
}

/// Writes the tree or file `root` to `destination`, which must not exist or, for a tree, be an empty directory. An
/// empty directory is filled and keeps its identity. Missing parent directories are created.
///
/// # Errors
/// The errors of [`list_tree`]; [`Error::Exists`]; [`Error::Cancelled`]; an I/O error. Nothing is left behind.
pub fn export_directory<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let tree = list_tree(store, root, &options.limits)?;
    export_tree(store, &tree, destination, options)
}

/// Writes a tree that has been listed.
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

/// Writes the tree or file `root` under a hidden name beside or in `destination`. Each entry is written as soon as it
/// and all entries before it have arrived. With a store that waits for blocks (see [`Arrivals`](crate::Arrivals)), it
/// writes blocks as they arrive.
///
/// # Errors
/// As [`export_directory`]; an invalid entry is reported when the export reaches it.
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

/// A tree that was written under a hidden name. Dropping it removes the tree.
#[derive(Debug)]
pub struct Staged {
    place: Place,
    exported: Exported,
    former: Former,
}

impl Staged {
    /// Moves the tree to its destination.
    ///
    /// # Errors
    /// [`Error::Exists`] if the destination exists by now; an I/O error.
    pub fn commit(self) -> Result<Exported> {
        self.commit_and_tell().map(|(exported, _)| exported)
    }

    /// As [`commit`](Self::commit), and also returns a record of what was written, for a later update.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_and_tell(self) -> Result<(Exported, Former)> {
        let destination = self.place.destination().to_owned();
        self.place.fill()?;
        Ok((self.exported, self.former.stamped(&destination)))
    }
}
