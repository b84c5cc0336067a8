//! A directory that holds an older tree becomes equal to a newer one.
//!
//! Files that are there already are read and hashed, and those that match stay as they are. What differs or is missing
//! is first written whole into `.ggen-update-<random>` in the directory, and then moved into its place by renames: no
//! file is ever half there, and until the first rename nothing has changed. The name stays until the last rename, so a
//! directory whose update was killed in between shows it; the next update removes it and finishes the work. A file where
//! the tree has a directory gives way; what is not of the tree (a *stranger*) is left alone and told.
//!
//! The directory is locked meanwhile: of two updates one fails. Somebody else who moves things about in it at the same
//! time may make the update fail, as with any program that works in a directory.

mod compare;
mod plan;

use std::{
    fs::{self, File, Permissions},
    hash::{BuildHasher, RandomState},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use plan::Plan;

use super::{
    ExportOptions, Exported, export_tree,
    place::{Place, is_random},
    write::{with_execution, write_entries},
};
use crate::{
    Blockstore, Cid, Error, Result,
    unixfs::{Tree, list_tree},
};

/// Most strangers that an update names.
pub const MAX_STRANGERS: usize = 1000;

/// Beginning of the name under which what is new is written.
const STAGING_PREFIX: &str = ".ggen-update-";
/// What is new, and what has to give way for it.
const NEW: &str = "new";
const OLD: &str = "old";

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// The tree.
    pub exported: Exported,
    /// Files of it that were there already, and stayed.
    pub files_kept: u64,
    /// What is in the directory and not in the tree, in order; of a directory only its own path. At most
    /// [`MAX_STRANGERS`].
    pub strangers: Vec<String>,
    /// Strangers beyond these.
    pub more_strangers: u64,
}

/// Makes `destination` equal to the tree or file `root`, but for strangers. Where there is nothing, it is exported.
///
/// # Errors
/// What [`list_tree`] returns; [`Error::Exists`] for a file where the tree has its root, or the other way about, and for
/// a directory with something in it where the tree has a file; an I/O error.
pub fn update_directory<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<Updated> {
    let tree = list_tree(store, root, &options.limits)?;
    let is_there = match fs::metadata(destination) {
        Ok(metadata) if tree.is_file() && metadata.is_file() => true,
        Ok(metadata) if !tree.is_file() && metadata.is_dir() => true,
        Ok(_) => return Err(Error::Exists { path: destination.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("read", destination)(error)),
    };
    if !is_there {
        let exported = export_tree(store, &tree, destination, options)?;
        return Ok(Updated { exported, ..Updated::default() });
    }
    let _lock = lock(destination)?;
    if !tree.is_file() {
        remove_abandoned(destination)?;
    }
    let plan = Plan::make(store, &tree, destination, options)?;
    let strangers = if tree.is_file() { plan::Strangers::default() } else { plan::strangers(&tree, destination)? };
    if tree.is_file() {
        replace_file(store, &tree, &plan, destination, options)?;
    } else {
        apply(store, &plan, destination, options)?;
    }
    let plan::Strangers { named, more } = strangers;
    let exported = Exported { files: tree.files, size_bytes: tree.size_bytes };
    Ok(Updated { exported, files_kept: plan.files_kept, strangers: named, more_strangers: more })
}

/// Takes the destination for this update alone.
fn lock(destination: &Path) -> Result<File> {
    let file = File::open(destination).map_err(Error::io("open", destination))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Error::io("update", destination)(io::Error::other("another update of it is under way")))
        }
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", destination)(error)),
    }
}

/// Removes what killed updates have left. The destination is locked: nobody is at work there.
fn remove_abandoned(destination: &Path) -> Result<()> {
    for entry in fs::read_dir(destination).map_err(Error::io("list", destination))? {
        let entry = entry.map_err(Error::io("list", destination))?;
        if entry.file_name().to_str().is_some_and(is_staging) {
            fs::remove_dir_all(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Whether an update gives such names.
fn is_staging(name: &str) -> bool {
    name.strip_prefix(STAGING_PREFIX).is_some_and(is_random)
}

/// Writes the only file of a tree beside its place, and renames it into it.
fn replace_file<S: Blockstore + ?Sized>(
    store: &S,
    tree: &Tree,
    plan: &Plan<'_>,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<()> {
    set_modes(plan, destination)?;
    if plan.writes.is_empty() {
        return Ok(());
    }
    let place = Place::beside(destination, true)?;
    write_entries(store, tree.entries.iter().map(Ok), place.partial(), options)?;
    place.replace()
}

/// Writes what is missing, and moves it into its place.
fn apply<S: Blockstore + ?Sized>(
    store: &S,
    plan: &Plan<'_>,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> Result<()> {
    if !plan.moves.is_empty() {
        let staging = Staging::make(destination)?;
        write_entries(store, plan.writes.iter().copied().map(Ok), &staging.path.join(NEW), options)?;
        staging.begin_moving().fill(plan, destination)?;
    }
    set_modes(plan, destination)
}

fn set_modes(plan: &Plan<'_>, destination: &Path) -> Result<()> {
    for (entry, executable) in &plan.modes {
        let path = super::write::join(destination, entry);
        let mode = fs::metadata(&path).map_err(Error::io("read", &path))?.permissions().mode();
        let mode = Permissions::from_mode(with_execution(mode, *executable));
        fs::set_permissions(&path, mode).map_err(Error::io("change the mode of", &path))?;
    }
    Ok(())
}

/// The directory in which what is new is made. Removed when it is dropped, as long as nothing was moved out of it.
struct Staging {
    path: PathBuf,
    moving: bool,
}

impl Staging {
    fn make(destination: &Path) -> Result<Self> {
        let random = RandomState::new().hash_one(destination);
        let path = destination.join(format!("{STAGING_PREFIX}{random:016x}"));
        let staging = Self { path, moving: false };
        for path in [staging.path.clone(), staging.path.join(NEW), staging.path.join(OLD)] {
            fs::create_dir(&path).map_err(Error::io("create", path))?;
        }
        Ok(staging)
    }

    /// From here on it stays until everything is in its place, to be seen if that does not come about.
    fn begin_moving(mut self) -> Self {
        self.moving = true;
        self
    }

    fn fill(mut self, plan: &Plan<'_>, destination: &Path) -> Result<()> {
        for (number, step) in plan.moves.iter().enumerate() {
            let (from, to) = (self.path.join(NEW).join(step.path), destination.join(step.path));
            if step.gives_way {
                let old = self.path.join(OLD).join(number.to_string());
                fs::rename(&to, old).map_err(Error::io("replace", &to))?;
            }
            fs::rename(&from, &to).map_err(Error::io("replace", &to))?;
        }
        self.moving = false;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.moving
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove what an update has left");
        }
    }
}
