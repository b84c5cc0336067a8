//! Tarballs in and out.

mod sparse;

use std::{cell::Cell, io::Write};

use proptest::prelude::*;

use super::support::{Item, Items, file, items, read_items, whole, write_items};
use crate::{
    ArchiveLimits, ArchiveNote, Blockstore, Error, ExportOptions, Finding, ImportOptions, Imported, Inspected,
    MemoryBlockstore, Refusal, Result, export_directory, export_tar, import_directory, import_tarball, list_tarball,
};

/// Headers by an independent writer, which checks nothing that is set this way.
fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, link: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn tar_of(entries: &[(&str, tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, link, content) in entries {
        append(&mut tar, path, *kind, link, 0o644, content.as_bytes());
    }
    tar.into_inner().unwrap()
}

fn tar_of_items(top: &str, items: &Items) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, item) in items {
        let path = format!("{top}{path}");
        let mut header = tar::Header::new_gnu();
        header.set_mode(if matches!(item, Item::Executable(_)) { 0o755 } else { 0o644 });
        header.set_size(0);
        match item {
            Item::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, &b""[..]).unwrap();
            }
            Item::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target).unwrap();
            }
            Item::File(content) | Item::Executable(content) => {
                header.set_size(content.len() as u64);
                tar.append_data(&mut header, path, &content[..]).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn import(store: &MemoryBlockstore, archive: &[u8]) -> Result<Imported> {
    import_tarball(store, &mut &archive[..], &ImportOptions::default())
}

fn refusal(archive: &[u8]) -> (String, Refusal) {
    let listed = list_tarball(&mut &archive[..], ArchiveLimits::default()).unwrap_err().to_string();
    assert_eq!(listed, import(&MemoryBlockstore::new(), archive).unwrap_err().to_string());
    match import(&MemoryBlockstore::new(), archive) {
        Err(Error::Refused { entry, refusal }) => (entry, refusal),
        other => panic!("{other:?}"),
    }
}

fn sample() -> Items {
    let long = format!("{}/{}", "directory".repeat(14), "name".repeat(40));
    items([
        ("README.md", file("hello")),
        ("big", Item::File((0..3_000_000_u32).map(|index| (index.wrapping_mul(40_503) >> 7) as u8).collect())),
        ("empty", file("")),
        ("nothing/here", Item::Directory),
        ("bin/run", Item::Executable(b"#!/bin/sh\n".to_vec())),
        ("bin/link", Item::Link("../README.md".to_owned())),
        (&long, file("a path that no header has room for")),
        ("far", Item::Link(long.clone())),
    ])
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIRECTORY: tar::EntryType = tar::EntryType::Directory;
const SYMLINK: tar::EntryType = tar::EntryType::Symlink;
const HARD_LINK: tar::EntryType = tar::EntryType::Link;

#[test]
fn every_form_of_a_tarball_is_the_directory_it_was_made_of() {
    let place = tempfile::tempdir().unwrap();
    write_items(place.path(), &sample());
    let store = MemoryBlockstore::new();
    let expected = import_directory(&store, place.path(), &ImportOptions::default()).unwrap();
    let flat = tar_of_items("", &sample());
    let topped = tar_of_items("package-1.0/", &sample());
    let dotted = tar_of_items("./package-1.0/", &sample());
    let zstd = zstd::encode_all(&topped[..], 1).unwrap();
    for archive in [flat, gzip(&topped), topped, dotted, zstd] {
        let imported = import(&store, &archive).unwrap();
        assert_eq!(imported.root, expected.root);
        assert_eq!((imported.files, imported.size_bytes), (expected.files, expected.size_bytes));
        assert_eq!(imported.executables, ["bin/run"]);
        assert_eq!(imported.entries, expected.entries);
        let listing = list_tarball(&mut &archive[..], ArchiveLimits::default()).unwrap();
        assert_eq!((listing.entries, listing.size_bytes), (imported.entries, imported.size_bytes));
    }
}

#[test]
fn the_canonical_tarball_gives_the_same_root_and_an_independent_reader_the_same_tree() {
    let store = MemoryBlockstore::new();
    let imported = import(&store, &gzip(&tar_of_items("top/", &sample()))).unwrap();
    let options = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
    let mut tarball = Vec::new();
    export_tar(&store, imported.root, &mut tarball, &options).unwrap();
    let again = import(&store, &tarball).unwrap();
    assert_eq!((again.root, again.executables), (imported.root, imported.executables.clone()));

    let mut paths = Vec::new();
    for entry in tar::Archive::new(&tarball[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let path = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let mode = match header.entry_type() {
            DIRECTORY => 0o755,
            SYMLINK => 0o777,
            _ if path == "bin/run" => 0o755,
            _ => 0o644,
        };
        assert_eq!(header.mode().unwrap(), mode, "{path}");
        paths.push(path.trim_end_matches('/').to_owned());
    }
    assert!(paths.is_sorted());
    assert_eq!(paths.len(), imported.entries.len() + 1);

    let place = tempfile::tempdir().unwrap();
    tar::Archive::new(&tarball[..]).unpack(place.path()).unwrap();
    assert_eq!(import_directory(&store, place.path(), &ImportOptions::default()).unwrap().root, imported.root);
}

#[test]
fn a_canonical_tarball_with_one_folder_keeps_it() {
    let (store, place) = (MemoryBlockstore::new(), tempfile::tempdir().unwrap());
    write_items(place.path(), &items([("src/lib.rs", file("x"))]));
    let imported = import_directory(&store, place.path(), &ImportOptions::default()).unwrap();
    let mut tarball = Vec::new();
    export_tar(&store, imported.root, &mut tarball, &ExportOptions::default()).unwrap();
    assert_eq!(import(&store, &tarball).unwrap().root, imported.root);
    assert_eq!(tarball.len() % 512, 0);
}

#[test]
fn hard_links_to_earlier_files_are_those_files() {
    let store = MemoryBlockstore::new();
    let linked = tar_of(&[("t/a", FILE, "", "same"), ("t/b", HARD_LINK, "t/a", ""), ("t/c", HARD_LINK, "t/b", "")]);
    let copied = tar_of(&[("a", FILE, "", "same"), ("b", FILE, "", "same"), ("c", FILE, "", "same")]);
    let imported = import(&store, &linked).unwrap();
    assert_eq!((imported.root, imported.files), (import(&store, &copied).unwrap().root, 3));
    for target in ["t/later", "../outside", "t", "/etc/passwd"] {
        let archive = tar_of(&[("t/a", FILE, "", "x"), ("t/b", HARD_LINK, target, ""), ("t/later", FILE, "", "x")]);
        assert_eq!(refusal(&archive).0, "t/b", "{target}");
    }
}

#[test]
fn unsafe_entries_are_refused_by_name() {
    let one = |path, kind, link| refusal(&tar_of(&[("gpack.toml", FILE, "", ""), (path, kind, link, "")]));
    assert_eq!(one("../evil", FILE, ""), ("../evil".to_owned(), Refusal::ParentPath));
    assert_eq!(one("a/../../evil", FILE, ""), ("a/../../evil".to_owned(), Refusal::ParentPath));
    assert_eq!(one("/etc/passwd", FILE, ""), ("/etc/passwd".to_owned(), Refusal::AbsolutePath));
    assert!(matches!(one("link", SYMLINK, "/etc/passwd").1, Refusal::LinkLeavesTree { .. }));
    assert!(matches!(one("a/link", SYMLINK, "../../x").1, Refusal::LinkLeavesTree { .. }));
    assert!(matches!(one("link", SYMLINK, "").1, Refusal::LinkTarget { .. }));
    assert_eq!(one("gpack.toml/x", FILE, "").1, Refusal::FileAndDirectory);
    assert!(matches!(one("GPACK.toml", FILE, "").1, Refusal::CaseCollision { .. }));
    assert_eq!(one("null", tar::EntryType::Char, "").1, Refusal::Special { what: "a device" });
    assert_eq!(one("disk", tar::EntryType::Block, "").1, Refusal::Special { what: "a device" });
    assert_eq!(one("pipe", tar::EntryType::Fifo, "").1, Refusal::Special { what: "a pipe" });
    assert!(matches!(one(".", FILE, "").1, Refusal::Name { .. }));
}

fn contents(store: &MemoryBlockstore, imported: &Imported) -> Items {
    let place = tempfile::tempdir().unwrap();
    let options = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
    export_directory(store, imported.root, &place.path().join("tree"), &options).unwrap();
    read_items(&place.path().join("tree"))
}

/// `tar --update`, `--append` and `--concatenate` write such archives.
#[test]
fn the_last_entry_of_a_name_counts() {
    let a = ("a", FILE, "", "first");
    let [other, link, empty] = [("a", FILE, "", "last"), ("./a", SYMLINK, "b", ""), ("a", DIRECTORY, "", "")];
    let (linked, below) = (("a", HARD_LINK, "b", ""), ("a/x", FILE, "", "x"));
    for (entries, expected) in [
        (&[a, other][..], vec![("a", file("last"))]),
        (&[a, link], vec![("a", Item::Link("b".to_owned()))]),
        (&[link, other], vec![("a", file("last"))]),
        (&[a, linked], vec![("a", file("other"))]),
        (&[a, empty, below], vec![("a/x", file("x"))]),
        (&[link, empty, below], vec![("a/x", file("x"))]),
        (&[empty, other], vec![("a", file("last"))]),
        (&[empty, link], vec![("a", Item::Link("b".to_owned()))]),
        (&[a, ("c", HARD_LINK, "a", ""), other], vec![("a", file("last")), ("c", file("first"))]),
        (&[a, ("a", HARD_LINK, "a", "")], vec![("a", file("first"))]),
    ] {
        let archive = tar_of(&[&[("b", FILE, "", "other")][..], entries].concat());
        let store = MemoryBlockstore::new();
        let imported = import(&store, &archive).unwrap_or_else(|error| panic!("{entries:?}: {error}"));
        let expected = expected.into_iter().chain([("b", file("other"))]);
        let expected: Items = expected.map(|(path, item)| (path.to_owned(), item)).collect();
        assert_eq!(contents(&store, &imported), whole(&expected), "{entries:?}");
        assert_eq!(imported.notes, [ArchiveNote::Repeated { path: "a".to_owned(), replaced: 1 }]);
        assert_eq!(list_tarball(&mut &archive[..], ArchiveLimits::default()).unwrap().entries, imported.entries);
    }
    // GNU tar does not unpack these either, or writes through the link.
    for entries in [[empty, below, other], [a, below, other], [link, below, other]] {
        assert_eq!(refusal(&tar_of(&entries)).1, Refusal::FileAndDirectory, "{entries:?}");
    }
    // A name that begins like a directory's does not lie in it.
    assert_eq!(import(&MemoryBlockstore::new(), &tar_of(&[empty, ("a!", FILE, "", ""), other])).unwrap().files, 2);
}

/// From the first finding on no block is put: what is found in a file that is no part of the tree in the end, too.
#[test]
fn a_secret_in_an_entry_that_a_later_one_replaces_is_refused() {
    let inspect = |_: &str, inspected: Inspected<'_>| match inspected {
        Inspected::Content(content) => content.starts_with(b"secret").then_some("a secret"),
        _ => None,
    };
    let replaced = [("t/a", FILE, "", "secret"), ("t/b", FILE, "", "b"), ("t/a", FILE, "", "none")];
    let beside = [("._t", FILE, "", "secret"), ("t/", DIRECTORY, "", ""), ("t/b", FILE, "", "b")];
    for (path, archive) in [("t/a", tar_of(&replaced)), ("._t", tar_of(&beside))] {
        let (store, options) =
            (MemoryBlockstore::new(), ImportOptions { inspect: Some(&inspect), ..ImportOptions::default() });
        let error = import_tarball(&store, &mut &archive[..], &options).unwrap_err();
        let Error::Archive { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains(&format!("`{path}`")) && reason.contains("holds a secret"), "{reason}");
        let take = |_: &str| true;
        let imported = import_tarball(&store, &mut &archive[..], &ImportOptions { take_found: Some(&take), ..options });
        assert!(imported.unwrap().found.is_empty());
    }
}

#[test]
fn a_hard_link_to_a_symlink_is_that_symlink() {
    let store = MemoryBlockstore::new();
    let linked = tar_of(&[("t/a", SYMLINK, "c", ""), ("t/b", HARD_LINK, "t/a", ""), ("t/c", FILE, "", "x")]);
    let copied = tar_of(&[("a", SYMLINK, "c", ""), ("b", SYMLINK, "c", ""), ("c", FILE, "", "x")]);
    assert_eq!(import(&store, &linked).unwrap().root, import(&store, &copied).unwrap().root);
    // Its target is taken from where the link is.
    let outside = tar_of(&[("t/d/a", SYMLINK, "../c", ""), ("t/b", HARD_LINK, "t/d/a", ""), ("t/c", FILE, "", "x")]);
    assert!(matches!(refusal(&outside), (path, Refusal::LinkLeavesTree { .. }) if path == "b"));
}

/// `tar --listed-incremental` writes the names in each directory as the content of its entry.
#[test]
fn the_names_in_a_directory_of_an_incremental_archive_are_skipped() {
    let store = MemoryBlockstore::new();
    let names = format!("Ya\0{}\0\0", "Nb".repeat(400));
    let dump = tar_of(&[("t/", tar::EntryType::new(b'D'), "", &names), ("t/a", FILE, "", "x")]);
    let imported = import(&store, &dump).unwrap();
    assert_eq!(imported.root, import(&store, &tar_of(&[("a", FILE, "", "x")])).unwrap().root);
    assert_eq!(imported.notes, [ArchiveNote::Incremental]);
    assert_eq!(refusal(&tar_of(&[("t/a", tar::EntryType::new(b'M'), "", "x")])).0, "t/a");
}

#[test]
fn a_link_may_not_leave_the_tree_into_the_folder_that_is_stripped() {
    let archive = tar_of(&[("top/file", FILE, "", ""), ("top/link", SYMLINK, "../top/file", "")]);
    assert!(matches!(refusal(&archive), (path, Refusal::LinkLeavesTree { .. }) if path == "link"));
}

#[test]
fn version_control_is_left_out_of_a_tarball_too() {
    let store = MemoryBlockstore::new();
    let with =
        tar_of(&[("t/a", FILE, "", "x"), ("t/.git/config", FILE, "", "secret"), ("t/.gitignore", FILE, "", "a")]);
    let imported = import(&store, &with).unwrap();
    let paths: Vec<_> = imported.entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, [".gitignore", "a"]);
}

/// The top folder is no part of the tree: what is taken in is said without it.
#[test]
fn what_is_found_is_taken_in_by_its_path_in_the_tree() {
    let tree = items([("keys/a", file("secret")), ("keys/b", file("secret too")), ("plain", file("plain"))]);
    let inspect = |_: &str, inspected: Inspected<'_>| match inspected {
        Inspected::Content(content) => content.starts_with(b"secret").then_some("a secret"),
        _ => None,
    };
    for top in ["", "package-1.0/", "./package-1.0/"] {
        let archive = tar_of_items(top, &tree);
        for (taken, refused) in [("keys/", None), ("keys/a", Some("keys/b"))] {
            let take = |path: &str| path.starts_with(taken);
            let options =
                ImportOptions { inspect: Some(&inspect), take_found: Some(&take), ..ImportOptions::default() };
            let store = MemoryBlockstore::new();
            match (import_tarball(&store, &mut &archive[..], &options), refused) {
                (Ok(imported), None) => {
                    let found: Vec<_> = imported.found.iter().map(|found| found.path.as_str()).collect();
                    assert_eq!(found, ["keys/a", "keys/b"], "{top}");
                    export_tar(&store, imported.root, &mut Vec::new(), &ExportOptions::default()).unwrap();
                }
                (Err(Error::Withheld { findings }), Some(refused)) => {
                    assert_eq!(findings, [Finding { path: refused.to_owned(), what: "a secret" }], "{top}");
                }
                (outcome, _) => panic!("{top}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn an_archive_cut_off_within_an_entry_is_refused() {
    let plain = tar_of(&[("a", FILE, "", "x"), ("b", FILE, "", &"content ".repeat(200))]);
    let store = MemoryBlockstore::new();
    let end = plain.len() - 1024;
    // The header and the content of `a` take a block each.
    for length in (0..end).step_by(64).filter(|length| *length != 1024) {
        assert!(matches!(import(&store, &plain[..length]), Err(Error::Archive { .. })), "{length} of {}", plain.len());
    }
    for packed in [gzip(&plain), zstd::encode_all(&plain[..], 3).unwrap()] {
        for length in 0..packed.len() {
            assert!(
                matches!(import(&store, &packed[..length]), Err(Error::Archive { .. })),
                "{length} of {}",
                packed.len()
            );
        }
        assert!(import(&store, &packed).is_ok());
    }
}

#[test]
fn a_missing_end_marker_is_noted() {
    let plain = tar_of(&[("a", FILE, "", "x"), ("b", FILE, "", "y")]);
    let store = MemoryBlockstore::new();
    let whole = import(&store, &plain).unwrap();
    assert!(whole.notes.is_empty());
    let end = plain.len() - 1024;
    for (length, notes) in [(end, 1), (end + 100, 1), (end + 512, 0), (end + 700, 0)] {
        for archive in [plain[..length].to_vec(), gzip(&plain[..length])] {
            let imported = import(&store, &archive).unwrap_or_else(|error| panic!("{length}: {error}"));
            assert_eq!((imported.root, imported.notes.len()), (whole.root, notes), "{length}");
            assert!(imported.notes.iter().all(|note| *note == ArchiveNote::NoEndMarker));
        }
    }
    // Between two entries: what is there is read, as GNU tar reads it.
    assert_eq!(import(&store, &plain[..1024]).unwrap().files, 1);
    let named_alone = gnu_long_name(&"long".repeat(50));
    assert!(import(&store, &named_alone).is_err(), "a name without its entry");
}

/// A header that gives the next entry a long name, with no entry after it.
fn gnu_long_name(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "././@LongLink", tar::EntryType::GNULongName, "", 0o644, name.as_bytes());
    let archive = tar.into_inner().unwrap();
    archive[..archive.len() - 1024].to_vec()
}

/// As the packers of npm's `tap@0.0.14` and of tapes wrote them; gzip, GNU tar and npm ignore the zeros.
#[test]
fn zeros_between_and_after_gzip_members_are_ignored() {
    let plain = tar_of(&[("a", FILE, "", "x"), ("b", FILE, "", &"content ".repeat(200))]);
    let store = MemoryBlockstore::new();
    let root = import(&store, &plain).unwrap().root;
    let (first, second) = plain.split_at(700);
    for zeros in [0, 1, 512, 300_000] {
        let after = [gzip(&plain), vec![0; zeros]].concat();
        let between = [gzip(first), vec![0; zeros], gzip(second), vec![0; zeros]].concat();
        for archive in [after, between] {
            assert_eq!(import(&store, &archive).unwrap_or_else(|error| panic!("{zeros}: {error}")).root, root);
        }
    }
    let followed = [gzip(&plain), vec![0; 100], b"garbage".to_vec()].concat();
    assert!(matches!(import(&store, &followed), Err(Error::Archive { .. })));
}

/// pzstd begins every frame with a skippable one, which states how long the next is.
#[test]
fn skippable_frames_of_zstd_are_skipped() {
    let plain = tar_of(&[("a", FILE, "", "x"), ("b", FILE, "", &"content ".repeat(200))]);
    let store = MemoryBlockstore::new();
    let root = import(&store, &plain).unwrap().root;
    let (first, second) = plain.split_at(700);
    let frames = [first, second].map(|part| zstd::encode_all(part, 1).unwrap());
    for magic in [0x50, 0x5f] {
        let skippable = |length: usize| {
            [vec![magic, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], (length as u32).to_le_bytes().to_vec()].concat()
        };
        let archive: Vec<u8> =
            frames.iter().flat_map(|frame| [skippable(frame.len()), frame.clone()].concat()).collect();
        assert_eq!(import(&store, &archive).unwrap().root, root);
    }
}

/// GNU tar ignores them, and some writers put the size of what a link points to there.
#[test]
fn a_size_in_the_header_of_a_link_or_directory_means_nothing() {
    let sized = |sizes: u64| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, link, content) in [
            ("t/", DIRECTORY, "", ""),
            ("t/a", FILE, "", "same"),
            ("t/d", DIRECTORY, "", ""),
            ("t/e/", FILE, "", ""),
            ("t/l", SYMLINK, "a", ""),
            ("t/h", HARD_LINK, "t/a", ""),
            ("t/z", FILE, "", "last"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(if content.is_empty() { sizes } else { content.len() as u64 });
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let store = MemoryBlockstore::new();
    let expected = import(&store, &sized(0)).unwrap();
    for size in [1, 4096, 5000] {
        assert_eq!(import(&store, &sized(size)).unwrap().root, expected.root, "{size}");
    }
    assert_eq!(expected.files, 3);
}

/// macOS's tar writes the attributes of each entry before it; those of the top folder lie beside it.
#[test]
fn the_double_of_a_top_folder_does_not_keep_it_from_being_one() {
    let store = MemoryBlockstore::new();
    let entries = [
        ("._pkg", FILE, "", "attributes"),
        ("pkg/", DIRECTORY, "", ""),
        ("pkg/._a", FILE, "", "attributes"),
        ("pkg/a", FILE, "", "x"),
    ];
    let expected = import(&store, &tar_of(&[("._a", FILE, "", "attributes"), ("a", FILE, "", "x")])).unwrap();
    let imported = import(&store, &tar_of(&entries)).unwrap();
    assert_eq!(imported.root, expected.root);
    assert_eq!(imported.notes, [ArchiveNote::LeftOut { path: "._pkg".to_owned() }]);
    let listing = list_tarball(&mut &tar_of(&entries)[..], ArchiveLimits::default()).unwrap();
    assert_eq!(listing.entries, imported.entries);
    // Beside more than that folder, or where the archive says that there is none, it is a file like others.
    for other in [("._b", FILE, "", ""), ("b", FILE, "", ""), ("./", DIRECTORY, "", "")] {
        let more = import(&store, &tar_of(&[&entries[..], &[other]].concat())).unwrap();
        assert!(more.entries.iter().any(|entry| entry.path == "._pkg") && more.notes.is_empty(), "{other:?}");
    }
}

#[test]
fn a_damaged_archive_is_refused() {
    let plain = tar_of(&[("a", FILE, "", "x"), ("b", FILE, "", &"content ".repeat(200))]);
    let store = MemoryBlockstore::new();
    let packed = gzip(&plain);
    let checksum = packed.len() - 8;
    let mut damaged = packed.clone();
    damaged[checksum] ^= 1;
    let mut followed = packed.clone();
    followed.extend_from_slice(b"garbage");
    let mut header = plain.clone();
    header[1024] ^= 1;
    let mut tail = plain.clone();
    tail.extend_from_slice(b"garbage");
    let foreign = b"PK\x03\x04 a zip file that somebody renamed".to_vec();
    for archive in [damaged, followed, header, tail, foreign, Vec::new(), b"text".to_vec(), vec![0xff; 4096]] {
        assert!(matches!(import(&store, &archive), Err(Error::Archive { .. })));
    }
}

#[test]
fn a_bomb_is_stopped_by_its_ratio_and_by_its_size() {
    let zeros = vec![0; 8 << 20];
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "zeros", FILE, "", 0o644, &zeros);
    let plain = tar.into_inner().unwrap();
    let limits = ArchiveLimits { max_bytes: 1 << 40, max_ratio: 20, ratio_free_bytes: 1 << 20 };
    let store = MemoryBlockstore::new();
    let import = |archive: &[u8], archive_limits| {
        let seen = Cell::new(0);
        let options = ImportOptions { archive: archive_limits, ..ImportOptions::default() };
        let result = import_tarball(&store, &mut &archive[..], &options);
        seen.set(store.stats().block_bytes);
        (result.map(|imported| imported.files), seen.get())
    };
    for packed in [gzip(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
        let (result, stored) = import(&packed, limits);
        assert!(matches!(&result, Err(Error::Archive { reason, .. }) if reason.contains("20 times")), "{result:?}");
        assert!(stored < 4 << 20);
        let small = ArchiveLimits { max_bytes: 2 << 20, ..ArchiveLimits::default() };
        assert!(
            matches!(import(&packed, small).0, Err(Error::Archive { reason, .. }) if reason.contains("2097152 bytes"))
        );
        assert!(matches!(import(&packed, ArchiveLimits::default()).0, Ok(1)));
    }
    assert!(matches!(import(&plain, limits).0, Ok(1)));
}

#[test]
fn headers_cannot_make_memory_grow() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let error = import(&MemoryBlockstore::new(), header.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("header in it is larger"), "{error}");
}

#[test]
fn a_zstd_window_that_is_too_large_is_named() {
    let plain = tar_of(&[("a", FILE, "", "x")]);
    let packed = |window_log: u32| {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    assert!(import(&MemoryBlockstore::new(), &packed(27)).is_ok());
    for archive in [packed(28), [packed(20), packed(28)].concat()] {
        let error = import(&MemoryBlockstore::new(), &archive).unwrap_err().to_string();
        assert!(error.contains("larger than 128 MiB") && error.contains("--long=27"), "{error}");
    }
}

/// Each takes little of the archive once it is compressed.
#[test]
fn link_targets_cannot_make_memory_grow() {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "././@LongLink", tar::EntryType::GNULongLink, "", 0o644, "x/".repeat(4096).as_bytes());
    append(&mut tar, "a", SYMLINK, "", 0o644, b"");
    append(&mut tar, "null", tar::EntryType::Char, "", 0o644, b"");
    let (entry, refusal) = refusal(&tar.into_inner().unwrap());
    assert!(entry == "a" && matches!(refusal, Refusal::LinkTarget { .. }), "it is refused before what follows");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, byte: u8, packed: bool) {
        let plain = tar_of(&[("t/a", FILE, "", "x"), ("t/b", SYMLINK, "a", ""), ("t/c", FILE, "", &"y".repeat(600))]);
        let mut archive = if packed { gzip(&plain) } else { plain };
        let at = at.index(archive.len());
        archive[at] = byte;
        drop(import(&MemoryBlockstore::new(), &archive));
    }
}
