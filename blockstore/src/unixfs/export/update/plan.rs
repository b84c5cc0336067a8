//! What an update has to do, found out before anything is changed.

use std::{collections::HashSet, fs, io, os::unix::fs::MetadataExt, path::Path};

use super::{
    super::{
        ExportOptions,
        jobs::file_size,
        write::{is_executable, join},
    },
    MAX_STRANGERS,
    compare::differing,
    is_staging,
};
use crate::{
    Blockstore, Error, Result,
    unixfs::{Entry, EntryKind, Tree},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Files that match and stay.
    pub(super) files_kept: u64,
    /// Entries to be written, and the directories that lead to them; in the order of the tree.
    pub(super) writes: Vec<&'a Entry>,
    /// What is moved into its place once everything is written.
    pub(super) moves: Vec<Move<'a>>,
    /// Files that match but for being executable, and whether they are to be.
    pub(super) modes: Vec<(&'a Entry, bool)>,
}

/// A file, a symlink, or a new directory with everything in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Move<'a> {
    pub(super) path: &'a str,
    /// What stands there is moved away first: a rename would not replace it.
    pub(super) gives_way: bool,
}

/// What there is to do about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Nothing,
    /// It may match: it has to be read.
    Compare,
    Write {
        gives_way: bool,
    },
}

impl<'a> Plan<'a> {
    pub(super) fn make<S: Blockstore + ?Sized>(
        store: &S,
        tree: &'a Tree,
        destination: &Path,
        options: &ExportOptions<'_>,
    ) -> Result<Self> {
        let mut todo = Vec::with_capacity(tree.entries.len());
        let mut compared = Vec::new();
        // The directory that is not there, below which nothing is either.
        let mut absent: Option<&str> = None;
        for entry in &tree.entries {
            absent = absent.filter(|absent| is_below(&entry.path, absent));
            let what = match absent {
                Some(_) => Todo::Write { gives_way: false },
                None => look_at(entry, &join(destination, entry))?,
            };
            if what == Todo::Compare {
                compared.push(entry);
            }
            if absent.is_none() && entry.kind == EntryKind::Directory && what != Todo::Nothing {
                absent = Some(&entry.path);
            }
            todo.push(what);
        }
        let differing = differing(store, &compared, destination, options)?;
        let executables = options.executables.iter().map(String::as_str).collect();
        let mut plan = Self::default();
        for (entry, what) in tree.entries.iter().zip(&mut todo).filter(|(_, what)| **what == Todo::Compare) {
            match differing.contains(entry.path.as_str()) {
                true => *what = Todo::Write { gives_way: false },
                false => plan.keep(entry, destination, &executables)?,
            }
        }
        plan.add_writes(tree, &todo);
        Ok(plan)
    }

    fn keep(&mut self, entry: &'a Entry, destination: &Path, executables: &HashSet<&str>) -> Result<()> {
        self.files_kept += 1;
        let path = join(destination, entry);
        let mode = fs::symlink_metadata(&path).map_err(Error::io("read", &path))?.mode();
        let executable = is_executable(entry, executables);
        let is_as_wanted = if executable { mode & 0o100 != 0 } else { mode & 0o111 == 0 };
        if !is_as_wanted {
            self.modes.push((entry, executable));
        }
        Ok(())
    }

    fn add_writes(&mut self, tree: &'a Tree, todo: &[Todo]) {
        // Directories on the way to the last entry which are there, and not yet among those that are written.
        let mut way: Vec<&'a Entry> = Vec::new();
        let mut absent: Option<&str> = None;
        for (entry, what) in tree.entries.iter().zip(todo) {
            absent = absent.filter(|absent| is_below(&entry.path, absent));
            way.retain(|directory| is_below(&entry.path, &directory.path));
            let Todo::Write { gives_way } = *what else {
                if entry.kind == EntryKind::Directory {
                    way.push(entry);
                }
                continue;
            };
            self.writes.append(&mut way);
            self.writes.push(entry);
            if absent.is_none() {
                self.moves.push(Move { path: &entry.path, gives_way });
            }
            if absent.is_none() && entry.kind == EntryKind::Directory {
                absent = Some(&entry.path);
            }
        }
    }
}

/// Compares an entry with what stands at its place, as far as that can be done without reading a file.
fn look_at(entry: &Entry, place: &Path) -> Result<Todo> {
    let metadata = match fs::symlink_metadata(place) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Todo::Write { gives_way: false }),
        Err(error) => return Err(Error::io("read", place)(error)),
    };
    Ok(match &entry.kind {
        EntryKind::Directory if metadata.is_dir() => Todo::Nothing,
        EntryKind::Directory => Todo::Write { gives_way: true },
        _ if metadata.is_dir() => {
            // Whatever is in it is a stranger, and strangers are left alone.
            if fs::read_dir(place).map_err(Error::io("list", place))?.next().is_some() {
                return Err(Error::Exists { path: place.to_owned() });
            }
            Todo::Write { gives_way: true }
        }
        EntryKind::File { .. } if metadata.is_file() && metadata.len() == file_size(entry) => Todo::Compare,
        EntryKind::File { .. } => Todo::Write { gives_way: false },
        EntryKind::Symlink { target } => match fs::read_link(place) {
            Ok(found) if found.as_os_str() == target.as_str() => Todo::Nothing,
            // A rename replaces it, whatever it is.
            _ => Todo::Write { gives_way: false },
        },
    })
}

/// What is in a directory and not in its tree.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    pub(super) named: Vec<String>,
    pub(super) more: u64,
}

pub(super) fn strangers(tree: &Tree, destination: &Path) -> Result<Strangers> {
    let known: HashSet<&str> = tree.entries.iter().map(|entry| entry.path.as_str()).collect();
    let directories = tree.entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
    let mut strangers = Strangers::default();
    for directory in std::iter::once("").chain(directories.map(|entry| entry.path.as_str())) {
        let path = if directory.is_empty() { destination.to_owned() } else { destination.join(directory) };
        let is_real = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if !is_real && !directory.is_empty() {
            continue;
        }
        for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
            let name = entry.map_err(Error::io("list", &path))?.file_name().to_string_lossy().into_owned();
            let inside = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            if known.contains(inside.as_str()) || (directory.is_empty() && is_staging(&name)) {
                continue;
            }
            match strangers.named.len() < MAX_STRANGERS {
                true => strangers.named.push(inside),
                false => strangers.more += 1,
            }
        }
    }
    strangers.named.sort_unstable();
    Ok(strangers)
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}
