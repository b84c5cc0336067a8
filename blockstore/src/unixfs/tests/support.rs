//! Trees on disk, and a place for blocks that nobody needs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use proptest::{collection::btree_map, prelude::*};

use crate::{
    Block, Cid, ExportOptions, Former, ImportOptions, Imported, MemoryBlockstore, Profile, RAW, Result, UpdateOptions,
    Updated, dfs_blocks, import_directory, stage_directory, unixfs::file::Sink, update_directory,
};

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

/// A tree as it is read, with the directories that lead to what is in it.
pub(super) fn whole(tree: &Items) -> Items {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), tree);
    read_items(place.path())
}

/// A file of two thousand bytes, others for each factor.
pub(super) fn large(factor: u32) -> Item {
    Item::File((0..2000_u32).map(|index| (index.wrapping_mul(factor) >> 24) as u8).collect())
}

fn any_item() -> impl Strategy<Value = Item> {
    let content = || prop::collection::vec(any::<u8>(), 0..400);
    prop_oneof![
        4 => content().prop_map(Item::File),
        2 => Just(Item::File(b"the same everywhere".to_vec())),
        2 => content().prop_map(Item::Executable),
        1 => Just(Item::Directory),
        1 => "[a-d]{1,3}".prop_map(Item::Link),
    ]
}

/// Any tree of fewer entries, whose names often meet in another one.
pub(super) fn any_tree(entries: usize) -> impl Strategy<Value = Items> {
    btree_map("([ab]/){0,2}[ekm]{1,2}", any_item(), 0..entries)
}

/// A directory that trees are written to one after the other.
pub(super) struct Checkout {
    pub(super) home: tempfile::TempDir,
    pub(super) store: MemoryBlockstore,
}

impl Checkout {
    /// A small one, so that a few kilobytes have several levels.
    const PROFILE: Profile = Profile { chunk_bytes: 100, file_links: 4, ..Profile::V1_2025 };

    pub(super) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), store: MemoryBlockstore::new() }
    }

    pub(super) fn out(&self) -> PathBuf {
        self.home.path().join("out")
    }

    pub(super) fn import(&self, tree: &Items) -> Imported {
        let place = tempfile::tempdir().unwrap();
        write_items(place.path(), tree);
        let options = ImportOptions { profile: Self::PROFILE, ..ImportOptions::default() };
        import_directory(&self.store, place.path(), &options).unwrap()
    }

    /// Writes a tree where nothing is.
    pub(super) fn begin(&self, tree: &Items) -> Former {
        let imported = self.import(tree);
        let options = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
        let staged = stage_directory(&self.store, imported.root, &self.out(), &options).unwrap();
        let former = staged.commit_and_tell().unwrap().1;
        // As it is between two commands.
        let beside = tempfile::tempdir().unwrap();
        let file = beside.path().join("former");
        former.save(&file).unwrap();
        Former::load(&file)
    }

    pub(super) fn update(&self, tree: &Items, former: &Former, force: bool) -> Result<Updated> {
        let imported = self.import(tree);
        let export = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
        let options = UpdateOptions { export, former, force, begin: None };
        update_directory(&self.store, imported.root, &self.out(), &options)
    }

    /// The blocks of a tree.
    pub(super) fn blocks(&self, tree: &Items) -> Vec<Cid> {
        let root = self.import(tree).root;
        dfs_blocks(&self.store, root).map(|block| block.unwrap().0).collect()
    }

    /// Those of them that are content without links.
    pub(super) fn leaves(&self, tree: &Items) -> Vec<Cid> {
        self.blocks(tree).into_iter().filter(|cid| cid.codec() == RAW).collect()
    }
}
