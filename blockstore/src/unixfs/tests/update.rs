//! Directories that hold an older tree become equal to a newer one.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;

use super::support::{Checkout, Item, Items, any_tree, file, items, large, read_items, whole, write_items};
use crate::{
    Blockstore, Cid, Error, ExportOptions, Former, ImportOptions, MemoryBlockstore, Result, UpdateOptions, Updated,
    import_file,
};

impl Checkout {
    /// Makes what is there equal to a tree, whatever it is.
    fn overwrite(&self, tree: &Items) -> Result<Updated> {
        self.update(tree, &Former::default(), true)
    }
}

/// An update of what no export is known to have written, whatever is there.
fn update_directory(store: &MemoryBlockstore, root: Cid, to: &Path, options: &ExportOptions<'_>) -> Result<Updated> {
    let options = UpdateOptions { export: *options, former: &Former::default(), force: true, begin: None };
    crate::update_directory(store, root, to, &options)
}

/// Which file of the file system each file is, and when it was last written to.
fn identities(directory: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            match metadata.is_dir() {
                true => left.push(path),
                false => drop(found.insert(path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))),
            }
        }
    }
    found
}

fn old() -> Items {
    items([
        ("changes", file("before")),
        ("dir/gone", file("old")),
        ("dir/large", large(2_654_435_761)),
        ("dir/same", file("same")),
        ("link", Item::Link("changes".to_owned())),
        ("run", Item::Executable(b"#!/bin/sh\n".to_vec())),
        ("was a file", file("x")),
    ])
}

fn new() -> Items {
    let mut tree = old();
    tree.remove("dir/gone");
    tree.insert("changes".to_owned(), file("after!"));
    tree.insert("dir/more/deep/new".to_owned(), file("new"));
    tree.insert("link".to_owned(), Item::Link("dir".to_owned()));
    tree.insert("run".to_owned(), Item::File(b"#!/bin/sh\n".to_vec()));
    tree.remove("was a file");
    tree.insert("was a file/now a directory".to_owned(), file("y"));
    tree
}

#[test]
fn files_that_match_stay_and_the_others_become_those_of_the_tree() {
    let place = Checkout::new();
    place.begin(&old());
    let before = identities(&place.out());
    let updated = place.overwrite(&new()).unwrap();
    assert_eq!(updated.untracked, ["dir/gone"]);
    assert_eq!((updated.exported.files, updated.files_kept), (6, 3));
    let after = identities(&place.out());
    for kept in ["dir/large", "dir/same", "run", "dir/gone"] {
        let path = place.out().join(kept);
        assert_eq!(after[&path], before[&path], "{kept} was written");
    }
    let path = place.out().join("changes");
    assert_ne!(after[&path].0, before[&path].0, "a file is replaced, never written over");
    fs::remove_file(place.out().join("dir/gone")).unwrap();
    assert_eq!(read_items(&place.out()), whole(&new()));
    assert_eq!(fs::read_dir(place.home.path()).unwrap().count(), 1);
}

#[test]
fn an_update_to_the_same_tree_changes_nothing() {
    let place = Checkout::new();
    place.begin(&old());
    let before = identities(&place.out());
    let updated = place.overwrite(&old()).unwrap();
    assert_eq!((updated.files_kept, updated.untracked.len()), (6, 0));
    assert_eq!(identities(&place.out()), before);
}

/// Neither length nor time says that it was edited.
#[test]
fn what_somebody_has_edited_is_put_right() {
    let place = Checkout::new();
    place.begin(&old());
    let path = place.out().join("dir/large");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let mut content = fs::read(&path).unwrap();
    content[1234] ^= 1;
    fs::write(&path, content).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    assert_eq!(place.overwrite(&old()).unwrap().files_kept, 5);
    assert_eq!(read_items(&place.out()), whole(&old()));
}

#[test]
fn files_that_match_need_no_leaves_in_the_store() {
    let place = Checkout::new();
    place.begin(&old());
    let root = place.import(&old()).root;
    let mut leaves = place.leaves(&old());
    leaves.retain(|cid| place.store.size(cid).unwrap() == Some(100));
    assert!(place.store.delete_many(&leaves).unwrap() > 10);
    let options = ExportOptions { executables: &["run".to_owned()], ..ExportOptions::default() };
    assert_eq!(update_directory(&place.store, root, &place.out(), &options).unwrap().files_kept, 6);
}

#[test]
fn strangers_are_left_and_told() {
    let place = Checkout::new();
    place.begin(&old());
    let mine = items([("dir/mine", file("m")), ("my own/deep/file", file("n")), ("zz", Item::Link("nowhere".into()))]);
    write_items(&place.out(), &mine);
    let updated = place.overwrite(&old()).unwrap();
    assert_eq!(updated.untracked, ["dir/mine", "my own", "zz"]);
    let mut expected = whole(&old());
    expected.extend(whole(&mine));
    assert_eq!(read_items(&place.out()), expected);
}

#[test]
fn nothing_is_written_through_a_link_that_stands_in_the_way() {
    let place = Checkout::new();
    place.begin(&old());
    let elsewhere = place.home.path().join("elsewhere");
    fs::rename(place.out().join("dir"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.out().join("dir")).unwrap();
    let before = identities(&elsewhere);
    place.overwrite(&new()).unwrap();
    assert_eq!(identities(&elsewhere), before);
    assert_eq!(read_items(&place.out()), whole(&new()));
}

#[test]
fn a_directory_with_something_in_it_does_not_give_way_to_a_file() {
    let place = Checkout::new();
    place.begin(&old());
    fs::remove_file(place.out().join("changes")).unwrap();
    write_items(&place.out(), &items([("changes/mine", file("m")), ("was a file 2", file(""))]));
    let before = identities(&place.out());
    let error = place.overwrite(&new()).unwrap_err();
    let mine = place.out().join("changes/mine");
    assert!(matches!(error, Error::Blocked { path, by } if path == place.out().join("changes") && by == mine));
    assert_eq!(identities(&place.out()), before, "nothing was begun");
    fs::remove_file(place.out().join("changes/mine")).unwrap();
    place.overwrite(&new()).unwrap();
    assert_eq!(fs::read_to_string(place.out().join("changes")).unwrap(), "after!");
}

/// The staging directory is what tells a directory whose update was killed.
#[test]
fn an_update_that_was_killed_is_seen_and_finished_by_the_next() {
    let place = Checkout::new();
    place.begin(&old());
    let abandoned = place.out().join(".ggen-update-0123456789abcdef");
    write_items(&abandoned, &items([("new/changes", file("aft"))]));
    let similar = items([(".ggen-update-mine", file("m")), (".ggen-update-0123456789abcdeg/x", file("m"))]);
    write_items(&place.out(), &similar);
    let updated = place.overwrite(&new()).unwrap();
    assert!(!abandoned.exists());
    assert_eq!(updated.untracked, [".ggen-update-0123456789abcdeg", ".ggen-update-mine", "dir/gone"]);
}

#[test]
fn an_update_that_cannot_be_written_changes_nothing() {
    let place = Checkout::new();
    place.begin(&old());
    let imported = place.import(&new());
    let new_file = *crate::Block::raw(&b"new"[..]).unwrap().cid();
    place.store.delete_many(&[new_file]).unwrap();
    let before = identities(&place.out());
    let error = update_directory(&place.store, imported.root, &place.out(), &ExportOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(identities(&place.out()), before);
    assert_eq!(read_items(&place.out()), whole(&old()));
}

/// However often it is asked before, an update that is cancelled changes nothing.
#[test]
fn an_update_that_is_cancelled_changes_nothing() {
    let place = Checkout::new();
    place.begin(&old());
    let (before, imported) = (identities(&place.out()), place.import(&new()));
    for asked in 0.. {
        let count = AtomicUsize::new(0);
        let cancelled = || count.fetch_add(1, Ordering::Relaxed) >= asked;
        let options = ExportOptions { cancelled: Some(&cancelled), ..ExportOptions::default() };
        match update_directory(&place.store, imported.root, &place.out(), &options) {
            Err(Error::Cancelled) => assert_eq!(identities(&place.out()), before),
            updated => {
                updated.unwrap();
                assert!(asked >= 3, "asked when comparing, when judging edits, and when writing");
                break;
            }
        }
    }
    assert_eq!(fs::read_to_string(place.out().join("changes")).unwrap(), "after!");
}

#[test]
fn of_two_updates_at_once_one_is_refused() {
    let place = Checkout::new();
    place.begin(&old());
    let held = fs::File::open(place.out()).unwrap();
    held.lock().unwrap();
    assert!(place.overwrite(&new()).unwrap_err().to_string().contains("update"));
    assert_eq!(read_items(&place.out()), whole(&old()));
    drop(held);
    place.overwrite(&new()).unwrap();
}

#[test]
fn a_single_file_is_replaced_and_a_directory_is_no_place_for_one() {
    let place = Checkout::new();
    let path = place.home.path().join("in");
    let root = |content: &str| {
        fs::write(&path, content).unwrap();
        import_file(&place.store, &path, &ImportOptions::default()).unwrap().root
    };
    let [first, second] = [root("first"), root("second")];
    let update = |root| update_directory(&place.store, root, &place.out(), &ExportOptions::default());
    assert_eq!(update(first).unwrap().files_kept, 0);
    assert_eq!(update(first).unwrap().files_kept, 1);
    let before = fs::metadata(place.out()).unwrap().ino();
    assert_eq!(update(second).unwrap().files_kept, 0);
    assert_eq!(fs::read_to_string(place.out()).unwrap(), "second");
    assert_ne!(fs::metadata(place.out()).unwrap().ino(), before);
    assert!(matches!(place.overwrite(&old()), Err(Error::Exists { .. })), "a tree is not put in the place of a file");
    fs::remove_file(place.out()).unwrap();
    fs::create_dir(place.out()).unwrap();
    assert!(matches!(update(first), Err(Error::Exists { .. })));
    assert_eq!(fs::read_dir(place.home.path()).unwrap().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was there: afterwards every entry of the tree is, and what else is there was told.
    #[test]
    fn any_tree_becomes_any_other(before in any_tree(25), after in any_tree(25)) {
        let place = Checkout::new();
        fs::create_dir(place.out()).unwrap();
        write_items(&place.out(), &before);
        let former = read_items(&place.out());
        match place.overwrite(&after) {
            Err(Error::Exists { .. }) => prop_assert_eq!(read_items(&place.out()), former),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(updated) => {
                let mut left = read_items(&place.out());
                for (path, item) in whole(&after) {
                    prop_assert_eq!(left.remove(&path), Some(item), "{}", path);
                }
                let told = |path: &String| {
                    updated.untracked.iter().any(|told| path == told || path.starts_with(&format!("{told}/")))
                };
                for (path, item) in left {
                    prop_assert!(told(&path), "{} is still there", path);
                    prop_assert_eq!(former.get(&path), Some(&item));
                }
            }
        }
    }
}
