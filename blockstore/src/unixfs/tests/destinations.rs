//! Where trees may go, and what stays there when they cannot.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::support::{Item, Items, file, items, read_items, write_items};
use crate::{
    Block, Blockstore, Cid, Error, ExportOptions, Former, ImportOptions, MemoryBlockstore, PbLink, PbNode, Result,
    UnixfsData, UnixfsKind, UpdateOptions, export_directory, import_directory, is_vacant,
    unixfs::export::testing::REFUSAL, update_directory,
};

fn sample() -> Items {
    items([
        ("a", file("alpha")),
        ("dir/deep/b", file("beta")),
        ("dir/run", Item::Executable(b"#!/bin/sh\n".to_vec())),
        ("empty", Item::Directory),
        ("link", Item::Link("dir/run".to_owned())),
    ])
}

struct Place {
    home: tempfile::TempDir,
    store: MemoryBlockstore,
    root: Cid,
    executables: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let (home, store, source) = (tempfile::tempdir().unwrap(), MemoryBlockstore::new(), tempfile::tempdir());
        let source = source.unwrap();
        write_items(source.path(), &sample());
        let imported = import_directory(&store, source.path(), &ImportOptions::default()).unwrap();
        Self { home, store, root: imported.root, executables: imported.executables }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn export(&self, to: &Path) -> Result<()> {
        let options = ExportOptions { executables: &self.executables, ..ExportOptions::default() };
        export_directory(&self.store, self.root, to, &options).map(drop)
    }

    fn update(&self, to: &Path) -> Result<()> {
        let export = ExportOptions { executables: &self.executables, ..ExportOptions::default() };
        let options = UpdateOptions { export, former: &Former::default(), force: false, begin: None };
        update_directory(&self.store, self.root, to, &options).map(drop)
    }

    /// A directory with one file, of which the store does not have the content.
    fn without_content(&self) -> Cid {
        let leaf = Block::raw(&b"never stored"[..]).unwrap();
        let link = PbLink { cid: *leaf.cid(), name: Some(b"file".to_vec().into()), tsize: Some(0) };
        let data = Some(UnixfsData::new(UnixfsKind::Directory).encode().into());
        let root = Block::dag_pb(PbNode { links: vec![link], data }.encode()).unwrap();
        self.store.put(&root).unwrap();
        *root.cid()
    }
}

fn whole() -> Items {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &sample());
    read_items(place.path())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_empty_directory_is_filled_and_stays_the_directory_it_was() {
    let place = Place::new();
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, Permissions::from_mode(0o2750)).unwrap();
    let before = fs::metadata(&out).unwrap();
    place.export(&out).unwrap();
    let after = fs::metadata(&out).unwrap();
    assert_eq!((before.ino(), before.mode()), (after.ino(), after.mode()));
    assert_eq!(read_items(&out), whole());
    assert_eq!(names(place.home.path()), ["out"]);
}

/// As a shell or another process does that stands in it.
#[test]
fn an_empty_directory_that_is_open_holds_the_tree_afterwards() {
    let place = Place::new();
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let open = fs::File::open(&out).unwrap();
    symlink("out", place.path("link")).unwrap();
    place.export(&place.path("link")).unwrap();
    assert!(rustix::fs::openat(&open, "dir/deep/b", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).is_ok());
    assert_eq!(names(place.home.path()), ["link", "out"]);
    assert!(fs::symlink_metadata(place.path("link")).unwrap().is_symlink());
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_stays_as_it_was() {
    let place = Place::new();
    let out = place.path("out");
    for taken in [".hidden", "a", "zz"] {
        fs::create_dir(&out).unwrap();
        fs::write(out.join(taken), "mine").unwrap();
        assert!(!is_vacant(&out).unwrap());
        assert!(matches!(place.export(&out), Err(Error::Exists { .. })), "{taken}");
        assert_eq!(names(&out), [taken]);
        fs::remove_dir_all(&out).unwrap();
    }
    fs::write(&out, "a file").unwrap();
    symlink("nowhere", place.path("dangling")).unwrap();
    for taken in ["out", "dangling"] {
        assert!(!is_vacant(&place.path(taken)).unwrap());
        assert!(matches!(place.export(&place.path(taken)), Err(Error::Exists { .. })), "{taken}");
    }
    assert_eq!(names(place.home.path()), ["dangling", "out"]);
}

#[test]
fn what_killed_exports_left_in_an_empty_directory_counts_as_nothing() {
    let place = Place::new();
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let abandoned = out.join(staging_name(&place, &out));
    write_items(&abandoned, &items([("half/a/tree", file("hal"))]));
    assert!(is_vacant(&out).unwrap());
    place.export(&out).unwrap();
    assert_eq!(read_items(&out), whole());
}

/// The name under which an export writes in an empty directory, as it is seen while it does.
fn staging_name(place: &Place, out: &Path) -> String {
    let seen = std::sync::Mutex::new(Vec::new());
    let look = |_| *seen.lock().unwrap() = names(out);
    let options = ExportOptions { progress: Some(&look), ..ExportOptions::default() };
    let staged = crate::stage_directory(&place.store, place.root, out, &options).unwrap();
    drop(staged);
    assert_eq!(names(out), Vec::<String>::new());
    let [name] = &seen.into_inner().unwrap()[..] else { panic!("one name") };
    assert!(name.starts_with(".ggen-") && name.len() < 48, "{name}");
    name.clone()
}

#[test]
fn missing_directories_are_made_and_removed_again_when_nothing_comes_of_it() {
    let place = Place::new();
    place.export(&place.path("a/b/out")).unwrap();
    assert_eq!(read_items(&place.path("a/b/out")), whole());
    assert_eq!(names(&place.path("a/b")), ["out"]);
    let error = export_directory(&place.store, place.without_content(), &place.path("a/c/d/out"), &Default::default());
    assert!(matches!(error, Err(Error::NotFound { .. })));
    assert_eq!(names(&place.path("a")), ["b"]);
    place.update(&place.path("x/y")).unwrap();
    assert_eq!(read_items(&place.path("x/y")), whole());
    fs::write(place.path("file"), "").unwrap();
    let error = place.export(&place.path("file/out")).unwrap_err();
    assert!(matches!(&error, Error::Exists { .. } | Error::Io { .. }), "{error}");
}

#[test]
fn nothing_stays_in_an_empty_directory_of_an_export_that_fails() {
    let place = Place::new();
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let error = export_directory(&place.store, place.without_content(), &out, &ExportOptions::default()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert_eq!(names(&out), Vec::<String>::new());
    assert!(is_vacant(&out).unwrap());
    place.export(&out).unwrap();
}

#[test]
fn names_and_paths_of_the_longest_kind_are_written_anywhere() {
    let store = MemoryBlockstore::new();
    let leaf = Block::raw(&b"content"[..]).unwrap();
    let directory = |name: &str, cid| {
        let link = PbLink { cid, name: Some(name.as_bytes().to_vec().into()), tsize: Some(0) };
        let data = Some(UnixfsData::new(UnixfsKind::Directory).encode().into());
        Block::dag_pb(PbNode { links: vec![link], data }.encode()).unwrap()
    };
    for last in [234, 254, 255] {
        // 15 names of 255 bytes with their slashes are 3840 bytes.
        let mut block = directory(&"f".repeat(last), *leaf.cid());
        store.put_many(&[leaf.clone(), block.clone()]).unwrap();
        for _ in 0..15 {
            block = directory(&"d".repeat(255), *block.cid());
            store.put(&block).unwrap();
        }
        let home = tempfile::tempdir().unwrap();
        let mut parent = home.path().to_owned();
        parent.push("p".repeat(240));
        for name in [240, 250, 255] {
            let out = parent.join("o".repeat(name));
            export_directory(&store, *block.cid(), &out, &ExportOptions::default()).unwrap();
            fs::create_dir(parent.join("empty")).unwrap();
            export_directory(&store, *block.cid(), &parent.join("empty"), &ExportOptions::default()).unwrap();
            let options = UpdateOptions {
                export: ExportOptions::default(),
                former: &Former::default(),
                force: false,
                begin: None,
            };
            let updated = update_directory(&store, *block.cid(), &out, &options).unwrap();
            assert_eq!((updated.files_kept, updated.untracked.len()), (1, 0));
            assert_eq!(fs::read_dir(&parent).unwrap().count(), 2);
            std::process::Command::new("rm").arg("-r").args([&out, &parent.join("empty")]).status().unwrap();
            assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
        }
    }
}

/// Some of NFS and of FUSE have none, each with an answer of its own.
#[test]
fn without_locks_trees_are_written_and_updated_and_leave_nothing() {
    for refusal in [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP] {
        let place = Place::new();
        let (new, empty) = (place.path("new"), place.path("empty"));
        fs::create_dir(&empty).unwrap();
        REFUSAL.set(Some(refusal));
        for out in [&new, &empty] {
            place.export(out).unwrap();
            fs::remove_file(out.join("a")).unwrap();
            place.update(out).unwrap();
            assert_eq!(read_items(out), whole());
        }
        REFUSAL.set(None);
        assert_eq!(names(place.home.path()), ["empty", "new"]);
    }
}

#[test]
fn a_lock_that_fails_is_told_from_one_that_is_held_and_leaves_nothing() {
    let place = Place::new();
    let out = place.path("out");
    REFUSAL.set(Some(Errno::NOMEM));
    let fresh = place.export(&out).unwrap_err();
    fs::create_dir(&out).unwrap();
    let filled = place.export(&out).unwrap_err();
    let updated = place.update(&out).unwrap_err();
    REFUSAL.set(None);
    for error in [fresh, filled, updated] {
        let Error::Io { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::OutOfMemory);
    }
    assert_eq!(names(place.home.path()), ["out"]);
    assert_eq!(names(&out), Vec::<String>::new());
}

#[test]
fn of_two_who_fill_one_directory_one_is_refused() {
    let place = Place::new();
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let held = fs::File::open(&out).unwrap();
    held.lock().unwrap();
    for error in [place.export(&out).unwrap_err(), place.update(&out).unwrap_err()] {
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains("another"), "{source}");
    }
    assert_eq!(names(&out), Vec::<String>::new());
}
