//! A directory that holds an older tree becomes equal to a newer one.
//!
//! Files that are there already are read and hashed, and those that match stay as they are. What differs or is missing
//! is first written whole into `.ggen-update-<random>` in the directory, and then moved into its place by renames: no
//! file is ever half there, and until the first rename nothing has changed. The name stays until the last rename, so a
//! directory whose update was killed in between shows it; the next update removes it and finishes the work. A file where
//! the tree has a directory gives way.
//!
//! What the former tree had ([`Former`]) and the new one has not is removed. What neither has (an \*untracked file\*) is left alone
//! and told. A file that would be replaced or removed and is not as the former tree had it, or of which that is not known,
//! is a *local edit*: it is named, and the update refused, unless it is forced.
//!
//! The directory is locked meanwhile, where its file system has locks: of two updates one fails. Somebody else who moves
//! things about in it at the same time may make the update fail, as with any program that works in a directory.

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

/// Beginning of the name under which what is new is written.
const STAGING_PREFIX: &str = ".ggen-update-";
/// What is new, and what has to give way for it.
const NEW: &str = "new";
const OLD: &str = "old";

/// See [`UpdateOptions::begin`].
pub type UpdateBegin<'a> = dyn Fn(&Former) -> Result<()> + 'a;

/// How to update.
#[derive(Clone, Copy)]
pub struct UpdateOptions<'a> {
    /// How to write.
    pub export: ExportOptions<'a>,
    /// What was written there before, as far as it is known.
    pub former: &'a Former,
    /// Replace and remove local edits.
    pub force: bool,
    /// Called before anything of the former tree is changed, with what may be there from then on. Its error ends the update,
    /// which has changed nothing then.
    pub begin: Option<&'a UpdateBegin<'a>>,
}

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// The tree.
    pub exported: Exported,
    /// Files of it that were there already, and stayed.
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

/// The first of some paths.
fn named(paths: &[&str]) -> Vec<String> {
    paths.iter().take(MAX_UNTRACKED).map(|path| (*path).to_owned()).collect()
}

/// Opens the place of an older tree and takes it for this update alone; `None` if nothing is there.
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
            // A symlink stays, and what it leads to is replaced.
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

/// Removes what killed updates have left. The directory is locked: no other update is under way.
fn remove_abandoned(spot: &Spot) -> Result<()> {
    for (name, _) in spot.dir.names(Path::new("")).map_err(Error::io("list", spot.shown("")))? {
        if name.to_str().is_some_and(is_staging) {
            let remove = spot.dir.remove_all(Path::new(&name));
            remove.map_err(Error::io("remove", spot.shown("").join(&name)))?;
        }
    }
    Ok(())
}

/// Whether an update gives such names.
fn is_staging(name: &str) -> bool {
    name.strip_prefix(STAGING_PREFIX).is_some_and(|random| is_random(random.as_bytes()))
}

/// Writes the only file of a tree beside its place, and renames it into it.
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

/// Writes what is missing, moves it into its place, and removes what is of a former tree.
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
        // With something in it, it stays.
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

/// The directory in which what is new is made. Removed when it is dropped, as long as nothing was moved out of it.
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

    /// From the first change on it stays until everything is in its place, to be seen if that does not come about.
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
