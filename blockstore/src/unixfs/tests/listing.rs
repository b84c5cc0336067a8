//! What goes into a package, and what is refused.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::Command,
};

use super::support::{Item, file, items, write_items};
use crate::{
    Block, Blockstore, Error, ExportOptions, Finding, INSPECTED_BYTES, ImportOptions, Inspected, Listing, LookUp,
    MAX_DEPTH, MemoryBlockstore, Profile, Refusal, Result, Selection, export_tar, import_directory, import_tarball,
    list_directory,
    unixfs::{
        import::import_directory_on,
        listing::list,
        stamp::{FileSystem, Moment, RealFileSystem, Stamp},
    },
};

fn paths(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| entry.path.as_str()).collect()
}

fn refusal(result: Result<Listing>) -> (String, Refusal) {
    match result {
        Err(Error::Refused { entry, refusal }) => (entry, refusal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn hidden_files_are_in_and_version_control_is_not() {
    let place = tempfile::tempdir().unwrap();
    let tree = items([
        (".hidden", file("")),
        (".config/x", file("")),
        (".git/config", file("")),
        ("other/.GIT/config", file("")),
        ("sub/.git", file("gitdir: elsewhere")),
        ("sub/.hg/x", file("")),
        (".svn/x", file("")),
        (".jj/x", file("")),
        (".github/ci.yml", file("")),
        (".gitattributes", file("")),
    ]);
    write_items(place.path(), &tree);
    let listing = list_directory(place.path()).unwrap();
    let expected = [".config", ".config/x", ".gitattributes", ".github", ".github/ci.yml", ".hidden", "other", "sub"];
    assert_eq!(paths(&listing), expected);
}

#[test]
fn outside_of_a_work_tree_ignore_files_of_the_tree_count_and_no_others() {
    let place = tempfile::tempdir().unwrap();
    let tree = items([
        (".gitignore", file("*.txt\n")),
        (".ggenignore", file("*.txt\n")),
        // No repository has so little in it.
        ("package/.git/info/exclude", file("kept-4\n")),
        ("package/.gitignore", file("*.log\n/target/\n")),
        ("package/.ggenignore", file("!important.log\n*.secret\n")),
        ("package/.ignore", file("kept-*\n")),
        ("package/a.log", file("")),
        ("package/important.log", file("")),
        ("package/key.secret", file("")),
        ("package/kept-1", file("")),
        ("package/kept-4", file("")),
        ("package/notes.txt", file("")),
        ("package/sub/.gitignore", file("/only-here\n!b.log\n")),
        ("package/sub/b.log", file("")),
        ("package/sub/only-here", file("")),
        ("package/only-here", file("")),
        ("package/target/out", file("")),
        ("package/sub/target/out", file("")),
    ]);
    write_items(place.path(), &tree);
    let listing = list_directory(&place.path().join("package")).unwrap();
    let files: Vec<_> = paths(&listing).into_iter().filter(|path| !path.contains("ignore")).collect();
    let expected = [
        "important.log",
        "kept-1",
        "kept-4",
        "notes.txt",
        "only-here",
        "sub",
        "sub/b.log",
        "sub/target",
        "sub/target/out",
    ];
    assert_eq!(files, expected);
}

#[test]
fn an_ignore_file_that_is_a_link_is_not_read_and_named() {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &items([("sub/rules", file("a\n")), ("sub/a", file(""))]));
    std::os::unix::fs::symlink("rules", place.path().join("sub/.gitignore")).unwrap();
    let listing = list_directory(place.path()).unwrap();
    assert_eq!(paths(&listing), ["sub", "sub/.gitignore", "sub/a", "sub/rules"]);
    assert_eq!(listing.linked_ignore_files, ["sub/.gitignore"]);
}

#[test]
fn an_ignore_file_that_cannot_be_read_ends_the_listing() {
    let place = tempfile::tempdir().unwrap();
    let ignore = place.path().join("sub/.gitignore");
    write_items(place.path(), &items([("sub/a", file(""))]));
    assert!(Command::new("mkfifo").arg(&ignore).status().unwrap().success());
    // It is not waited for, and is no file of a package either.
    assert_eq!(refusal(list_directory(place.path())).0, "sub/.gitignore");
    fs::remove_file(&ignore).unwrap();
    File::create(&ignore).unwrap().set_len((16 << 20) + 1).unwrap();
    assert!(matches!(list_directory(place.path()), Err(Error::LimitExceeded { .. })));
}

#[test]
fn a_selection_lets_names_in_and_leaves_directories_out() {
    let place = tempfile::tempdir().unwrap();
    let tree = items([
        (".gitignore", file("*.toml\nhidden\n")),
        ("main.toml", file("")),
        ("other.toml", file("")),
        ("sub/main.toml", file("")),
        ("sub/deep/mark", file("")),
        ("sub/deep/inside", file("")),
        ("hidden/mark", file("")),
    ]);
    write_items(place.path(), &tree);
    let leaves_out = |look_up: &LookUp<'_>| look_up("mark").map(|_| "a marked directory");
    let selection = Selection { always: &["main.toml"], leaves_out: Some(&leaves_out), ..Selection::default() };
    let (listing, _) = list(&RealFileSystem, place.path(), &selection).unwrap();
    assert_eq!(paths(&listing), [".gitignore", "main.toml", "sub"]);
    let left_out = [Finding { path: "sub/deep".to_owned(), what: "a marked directory" }];
    assert_eq!(listing.left_out, left_out, "what an ignore file keeps out is not worth a word");
}

/// Small files are inspected with their content, others in parts; what is found is named, all of it, and its blocks are
/// not in the store, nor is anything after it.
#[test]
fn what_is_found_is_refused_and_not_stored() {
    let place = tempfile::tempdir().unwrap();
    let large = vec![b's'; INSPECTED_BYTES as usize + 1];
    let chunk = Profile::default().chunk_bytes;
    let long = |at: usize, length: usize| {
        let mut content = vec![b's'; length];
        content[at..at + 2].copy_from_slice(b"yz");
        content
    };
    let (across, at_the_end) = (long(2 * chunk - 1, 3 * chunk + 1), long(3 * chunk + 5, 3 * chunk + 7));
    let tree = items([
        ("a/by-content", file("secret")),
        ("b/by-name", Item::File(large.clone())),
        ("empty/by-name", file("")),
        ("large", Item::File(large)),
        ("plain", file("plain")),
        ("z/across", Item::File(across)),
        ("z/at-the-end", Item::File(at_the_end)),
    ]);
    write_items(&place.path().join("in"), &tree);
    let inspect = |path: &str, inspected: Inspected<'_>| match inspected {
        Inspected::Path => path.ends_with("by-name").then_some("a name"),
        Inspected::Content(content) => content.starts_with(b"s").then_some("a content"),
        Inspected::Part(part) => part.windows(2).any(|two| two == b"yz").then_some("a part"),
    };
    let known = place.path().join("known");
    let options = ImportOptions { inspect: Some(&inspect), known: Some(&known), ..ImportOptions::default() };
    let expected =
        [("a/by-content", "a content"), ("b/by-name", "a name"), ("z/across", "a part"), ("z/at-the-end", "a part")];
    let expected = expected.map(|(path, what)| Finding { path: path.to_owned(), what });
    let secret = Block::raw(b"secret".to_vec()).unwrap();
    let mut archive = Vec::new();
    let store = MemoryBlockstore::new();
    let plain = import_directory(&store, &place.path().join("in"), &ImportOptions::default()).unwrap();
    export_tar(&store, plain.root, &mut archive, &ExportOptions::default()).unwrap();
    for round in 0..2 {
        let store = MemoryBlockstore::new();
        let outcome = match round {
            0 => import_directory(&store, &place.path().join("in"), &options),
            _ => import_tarball(&store, &mut &archive[..], &options),
        };
        let Err(Error::Withheld { findings }) = outcome else { panic!("it is taken in") };
        assert_eq!(findings, expected);
        assert_eq!(store.size(secret.cid()).unwrap(), None);
    }
    // What is taken in is said by path, and the rest is still refused.
    let some = ImportOptions { take_found: Some(&|path| path == "a/by-content"), ..options };
    for round in 0..2 {
        let store = MemoryBlockstore::new();
        let outcome = match round {
            0 => import_directory(&store, &place.path().join("in"), &some),
            _ => import_tarball(&store, &mut &archive[..], &some),
        };
        let Err(Error::Withheld { findings }) = outcome else { panic!("it is taken in") };
        assert_eq!(findings, expected[1..]);
    }
    let taking = ImportOptions { take_found: Some(&|_| true), ..options };
    for _ in 0..2 {
        let store = MemoryBlockstore::new();
        let imported = import_directory(&store, &place.path().join("in"), &taking).unwrap();
        assert_eq!((imported.root, imported.found), (plain.root, expected.to_vec()), "also when all are known");
        assert!(store.size(secret.cid()).unwrap().is_some());
        let imported = import_tarball(&store, &mut &archive[..], &taking).unwrap();
        assert_eq!((imported.root, imported.found), (plain.root, expected.to_vec()));
    }
}

#[test]
fn links_that_leave_the_tree_are_refused_by_name() {
    for target in ["/etc/passwd", "../../outside", "x/../../../outside"] {
        let place = tempfile::tempdir().unwrap();
        write_items(place.path(), &items([("sub/link", Item::Link(target.to_owned()))]));
        let (entry, refusal) = refusal(list_directory(place.path()));
        assert_eq!((entry.as_str(), refusal), ("sub/link", Refusal::LinkLeavesTree { target: target.to_owned() }));
    }
}

#[test]
fn a_link_to_a_directory_is_kept_and_not_followed() {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &items([("real/file", file("x")), ("link", Item::Link("real".to_owned()))]));
    assert_eq!(paths(&list_directory(place.path()).unwrap()), ["link", "real", "real/file"]);
}

#[test]
fn pipes_and_sockets_are_refused() {
    let place = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(place.path().join("pipe")).status().unwrap().success());
    assert_eq!(refusal(list_directory(place.path())).1, Refusal::Special { what: "a pipe" });
    fs::remove_file(place.path().join("pipe")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
    assert_eq!(refusal(list_directory(place.path())).1, Refusal::Special { what: "a socket" });
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    assert_eq!(refusal(list_directory(place.path())).1, Refusal::NotUtf8);
}

#[test]
fn names_that_differ_by_case_alone_are_refused() {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &items([("sub/Readme", file("")), ("sub/README", file("")), ("sub/x", file(""))]));
    let error = list_directory(place.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "refusing `sub/Readme`: some file systems take its name and `README` for one: they differ by case or Unicode form \
         alone"
    );
}

#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let deepest = "d/".repeat(MAX_DEPTH) + "file";
    write_items(place.path(), &items([(deepest.as_str(), file("x"))]));
    assert!(list_directory(place.path()).is_ok());
    write_items(place.path(), &items([(("d/".to_owned() + &deepest).as_str(), file("x"))]));
    assert_eq!(refusal(list_directory(place.path())).1, Refusal::TooDeep { limit: MAX_DEPTH });
}

#[test]
fn what_cannot_be_read_is_named() {
    let import = |path: &Path| import_directory(&MemoryBlockstore::new(), path, &ImportOptions::default());
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("missing");
    assert!(matches!(import(&missing), Err(Error::Io { path, .. }) if path == missing));
    fs::write(&missing, "a file").unwrap();
    assert!(matches!(import(&missing), Err(Error::Io { path, .. }) if path == missing));
}

type Change = fn(&Path);

/// A file system on which somebody changes every file right before it is opened.
struct Restless(Change);

impl FileSystem for Restless {
    fn now(&self) -> Moment {
        RealFileSystem.now()
    }

    fn stamp(&self, path: &str, metadata: &Metadata) -> Stamp {
        RealFileSystem.stamp(path, metadata)
    }

    fn believed(&self, directory: &Path) -> Option<u64> {
        RealFileSystem.believed(directory)
    }

    fn open(&self, path: &Path) -> Result<File> {
        (self.0)(path);
        RealFileSystem.open(path)
    }
}

#[test]
fn a_file_that_changes_between_listing_and_reading_is_refused() {
    let changes: [(Change, &str); 4] = [
        (|file| fs::write(file, "longer").unwrap(), "it changed"),
        (|file| fs::write(file, "x").unwrap(), "it changed"),
        (|file| fs::remove_file(file).unwrap(), "cannot open"),
        (
            |file| {
                fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", file).unwrap();
            },
            "cannot open",
        ),
    ];
    for (change, expected) in changes {
        let place = tempfile::tempdir().unwrap();
        write_items(place.path(), &items([("sub/file", file("same"))]));
        let (store, options) = (MemoryBlockstore::new(), ImportOptions::default());
        let error = import_directory_on(&Restless(change), &store, place.path(), &options).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("sub/file"), "{text}");
    }
}

#[test]
fn the_directory_may_be_named_by_a_link_or_with_dots() {
    let place = tempfile::tempdir().unwrap();
    let tree = items([("real/.gitignore", file("out\n")), ("real/out", file("")), ("real/d/file", file(""))]);
    write_items(place.path(), &tree);
    std::os::unix::fs::symlink("real", place.path().join("link")).unwrap();
    for name in ["real", "real/", "link", "link/", "./real/.", "real/d/.."] {
        let listing = list_directory(&place.path().join(name)).unwrap();
        assert_eq!(paths(&listing), [".gitignore", "d", "d/file"], "{name}");
    }
}
