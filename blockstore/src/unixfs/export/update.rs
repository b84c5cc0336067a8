//! Updates a directory with an older tree to a newer one.
//!
//! Existing files are read and hashed, and those that match stay. Different or missing files are first written
//! completely into `.ggen-update-<random>` in the directory, and then renamed to their destination. No file is ever
//! partially written, and until the first rename nothing has changed. The staging directory stays until the last
//! rename, so it shows that an update was killed; the next update removes it and completes the work. A file is replaced
//! if the tree has a directory of its name.
//!
//! Files of the former tree ([`Former`]) that the new tree lacks are removed. Files of neither tree (*untracked files*)
//! are left alone and reported. A file that would be replaced or removed, and that differs from the former tree or
//! whose former state is unknown, is a *local edit*: it is reported, and the update is refused unless it is forced.
//!
//! The directory is locked meanwhile, if its file system supports locks; of two concurrent updates one fails. Another
//! program that moves files in the directory at the same time may make the update fail.

mod compare;
mod edits;
mod plan;
mod spot;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
};

use plan::Plan;
pub(super) use spot::Spot;

use super::{
    ExportOptions, Exported, Former,
    dir::Dir,
    export_tree,
    lock::{Lock, try_lock},
    place::Place,
    staging::{Target, is_random},
    write::{with_execution, write_entries},
};
use crate::{
    Blockstore, Cid, Error, Result,
    unixfs::{Tree, list_tree},
};

/// Most untracked files that an update names, and most edits.
pub const MAX_UNTRACKED: usize = 1000;

/// Prefix of the name of the staging directory.
const STAGING_PREFIX: &str = ".ggen-update-";
/// Subdirectories for new entries, and for entries that are moved out of their way.
const NEW: &str = "new";
const OLD: &str = "old";

/// The type of [`UpdateOptions::begin`].
pub type UpdateBegin<'a> = dyn Fn(&Former) -> Result<()> + 'a;

/// Options of an update.
#[derive(Clone, Copy)]
pub struct UpdateOptions<'a> {
    /// Options for writing.
    pub export: ExportOptions<'a>,
    /// What was written there before, if known.
    pub former: &'a Former,
    /// Replace and remove local edits.
    pub force: bool,
    /// Called before anything of the former tree is changed, with the record of what may exist from then on. If it
    /// returns an error, the update ends without changes.
    pub begin: Option<&'a UpdateBegin<'a>>,
}

/// Result of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// The new tree.
    pub exported: Exported,
    /// Files of the tree that existed already and were kept.
    pub files_kept: u64,
    /// Files and symlinks of a former tree that were removed.
    pub files_removed: u64,
    /// Local edits that were replaced or removed, in order: at most [`MAX_UNTRACKED`].
    pub overwritten: Vec<String>,
    /// What is in the directory and neither of the tree nor of a former one, in order; of a directory only its own path.
    /// At most [`MAX_UNTRACKED`].
    pub untracked: Vec<String>,
    /// Untracked files beyond these.
    pub more_untracked: u64,
    /// What stands there now, for a later update.
    pub former: Former,
}

/// Makes `destination` equal to the tree or file `root`, but for untracked files. Where there is nothing, it is exported. A
/// symlink at the end of the path is followed.
///
/// # Errors
/// What [`list_tree`] returns; [`Error::Edited`]; [`Error::Exists`] for a file where the tree has its root, or the other
/// way about, and for a directory with untracked files in it where the tree has a file; an I/O error.
pub fn update_directory<S: Blockstore + ?Sized>(
    store: &S,
    root: Cid,
    destination: &Path,
    options: &UpdateOptions<'_>,
) -> Result<Updated> {
    let tree = list_tree(store, root, &options.export.limits)?;
    let written = Former::of(&tree.entries);
    let Some((spot, lock)) = occupied(&tree, destination)? else {
        let exported = export_tree(store, &tree, destination, &options.export)?;
        return Ok(Updated { exported, former: written.stamped(destination), ..Updated::default() });
    };
    if !tree.is_file() && lock == Lock::Held {
        remove_abandoned(&spot)?;
    }
    let plan = Plan::make(store, &tree, options.former, &spot, &options.export)?;
    if !plan.edits.is_empty() && !options.force {
        let edits = named(&plan.edits);
        let (more, is_known) = ((plan.edits.len() - edits.len()) as u64, options.former.is_known());
        return Err(Error::Edited { path: destination.to_owned(), edits, more, is_known });
    }
    let untracked = if tree.is_file() { plan::Untracked::default() } else { plan::untracked(&tree, &plan, &spot)? };
    let begin = || options.begin.map_or(Ok(()), |begin| begin(&options.former.or(&written)));
    if tree.is_file() {
        replace_file(store, &tree, &plan, &spot, &options.export, begin)?;
    } else {
        apply(store, &plan, &spot, &options.export, begin)?;
    }
    let plan::Untracked { named: untracked, more: more_untracked } = untracked;
    Ok(Updated {
        exported: Exported { files: tree.files, size_bytes: tree.size_bytes },
        files_kept: plan.files_kept,
        files_removed: plan.removals.len() as u64,
        overwritten: named(&plan.edits),
        untracked,
        more_untracked,
        former: written.stamped(destination),
    })
}

/// At most [`MAX_STRANGERS`] of the paths.
fn named(paths: &[&str]) -> Vec<String> {
    paths.iter().take(MAX_UNTRACKED).map(|path| (*path).to_owned()).collect()
}

/// Opens and locks the destination of an older tree; `None` if it does not exist.
fn occupied(tree: &Tree, destination: &Path) -> Result<Option<(Spot, Lock)>> {
    let exists = || Error::Exists { path: destination.to_owned() };
    let spot = match Dir::open(destination) {
        Ok(_) if tree.is_file() => return Err(exists()),
        Ok(dir) => Spot::of_directory(dir, destination),
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Error::io("open", destination)(error));
        }
        Err(_) => {
            let Ok(metadata) = fs::symlink_metadata(destination) else { return Ok(None) };
            // A symlink is kept, and its target is replaced.
            let real = match metadata.is_symlink() {
                true => fs::canonicalize(destination).map_err(|_| exists())?,
                false => destination.to_owned(),
            };
            if !tree.is_file() || !fs::metadata(&real).is_ok_and(|metadata| metadata.is_file()) {
                return Err(exists());
            }
            Spot::of_file(&real).map_err(Error::io("open", &real))?
        }
    };
    let lock = match tree.is_file() {
        true => spot.open_file("").and_then(try_lock),
        false => try_lock(&spot.dir),
    };
    match lock.map_err(Error::io("lock", destination))? {
        Lock::Busy => Err(Error::io("update", destination)(io::Error::other("another update of it is under way"))),
        lock => Ok(Some((spot, lock))),
    }
}

/// Removes the staging directories of killed updates. The directory is locked, so no other update is in progress.
fn remove_abandoned(spot: &Spot) -> Result<()> {
    for (name, _) in spot.dir.names(Path::new("")).map_err(Error::io("list", spot.shown("")))? {
        if name.to_str().is_some_and(is_staging) {
            let remove = spot.dir.remove_all(Path::new(&name));
            remove.map_err(Error::io("remove", spot.shown("").join(&name)))?;
        }
    }
    Ok(())
}

/// Returns whether the name is that of a staging directory.
fn is_staging(name: &str) -> bool {
    name.strip_prefix(STAGING_PREFIX).is_some_and(|random| is_random(random.as_bytes()))
}

/// Writes the single file of a tree beside its destination, and renames it.
fn replace_file<S: Blockstore + ?Sized>(
    store: &S,
    tree: &Tree,
    plan: &Plan<'_>,
    spot: &Spot,
    options: &ExportOptions<'_>,
    begin: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if plan.writes.is_empty() {
        return set_modes(plan, spot);
    }
    let destination = spot.shown("");
    let mut place = Place::beside(&destination)?;
    write_entries(store, tree.entries.iter().map(Ok), place.target(), &destination, options)?;
    begin()?;
    place.replace().map_err(Error::io("replace", &destination))
}

/// Writes missing entries, moves them to their destinations, and removes entries of the former tree.
fn apply<S: Blockstore + ?Sized>(
    store: &S,
    plan: &Plan<'_>,
    spot: &Spot,
    options: &ExportOptions<'_>,
    begin: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if !plan.moves.is_empty() || !plan.removals.is_empty() {
        let staging = Staging::make(spot)?;
        write_entries(store, plan.writes.iter().copied().map(Ok), &staging.new, &spot.shown(""), options)?;
        begin()?;
        staging.move_into_place(plan)?;
    }
    for directory in &plan.leavings {
        // A directory that is not empty is kept.
        drop(spot.dir.remove_dir(Path::new(directory)));
    }
    set_modes(plan, spot)
}

fn set_modes(plan: &Plan<'_>, spot: &Spot) -> Result<()> {
    for (entry, executable) in &plan.modes {
        let path = entry.path.as_str();
        let mode = spot.look(path)?.map_or(0, |stat| stat.st_mode & 0o7777);
        let changed = spot.set_mode(path, with_execution(mode, *executable));
        changed.map_err(|error| Error::io("change the mode of", spot.shown(path))(error))?;
    }
    Ok(())
}

/// The staging directory. Dropping it removes the directory, as long as nothing was moved out of it.
struct Staging<'a> {
    spot: &'a Spot,
    name: PathBuf,
    new: Target,
    old: Dir,
    moving: bool,
}

impl<'a> Staging<'a> {
    fn make(spot: &'a Spot) -> Result<Self> {
        let random = RandomState::new().hash_one(spot.shown(""));
        let name = PathBuf::from(format!("{STAGING_PREFIX}{random:016x}"));
        let made = spot.dir.make(&name).and_then(|()| {
            let inside = |name: &PathBuf| spot.dir.make(name).and_then(|()| spot.dir.open_below(name));
            Ok((inside(&name.join(NEW))?, inside(&name.join(OLD))?))
        });
        match made {
            Ok((new, old)) => Ok(Self { spot, name, new: Target::Directory(new), old, moving: false }),
            Err(error) => {
                remove(spot, &name);
                Err(Error::io("create", spot.shown("").join(&name))(error))
            }
        }
    }

    /// From the first change on, the staging directory is kept until all entries are moved, so that an interrupted
    /// update is visible.
    fn move_into_place(mut self, plan: &Plan<'_>) -> Result<()> {
        self.moving = true;
        let Target::Directory(new) = &self.new else { return Ok(()) };
        for path in &plan.removals {
            match self.spot.dir.remove_file(Path::new(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", self.spot.shown(path))(error));
                }
                _ => {}
            }
        }
        for (number, step) in plan.moves.iter().enumerate() {
            let path = Path::new(step.path);
            let failed = |error| Error::io("replace", self.spot.shown(step.path))(error);
            if step.gives_way {
                let old = number.to_string();
                self.spot.dir.rename(path, &self.old, Path::new(&old)).map_err(failed)?;
            }
            new.rename(path, &self.spot.dir, path).map_err(failed)?;
        }
        self.moving = false;
        Ok(())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.moving {
            remove(self.spot, &self.name);
        }
    }
}

fn remove(spot: &Spot, name: &Path) {
    if let Err(error) = spot.dir.remove_all(name) {
        tracing::warn!(name = %name.display(), %error, "cannot remove what an update has left");
    }
}
