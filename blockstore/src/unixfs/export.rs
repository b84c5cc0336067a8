//! From a DAG in a store to a directory or a file.
//!
//! The tree is listed and checked first. Then it is written beside its place, as `.<name>.partial-<random>`, by several
//! threads, and renamed into its place when it is whole: no reader ever sees half of it. Symlinks are made last, so that
//! nothing is ever written through one.

mod jobs;
mod place;
mod tar;
mod write;

use std::{num::NonZeroUsize, path::Path};

use place::Place;
pub use tar::export_tar;

use super::{TreeLimits, list_tree};
use crate::{Blockstore, Cid, Result};

/// How to export.
#[derive(Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// Paths of files to make executable, beside those whose UnixFS mode says so. Others are ignored.
    pub executables: &'a [String],
    /// Bounds on the tree.
    pub limits: TreeLimits,
    /// Threads that read, check and write; one per processor, up to 8, if not given.
    pub threads: Option<NonZeroUsize>,
    /// Is told of progress, from the calling thread.
    pub progress: Option<&'a (dyn Fn(ExportProgress) + Sync)>,
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
    /// Bytes to be written.
    pub total_bytes: u64,
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number of files.
    pub files: u64,
    /// Sum of their lengths, in bytes.
    pub size_bytes: u64,
}

/// Writes the tree or file `root` to `destination`, which must not exist or be an empty directory; the directory it
/// lies in must exist.
///
/// # Errors
/// What [`list_tree`] returns; [`Error::Exists`](crate::Error::Exists); an I/O error. Nothing stays behind.
pub fn export_directory<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported> {
    let tree = list_tree(store, root, &options.limits)?;
    let place = Place::reserve(destination, tree.is_file())?;
    write::write_tree(store, &tree, place.partial(), options)?;
    place.fill()?;
    Ok(Exported { files: tree.files, size_bytes: tree.size_bytes })
}
