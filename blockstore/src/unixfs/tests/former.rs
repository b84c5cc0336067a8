//! Updates that know what was written before: what goes, what stays, and what is somebody's work.

use std::{collections::BTreeSet, fs, path::Path, sync::Mutex};

use proptest::prelude::*;

use super::support::{Checkout, Item, Items, any_tree, file, items, large, read_items, whole, write_items};
use crate::{
    Blockstore, Error, ExportOptions, Former, ImportOptions, Result, UpdateOptions, Updated, import_file,
    update_directory,
};

fn old() -> Items {
    items([
        ("changes", file("before")),
        ("dir/gone", file("old")),
        ("dir/large", large(2_654_435_761)),
        ("dir/same", file("same")),
        ("gone/too/deep", file("old")),
        ("gone/link", Item::Link("too".to_owned())),
        ("link", Item::Link("changes".to_owned())),
        ("was a directory/with/files", file("z")),
        ("was a file", file("x")),
    ])
}

fn new() -> Items {
    items([
        ("changes", file("after!")),
        ("dir/large", large(2_246_822_519)),
        ("dir/new", file("new")),
        ("dir/same", file("same")),
        ("link", Item::Link("dir".to_owned())),
        ("was a directory", file("now a file")),
        ("was a file/now a directory", file("y")),
    ])
}

fn edits(outcome: Result<Updated>) -> Vec<String> {
    match outcome {
        Err(Error::Edited { edits, more: 0, .. }) => edits,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn files_of_the_former_tree_that_are_gone_are_removed_and_the_tree_is_equal() {
    let place = Checkout::new();
    let former = place.begin(&old());
    let updated = place.update(&new(), &former, false).unwrap();
    assert_eq!(read_items(&place.out()), whole(&new()));
    assert_eq!((updated.files_removed, updated.files_kept), (4, 1));
    assert_eq!((updated.untracked.len(), updated.overwritten.len()), (0, 0));
    // And back, as the next update knows.
    place.update(&old(), &updated.former, false).unwrap();
    assert_eq!(read_items(&place.out()), whole(&old()));
}

#[test]
fn files_that_were_never_part_of_it_are_kept_and_listed() {
    let place = Checkout::new();
    let former = place.begin(&old());
    write_items(&place.out(), &items([("gone/mine", file("m")), ("dir/mine", file("m")), ("my own/x", file("n"))]));
    let updated = place.update(&new(), &former, false).unwrap();
    assert_eq!(updated.untracked, ["dir/mine", "gone/mine", "my own"]);
    let mut expected = new();
    expected.extend(items([("gone/mine", file("m")), ("dir/mine", file("m")), ("my own/x", file("n"))]));
    assert_eq!(read_items(&place.out()), whole(&expected));
}

#[test]
fn local_edits_are_named_and_refused_and_overwritten_only_by_force() {
    let place = Checkout::new();
    let former = place.begin(&old());
    // To be replaced, to be removed, of the same length, of another kind; one that the new tree has as it is edited.
    fs::write(place.out().join("changes"), "Before").unwrap();
    fs::write(place.out().join("gone/too/deep"), "my work").unwrap();
    fs::remove_file(place.out().join("link")).unwrap();
    fs::write(place.out().join("link"), "no link").unwrap();
    fs::write(place.out().join("was a file"), "x!").unwrap();
    let mut content = fs::read(place.out().join("dir/large")).unwrap();
    content[1234] ^= 1;
    fs::write(place.out().join("dir/large"), content).unwrap();
    fs::write(place.out().join("dir/new"), "new").unwrap();
    let before = read_items(&place.out());
    let named = ["changes", "dir/large", "gone/too/deep", "link", "was a file"];
    assert_eq!(edits(place.update(&new(), &former, false)), named);
    assert_eq!(read_items(&place.out()), before, "nothing was begun");
    let updated = place.update(&new(), &former, true).unwrap();
    assert_eq!(updated.overwritten, named);
    assert_eq!(read_items(&place.out()), whole(&new()));
}

#[test]
fn a_file_that_somebody_removed_is_no_edit_and_comes_back() {
    let place = Checkout::new();
    let former = place.begin(&old());
    fs::remove_dir_all(place.out().join("dir")).unwrap();
    fs::remove_file(place.out().join("gone/link")).unwrap();
    place.update(&new(), &former, false).unwrap();
    assert_eq!(read_items(&place.out()), whole(&new()));
}

#[test]
fn where_nothing_is_known_nothing_is_removed_and_what_differs_is_an_edit() {
    let place = Checkout::new();
    place.begin(&old());
    let unknown = Former::default();
    fs::remove_dir_all(place.out().join("was a directory")).unwrap();
    let outcome = place.update(&new(), &unknown, false);
    assert!(matches!(&outcome, Err(Error::Edited { is_known: false, .. })), "{outcome:?}");
    assert_eq!(edits(outcome), ["changes", "dir/large", "link", "was a file"]);
    let updated = place.update(&new(), &unknown, true).unwrap();
    assert_eq!(updated.untracked, ["dir/gone", "gone"]);
    assert_eq!(updated.files_removed, 0);
}

#[test]
fn nothing_is_removed_through_a_link_or_where_somebody_put_a_directory() {
    let place = Checkout::new();
    let former = place.begin(&old());
    let elsewhere = place.home.path().join("elsewhere");
    fs::rename(place.out().join("gone"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.out().join("gone")).unwrap();
    fs::remove_file(place.out().join("dir/gone")).unwrap();
    fs::create_dir(place.out().join("dir/gone")).unwrap();
    let before = read_items(&elsewhere);
    let updated = place.update(&new(), &former, true).unwrap();
    assert_eq!(read_items(&elsewhere), before);
    assert_eq!(updated.untracked, ["dir/gone", "gone"]);
}

#[test]
fn a_directory_with_somebodys_file_in_it_gives_no_way_even_by_force() {
    let place = Checkout::new();
    let former = place.begin(&old());
    fs::write(place.out().join("was a directory/with/mine"), "m").unwrap();
    let before = read_items(&place.out());
    for force in [false, true] {
        let error = place.update(&new(), &former, force).unwrap_err();
        let mine = place.out().join("was a directory/with/mine");
        assert!(
            matches!(error, Error::Blocked { path, by } if path == place.out().join("was a directory") && by == mine)
        );
        assert_eq!(read_items(&place.out()), before);
    }
}

/// A collection may have let everything of the former tree go.
#[test]
fn a_tree_that_is_no_longer_in_the_store_is_known_all_the_same() {
    let place = Checkout::new();
    let former = place.begin(&old());
    place.store.delete_many(&place.blocks(&old())).unwrap();
    let path = place.out().join("dir/large");
    place.update(&new(), &former, false).unwrap();
    assert_eq!(read_items(&place.out()), whole(&new()));

    let place = Checkout::new();
    let former = place.begin(&old());
    place.store.delete_many(&place.blocks(&old())).unwrap();
    let edited = place.out().join("dir/large");
    assert_ne!(edited, path);
    let modified = fs::metadata(&edited).unwrap().modified().unwrap();
    let mut content = fs::read(&edited).unwrap();
    content[1] ^= 1;
    fs::write(&edited, content).unwrap();
    fs::File::options().write(true).open(&edited).unwrap().set_modified(modified).unwrap();
    assert_eq!(edits(place.update(&new(), &former, false)), ["dir/large"]);
}

/// What is told before the first change knows both trees, so that files of either are no edits for the next update.
#[test]
fn an_update_that_was_killed_between_two_files_is_no_edit() {
    let place = Checkout::new();
    let former = place.begin(&old());
    let begun = Mutex::new(Vec::new());
    let imported = place.import(&new());
    let begin = |former: &Former| {
        begun.lock().unwrap().push((former.clone(), read_items(&place.out())));
        Ok(())
    };
    let options =
        UpdateOptions { export: ExportOptions::default(), former: &former, force: false, begin: Some(&begin) };
    update_directory(&place.store, imported.root, &place.out(), &options).unwrap();
    let [(either, seen)] = &begun.into_inner().unwrap()[..] else { panic!("once") };
    let staged = |(path, _): &(&String, &Item)| path.starts_with(".ggen-update-");
    let seen: Items =
        seen.iter().filter(|item| !staged(item)).map(|(path, item)| (path.clone(), item.clone())).collect();
    assert_eq!(seen, whole(&old()), "nothing was changed before it was told");
    // As killed in between: some files are of the one tree, some of the other.
    write_items(&place.out(), &items([("dir/gone", file("old")), ("changes", file("before"))]));
    let third = items([("changes", file("third")), ("dir/new", file("third"))]);
    place.update(&third, either, false).unwrap();
    assert_eq!(read_items(&place.out()), whole(&third));
}

#[test]
fn a_single_file_is_replaced_unless_it_was_edited_and_through_a_link() {
    let place = Checkout::new();
    let source = place.home.path().join("in");
    let root = |content: &str| {
        fs::write(&source, content).unwrap();
        import_file(&place.store, &source, &ImportOptions::default()).unwrap().root
    };
    let [first, second] = [root("first"), root("second")];
    std::os::unix::fs::symlink("out", place.home.path().join("link")).unwrap();
    let update = |root, former: &Former, force, to: &str| {
        let options = UpdateOptions { export: ExportOptions::default(), former, force, begin: None };
        update_directory(&place.store, root, &place.home.path().join(to), &options)
    };
    let former = update(first, &Former::default(), false, "out").unwrap().former;
    let error = update(second, &Former::default(), false, "out").unwrap_err();
    assert!(error.to_string().contains("no fetch of it is known"), "{error}");
    let former = update(second, &former, false, "link").unwrap().former;
    assert_eq!(fs::read_to_string(place.out()).unwrap(), "second");
    assert!(fs::symlink_metadata(place.home.path().join("link")).unwrap().is_symlink());
    fs::write(place.out(), "mine").unwrap();
    assert_eq!(edits(update(first, &former, false, "out")), [""]);
    assert_eq!(update(first, &former, true, "out").unwrap().overwritten, [""]);
    assert_eq!(fs::read_to_string(place.out()).unwrap(), "first");
}

/// Changes a tree on disk as a user does, as far as it can be done where the tree is.
fn edit(out: &Path, wishes: &Items, removed: &[prop::sample::Index]) {
    let paths: Vec<String> = read_items(out).into_keys().collect();
    for index in removed.iter().filter(|_| !paths.is_empty()) {
        drop(fs::remove_file(out.join(index.get(&paths))));
    }
    for (path, item) in wishes {
        let path = out.join(path);
        let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if let Item::File(content) = item
            && !is_link
            && path.parent().unwrap().canonicalize().is_ok_and(|parent| parent == path.parent().unwrap())
        {
            drop(fs::write(&path, content));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever a user did in between: no byte is lost that was not in the former tree, unless it is forced; and what the
    /// former tree had and the new one has not is gone.
    #[test]
    fn no_work_is_lost_and_nothing_of_the_former_tree_stays(
        before in any_tree(16),
        wishes in any_tree(16),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        after in any_tree(16),
        force in any::<bool>(),
    ) {
        let place = Checkout::new();
        let out = place.home.path().canonicalize().unwrap().join("out");
        let former = place.begin(&before);
        let (original, target) = (whole(&before), whole(&after));
        edit(&out, &wishes, &removed);
        let found = read_items(&out);
        match place.update(&after, &former, force) {
            Err(Error::Exists { .. }) => prop_assert_eq!(read_items(&out), found),
            Err(Error::Edited { edits, .. }) => {
                prop_assert!(!force);
                prop_assert_eq!(read_items(&out), found.clone());
                for edit in edits {
                    prop_assert_ne!(content(original.get(&edit)), content(found.get(&edit)), "{} was not edited", edit);
                }
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(updated) => {
                let left = read_items(&out);
                for (path, item) in &target {
                    prop_assert_eq!(left.get(path), Some(item), "{}", path);
                }
                let overwritten: BTreeSet<_> = updated.overwritten.iter().collect();
                prop_assert!(force || overwritten.is_empty());
                for (path, item) in &found {
                    let is_work = content(original.get(path)) != content(Some(item)) && *item != Item::Directory;
                    let stays = content(left.get(path)) == content(Some(item));
                    prop_assert!(!is_work || stays || overwritten.contains(path), "{} is lost", path);
                }
                for (path, item) in &left {
                    let is_stale = original.get(path) == Some(item) && !target.contains_key(path);
                    prop_assert!(!is_stale || *item == Item::Directory, "{} is still there", path);
                }
            }
        }
    }
}

/// An item but for being executable, which is no work.
fn content(item: Option<&Item>) -> Option<Item> {
    item.map(|item| match item {
        Item::Executable(content) => Item::File(content.clone()),
        item => item.clone(),
    })
}

#[test]
fn leaves_of_the_former_tree_are_not_needed() {
    let place = Checkout::new();
    let former = place.begin(&old());
    place.store.delete_many(&place.leaves(&old())).unwrap();
    place.update(&new(), &former, false).unwrap();
    assert_eq!(read_items(&place.out()), whole(&new()));
}
