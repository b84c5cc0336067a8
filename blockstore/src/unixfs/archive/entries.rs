//! The tree that an archive's entries make.

use std::{collections::BTreeMap, ops::Bound};

use super::tar_reader::{TarEntry, TarKind};
use crate::{
    EntryKind, Error, Finding, Refusal, Result, Selection,
    unixfs::name::{MAX_ENTRIES, MAX_LINK_BYTES, MAX_TREE_PATH_BYTES, check_name, check_path, is_vcs},
};

/// An entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Directory,
    /// A file: the one of this number in the archive.
    File {
        number: usize,
        size: u64,
        executable: bool,
    },
    Symlink {
        target: String,
    },
}

impl Item {
    pub(super) fn kind(&self) -> EntryKind {
        match self {
            Self::Directory => EntryKind::Directory,
            Self::File { size, executable, .. } => EntryKind::File { size: *size, executable: *executable },
            Self::Symlink { target } => EntryKind::Symlink { target: target.clone() },
        }
    }
}

/// What a package is made of.
#[derive(Debug)]
pub(super) struct Tree {
    /// The entries with their paths, each directory before its contents, without a single top folder.
    pub(super) items: Vec<(String, Item)>,
    /// What stood beside that folder and is no part of it.
    pub(super) left_out: Option<String>,
    /// The first entry that a later one replaced, and how many were.
    pub(super) replaced: Option<(String, usize)>,
}

/// Entries by path, each as the last one of its name left it, as GNU tar unpacks them: what `tar --update` and `--append`
/// have added counts. With NUL for the slash: then each directory stands right before its contents.
#[derive(Debug, Default)]
pub(super) struct Entries {
    items: BTreeMap<String, Item>,
    path_bytes: usize,
    files: usize,
    /// Whether the archive has an entry for its root.
    has_root: bool,
    /// Entries that a later one replaced: the first of them, and their number.
    replaced: Option<(String, usize)>,
}

impl Entries {
    /// Adds an entry. Returns its path if it has its place in the tree: version control directories have none.
    pub(super) fn add(&mut self, entry: TarEntry) -> Result<Option<String>> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let refused = |refusal| Error::refused(&shown, refusal);
        let Some(names) = names(&entry.path).map_err(refused)? else { return Ok(None) };
        if names.is_empty() {
            self.has_root = true;
            let is_directory = entry.kind == TarKind::Directory;
            return if is_directory { Ok(None) } else { Err(refused(Refusal::Name { name: shown.clone() })) };
        }
        let path = names.join("/");
        check_path(&path).map_err(refused)?;
        let item = match entry.kind {
            TarKind::Directory => Item::Directory,
            TarKind::File => {
                self.files += 1;
                Item::File { number: self.files - 1, size: entry.size, executable: entry.executable }
            }
            TarKind::Symlink => {
                let target = String::from_utf8(entry.link);
                let target = target.ok().filter(|target| target.len() <= MAX_LINK_BYTES);
                let target = target.ok_or_else(|| refused(Refusal::LinkTarget { limit: MAX_LINK_BYTES }))?;
                Item::Symlink { target }
            }
            TarKind::HardLink => self.linked(&entry.link).map_err(refused)?,
            TarKind::Other(what) => return Err(refused(Refusal::Special { what })),
        };
        for end in 1..names.len() {
            self.enter(names[..end].join("\0")).map_err(refused)?;
        }
        self.insert(names.join("\0"), item).map_err(refused)?;
        // Files that were replaced take memory too.
        if self.items.len().max(self.files) > MAX_ENTRIES || self.path_bytes > MAX_TREE_PATH_BYTES {
            return Err(Error::LimitExceeded { what: "files and directories", limit: MAX_ENTRIES as u64 });
        }
        Ok(Some(path))
    }

    /// What a hard link means: a file, or a symlink as it is.
    fn linked(&self, target: &[u8]) -> Result<Item, Refusal> {
        let linked = names(target)?.and_then(|names| self.items.get(&names.join("\0")));
        let linked = linked.filter(|item| **item != Item::Directory);
        linked.cloned().ok_or_else(|| Refusal::HardLink { target: String::from_utf8_lossy(target).into_owned() })
    }

    /// Adds a directory that an entry lies in.
    fn enter(&mut self, key: String) -> Result<(), Refusal> {
        match self.items.get(&key) {
            Some(Item::Directory) => Ok(()),
            Some(_) => Err(Refusal::FileAndDirectory),
            None => self.insert(key, Item::Directory),
        }
    }

    /// Adds an item in place of what has its name: of a directory only while nothing is in it.
    fn insert(&mut self, key: String, item: Item) -> Result<(), Refusal> {
        match self.items.get(&key) {
            Some(Item::Directory) if item == Item::Directory => Ok(()),
            Some(present) => {
                if *present == Item::Directory {
                    let after = (Bound::Excluded(&key), Bound::Unbounded);
                    let next = self.items.range::<String, _>(after).next();
                    if next.is_some_and(|(next, _)| next.strip_prefix(&key).is_some_and(|rest| rest.starts_with('\0')))
                    {
                        return Err(Refusal::FileAndDirectory);
                    }
                }
                let (_, count) = self.replaced.get_or_insert_with(|| (key.replace('\0', "/"), 0));
                *count += 1;
                self.items.insert(key, item);
                Ok(())
            }
            None => {
                self.path_bytes += key.len();
                self.items.insert(key, item);
                Ok(())
            }
        }
    }

    /// The directories that a selection leaves out, the root among them.
    pub(super) fn left_out(&self, selection: &Selection<'_>) -> Vec<Finding> {
        let Some(leaves_out) = selection.leaves_out else { return Vec::new() };
        let what = |prefix: String| {
            let look_up = |name: &str| self.items.get(&(prefix.clone() + name)).map(Item::kind);
            leaves_out(&look_up)
        };
        let root = what(String::new()).map(|what| Finding { path: ".".to_owned(), what });
        let directories = self.items.iter().filter(|(_, item)| **item == Item::Directory);
        let below = directories
            .filter_map(|(key, _)| what(format!("{key}\0")).map(|what| Finding { path: key.replace('\0', "/"), what }));
        root.into_iter().chain(below).collect()
    }

    /// The entries with their paths, each directory before its contents, without a single top folder.
    pub(super) fn into_sorted(mut self) -> Result<Tree> {
        if self.items.is_empty() && !self.has_root {
            return Err(Error::archive("it is empty"));
        }
        let left_out = self.remove_double();
        let prefix = self.top_folder();
        if let Some(top) = prefix.as_ref() {
            self.items.remove(top);
        }
        let skip = prefix.map_or(0, |top| top.len() + 1);
        let items = self.items.into_iter().map(|(key, item)| (key[skip..].replace('\0', "/"), item)).collect();
        Ok(Tree { items, left_out, replaced: self.replaced })
    }

    /// Removes `._name` beside a top folder `name`: macOS's tar puts the folder's attributes there (AppleDouble), and the
    /// folder is a single one nevertheless. Others like it lie inside the folder, and stay as GNU tar leaves them.
    fn remove_double(&mut self) -> Option<String> {
        let is_double = |(key, item): &(&String, &Item)| {
            matches!(item, Item::File { .. }) && key.starts_with("._") && !key.contains('\0')
        };
        let double = self.items.iter().find(is_double).filter(|_| !self.has_root)?.0.clone();
        let name = double.strip_prefix("._")?;
        let is_inside = |key: &String| key.split('\0').next() == Some(name);
        let is_beside = self.items.get(name) == Some(&Item::Directory)
            && self.items.keys().all(|key| *key == double || is_inside(key));
        if is_beside {
            self.items.remove(&double);
        }
        is_beside.then_some(double)
    }

    fn top_folder(&self) -> Option<String> {
        let (first, item) = self.items.first_key_value()?;
        let (last, _) = self.items.last_key_value()?;
        let inside = last.strip_prefix(first.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('\0'));
        (inside && *item == Item::Directory && !self.has_root).then(|| first.clone())
    }
}

/// Takes a path of an archive apart; `None` for one that belongs to version control.
fn names(path: &[u8]) -> Result<Option<Vec<&str>>, Refusal> {
    if path.starts_with(b"/") {
        return Err(Refusal::AbsolutePath);
    }
    if path.is_empty() {
        return Err(Refusal::Name { name: String::new() });
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut names = Vec::new();
    let mut vcs = false;
    for part in parts {
        if part == b".." {
            return Err(Refusal::ParentPath);
        }
        vcs |= is_vcs(part);
        names.push(check_name(part)?);
    }
    Ok((!vcs).then_some(names))
}
