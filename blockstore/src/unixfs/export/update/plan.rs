//! The plan of an update, made before anything is changed.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::{
    super::{ExportOptions, Former, dir::file_type, jobs::file_size, write::is_executable},
    MAX_UNTRACKED,
    compare::differing,
    edits::Judge,
    is_staging,
    spot::Spot,
};
use crate::{
    Blockstore, Error, Result,
    unixfs::{Entry, EntryKind, Tree},
};

/// The plan; see the module documentation.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Files that match and are kept.
    pub(super) files_kept: u64,
    /// Entries to write, and their parent directories; in the order of the tree.
    pub(super) writes: Vec<&'a Entry>,
    /// Entries to move to their destination when everything is written.
    pub(super) moves: Vec<Move<'a>>,
    /// Files that match except for the executable bit, with the required value.
    pub(super) modes: Vec<(&'a Entry, bool)>,
    /// Files and symlinks of a former tree that the new tree lacks.
    pub(super) removals: Vec<&'a str>,
    /// Directories likewise, the innermost first. They are removed if they are empty.
    pub(super) leavings: Vec<&'a str>,
    /// Entries that would be replaced or removed, and that may be local edits.
    pub(super) edits: Vec<&'a str>,
}

/// A file, a symlink, or a new directory with everything in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Move<'a> {
    pub(super) path: &'a str,
    /// Whether the existing entry must be moved away first, because a rename cannot replace it.
    pub(super) gives_way: bool,
}

/// The action for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Nothing,
    /// It may match, and must be read.
    Compare,
    Write(Found),
}

/// What exists at the path of an entry that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A file or symlink, which a rename can replace.
    File,
    /// A file or symlink where a directory will be.
    FileForDirectory,
    /// A directory where a file or symlink will be.
    Directory,
}

impl<'a> Plan<'a> {
    pub(super) fn make<S: Blockstore + ?Sized>(
        store: &S,
        tree: &'a Tree,
        former: &'a Former,
        spot: &Spot,
        options: &ExportOptions<'_>,
    ) -> Result<Self> {
        let mut todo = look_at_all(tree, spot)?;
        let compared = tree.entries.iter().zip(&todo).filter(|(_, todo)| **todo == Todo::Compare);
        let compared: Vec<_> = compared.map(|(entry, _)| entry).collect();
        let differing = differing(store, &compared, spot, options)?;
        let executables = options.executables.iter().map(String::as_str).collect();
        let mut plan = Self::default();
        for (entry, what) in tree.entries.iter().zip(&mut todo).filter(|(_, what)| **what == Todo::Compare) {
            match differing.contains(entry.path.as_str()) {
                true => *what = Todo::Write(Found::File),
                false => plan.keep(entry, spot, &executables)?,
            }
        }
        plan.judge(store, tree, &todo, former, spot, options)?;
        plan.check_blocked(tree, &todo, spot)?;
        plan.add_writes(tree, &todo);
        Ok(plan)
    }

    fn keep(&mut self, entry: &'a Entry, spot: &Spot, executables: &HashSet<&str>) -> Result<()> {
        self.files_kept += 1;
        let mode = spot.look(&entry.path)?.map_or(0, |stat| stat.st_mode);
        let executable = is_executable(entry, executables);
        let is_as_wanted = if executable { mode & 0o100 != 0 } else { mode & 0o111 == 0 };
        if !is_as_wanted {
            self.modes.push((entry, executable));
        }
        Ok(())
    }

    /// Determines which entries of a former tree are removed, and which local edits would be lost.
    fn judge<S: Blockstore + ?Sized>(
        &mut self,
        store: &S,
        tree: &'a Tree,
        todo: &[Todo],
        former: &'a Former,
        spot: &Spot,
        options: &ExportOptions<'_>,
    ) -> Result<()> {
        let paths: HashSet<&str> = tree.entries.iter().map(|entry| entry.path.as_str()).collect();
        let replaced = tree.entries.iter().zip(todo).filter_map(|(entry, todo)| match todo {
            Todo::Write(Found::File | Found::FileForDirectory) => Some(entry.path.as_str()),
            _ => None,
        });
        let mut lost: Vec<&'a str> = replaced.collect();
        let mut parents = Parents::default();
        let mut seen = HashSet::new();
        for kept in former.entries() {
            let path = kept.entry.path.as_str();
            // The single entry of a tree that is a file has an empty path.
            if paths.contains(path) || path.is_empty() || seen.contains(path) || !parents.are_real(path, spot)? {
                continue;
            }
            let Some(there) = spot.look(path)? else { continue };
            let is_directory = file_type(&there).is_dir();
            // If a directory is where the former tree had a file, or vice versa, the user has created it, and it is
            // kept.
            if is_directory == (kept.entry.kind == EntryKind::Directory) {
                seen.insert(path);
                if is_directory { self.leavings.push(path) } else { self.removals.push(path) }
            }
        }
        self.leavings.sort_by_key(|path| std::cmp::Reverse(path.len()));
        lost.extend(&self.removals);
        let untouched = Judge::new(store, former, spot).untouched(&lost, options)?;
        self.edits = lost.into_iter().filter(|path| !untouched.contains(path)).collect();
        self.edits.sort_unstable();
        Ok(())
    }

    /// Refuses to replace a directory with untracked contents by a file.
    fn check_blocked(&self, tree: &Tree, todo: &[Todo], spot: &Spot) -> Result<()> {
        let goes: HashSet<&str> = self.removals.iter().chain(&self.leavings).copied().collect();
        let blocked = tree.entries.iter().zip(todo).filter(|(_, todo)| **todo == Todo::Write(Found::Directory));
        for (entry, _) in blocked {
            let mut directories = vec![entry.path.clone()];
            while let Some(directory) = directories.pop() {
                for name in names(spot, &directory)? {
                    let path = format!("{directory}/{name}");
                    if !goes.contains(path.as_str()) {
                        return Err(Error::Blocked { path: spot.shown(&entry.path), by: spot.shown(&path) });
                    }
                    if spot.look(&path)?.is_some_and(|stat| file_type(&stat).is_dir()) {
                        directories.push(path);
                    }
                }
            }
        }
        Ok(())
    }

    fn add_writes(&mut self, tree: &'a Tree, todo: &[Todo]) {
        // Existing parent directories of the last entry that are not among the written entries yet.
        let mut way: Vec<&'a Entry> = Vec::new();
        let mut absent: Option<&str> = None;
        for (entry, what) in tree.entries.iter().zip(todo) {
            absent = absent.filter(|absent| is_below(&entry.path, absent));
            way.retain(|directory| is_below(&entry.path, &directory.path));
            let Todo::Write(found) = *what else {
                if entry.kind == EntryKind::Directory {
                    way.push(entry);
                }
                continue;
            };
            self.writes.append(&mut way);
            self.writes.push(entry);
            if absent.is_none() {
                let gives_way = matches!(found, Found::FileForDirectory | Found::Directory);
                self.moves.push(Move { path: &entry.path, gives_way });
            }
            if absent.is_none() && entry.kind == EntryKind::Directory {
                absent = Some(&entry.path);
            }
        }
    }
}

fn look_at_all(tree: &Tree, spot: &Spot) -> Result<Vec<Todo>> {
    let mut todo = Vec::with_capacity(tree.entries.len());
    // A missing directory, below which nothing exists.
    let mut absent: Option<&str> = None;
    for entry in &tree.entries {
        absent = absent.filter(|absent| is_below(&entry.path, absent));
        let what = match absent {
            Some(_) => Todo::Write(Found::Nothing),
            None => look_at(entry, spot)?,
        };
        if absent.is_none() && entry.kind == EntryKind::Directory && what != Todo::Nothing {
            absent = Some(&entry.path);
        }
        todo.push(what);
    }
    Ok(todo)
}

/// Compares an entry with what exists at its path, as far as that is possible without reading a file.
fn look_at(entry: &Entry, spot: &Spot) -> Result<Todo> {
    let Some(stat) = spot.look(&entry.path)? else { return Ok(Todo::Write(Found::Nothing)) };
    let kind = file_type(&stat);
    Ok(match &entry.kind {
        EntryKind::Directory if kind.is_dir() => Todo::Nothing,
        EntryKind::Directory => Todo::Write(Found::FileForDirectory),
        _ if kind.is_dir() => Todo::Write(Found::Directory),
        EntryKind::File { .. } if kind.is_file() && stat.st_size as u64 == file_size(entry) => Todo::Compare,
        EntryKind::File { .. } => Todo::Write(Found::File),
        EntryKind::Symlink { target } => match spot.read_link(&entry.path) {
            Ok(found) if found == *target.as_str() => Todo::Nothing,
            _ => Todo::Write(Found::File),
        },
    })
}

/// Tracks which directories are real, because the target of a symlink is not part of the tree.
#[derive(Debug, Default)]
struct Parents<'a> {
    known: HashMap<&'a str, bool>,
}

impl<'a> Parents<'a> {
    /// Returns whether every directory above a path is real.
    fn are_real(&mut self, path: &'a str, spot: &Spot) -> Result<bool> {
        let Some((parent, _)) = path.rsplit_once('/') else { return Ok(true) };
        if let Some(known) = self.known.get(parent) {
            return Ok(*known);
        }
        let is_real = self.are_real(parent, spot)? && spot.look(parent)?.is_some_and(|stat| file_type(&stat).is_dir());
        self.known.insert(parent, is_real);
        Ok(is_real)
    }
}

/// The untracked files in a directory.
#[derive(Debug, Default)]
pub(super) struct Untracked {
    pub(super) named: Vec<String>,
    pub(super) more: u64,
}

/// What an update leaves alone.
pub(super) fn untracked(tree: &Tree, plan: &Plan<'_>, spot: &Spot) -> Result<Untracked> {
    let entries = tree.entries.iter().map(|entry| entry.path.as_str());
    let known: HashSet<&str> = entries.chain(plan.removals.iter().chain(&plan.leavings).copied()).collect();
    let directories = tree.entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
    let directories = directories.map(|entry| entry.path.as_str()).chain(plan.leavings.iter().copied());
    let mut untracked = Untracked::default();
    for directory in std::iter::once("").chain(directories) {
        let is_real = directory.is_empty() || spot.look(directory)?.is_some_and(|stat| file_type(&stat).is_dir());
        if !is_real {
            continue;
        }
        for name in names(spot, directory)? {
            let inside = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            if known.contains(inside.as_str()) || (directory.is_empty() && is_staging(&name)) {
                continue;
            }
            match untracked.named.len() < MAX_UNTRACKED {
                true => untracked.named.push(inside),
                false => untracked.more += 1,
            }
        }
    }
    untracked.named.sort_unstable();
    Ok(untracked)
}

/// The names in a directory; invalid UTF-8 is replaced, because no tree has such names.
fn names(spot: &Spot, directory: &str) -> Result<Vec<String>> {
    let names =
        spot.dir.names(Path::new(directory)).map_err(|error| Error::io("list", spot.shown(directory))(error))?;
    Ok(names.into_iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect())
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}
