//! Trees on disk, and a place for blocks that nobody needs.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{Block, Result, unixfs::file::Sink};

/// Takes blocks and forgets them.
#[derive(Debug, Default)]
pub(super) struct NullSink;

impl Sink for NullSink {
    fn put(&mut self, _block: Block) -> Result<()> {
        Ok(())
    }
}

/// What a test puts into a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Directory,
    File(Vec<u8>),
    Executable(Vec<u8>),
    Link(String),
}

/// A tree by path.
pub(super) type Items = BTreeMap<String, Item>;

pub(super) fn file(content: &str) -> Item {
    Item::File(content.as_bytes().to_vec())
}

pub(super) fn items<const N: usize>(items: [(&str, Item); N]) -> Items {
    items.into_iter().map(|(path, item)| (path.to_owned(), item)).collect()
}

/// Writes a tree; parents need not be mentioned.
pub(super) fn write_items(directory: &Path, items: &Items) {
    for (path, item) in items {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match item {
            Item::Directory => fs::create_dir_all(&path).unwrap(),
            Item::File(content) => fs::write(&path, content).unwrap(),
            Item::Executable(content) => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Item::Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
        }
    }
}

/// Reads a tree, directories included.
pub(super) fn read_items(directory: &Path) -> Items {
    let mut items = Items::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let item = if metadata.is_dir() {
                left.push(path.clone());
                Item::Directory
            } else if metadata.is_symlink() {
                Item::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else if metadata.permissions().mode() & 0o100 != 0 {
                Item::Executable(fs::read(&path).unwrap())
            } else {
                Item::File(fs::read(&path).unwrap())
            };
            items.insert(path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned(), item);
        }
    }
    items
}
