//! Real tarballs, compared with GNU tar.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{
    crates::cargo_home,
    gnu_tar::{Outcome, compare, is_here},
    nodes::Node,
    trees::varied_package,
};

/// Most crates of cargo's cache that are compared.
const CRATES: usize = 60;

/// A tree that covers the differences between tar formats: long names and link targets, names beyond ASCII, modes,
/// links.
fn make_tree(top: &Path) {
    let deep = top.join("a-directory-with-a-long-name".repeat(4)).join("another-directory".repeat(8));
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(top.join("empty/folder")).unwrap();
    fs::write(deep.join("a file with a name that is long ".repeat(6).trim()), "deep").unwrap();
    fs::write(top.join("caf\u{e9} \u{1f600}"), "unicode").unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    fs::write(top.join("large"), vec![7; 3_000_000]).unwrap();
    fs::write(top.join("._large"), "attributes").unwrap();
    fs::write(top.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(top.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(top.join("nothing"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(top.join("run"), top.join("run-too")).unwrap();
    let far = deep.strip_prefix(top).unwrap();
    std::os::unix::fs::symlink(far, top.join("far")).unwrap();
    std::os::unix::fs::symlink("../large", top.join("empty/near")).unwrap();
}

fn tar(directory: &Path, arguments: &[&str]) {
    let output = Command::new("tar").current_dir(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "tar {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn archives_of_every_format_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let work = TempDir::new().unwrap();
    make_tree(&work.path().join("pkg"));
    for format in ["gnu", "oldgnu", "pax", "posix"] {
        let format = format!("--format={format}");
        for (name, arguments) in [
            ("plain.tar", &["--create", "--file", "plain.tar", &format, "pkg"][..]),
            ("flat.tar.gz", &["--create", "--gzip", "--file", "flat.tar.gz", &format, "-C", "pkg", "."]),
            ("dotted.tgz", &["--create", "--gzip", "--file", "dotted.tgz", &format, "./pkg"]),
            ("padded.tar", &["--create", "--file", "padded.tar", "--blocking-factor=200", &format, "pkg"]),
        ] {
            tar(work.path(), arguments);
            let outcome = compare(&work.path().join(name));
            assert!(matches!(outcome, Outcome::Same(count) if count > 9), "{format} {name}: {outcome:?}");
        }
    }
}

/// The old formats do not support long names.
#[test]
fn archives_of_old_formats_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let work = TempDir::new().unwrap();
    let top = work.path().join("pkg");
    fs::create_dir_all(top.join("sub")).unwrap();
    fs::write(top.join("sub/file"), "x").unwrap();
    fs::hard_link(top.join("sub/file"), top.join("sub/linked")).unwrap();
    std::os::unix::fs::symlink("file", top.join("sub/near")).unwrap();
    for format in ["v7", "ustar"] {
        tar(work.path(), &["--create", "--file", "old.tar", &format!("--format={format}"), "pkg"]);
        assert_eq!(compare(&work.path().join("old.tar")), Outcome::Same(3), "{format}");
        // Data after a gzip stream, and a missing end marker.
        let archive = fs::read(work.path().join("old.tar")).unwrap();
        let end = archive.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512);
        fs::write(work.path().join("cut.tar"), &archive[..end]).unwrap();
        assert_eq!(compare(&work.path().join("cut.tar")), Outcome::Same(3), "{format} without its end");
        let gzip = Command::new("gzip").arg("--keep").arg(work.path().join("cut.tar")).status().unwrap();
        assert!(gzip.success());
        let padded = [fs::read(work.path().join("cut.tar.gz")).unwrap(), vec![0; 1000]].concat();
        fs::write(work.path().join("cut.tar.gz"), padded).unwrap();
        assert_eq!(compare(&work.path().join("cut.tar.gz")), Outcome::Same(3), "{format} with zeros after gzip");
        fs::remove_file(work.path().join("cut.tar.gz")).unwrap();
    }
}

/// Entries that come again, of every kind in place of every other, as `--update`, `--append` and `--concatenate` write them.
#[test]
fn archives_that_were_added_to_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let work = TempDir::new().unwrap();
    let (top, archive) = (work.path().join("pkg"), work.path().join("added.tar"));
    fs::create_dir_all(top.join("empty")).unwrap();
    fs::create_dir_all(top.join("folder")).unwrap();
    for name in ["changes", "becomes-a-link", "becomes-a-directory", "becomes-a-hard-link", "same", "folder/first"] {
        fs::write(top.join(name), format!("first {name}")).unwrap();
    }
    fs::hard_link(top.join("changes"), top.join("linked-before")).unwrap();
    std::os::unix::fs::symlink("same", top.join("was-a-link")).unwrap();
    fs::hard_link(top.join("was-a-link"), top.join("linked-to-the-link")).unwrap();
    tar(work.path(), &["--create", "--file", "added.tar", "pkg"]);
    assert_eq!(compare(&archive), Outcome::Same(10));

    for name in ["becomes-a-link", "becomes-a-directory", "becomes-a-hard-link", "was-a-link"] {
        fs::remove_file(top.join(name)).unwrap();
    }
    fs::remove_dir(top.join("empty")).unwrap();
    fs::remove_file(top.join("changes")).unwrap();
    fs::write(top.join("changes"), "second, and longer").unwrap();
    fs::set_permissions(top.join("changes"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("empty"), "a file").unwrap();
    fs::write(top.join("was-a-link"), "a file").unwrap();
    fs::write(top.join("folder/second"), "second").unwrap();
    std::os::unix::fs::symlink("same", top.join("becomes-a-link")).unwrap();
    fs::create_dir(top.join("becomes-a-directory")).unwrap();
    fs::write(top.join("becomes-a-directory/inside"), "x").unwrap();
    fs::hard_link(top.join("same"), top.join("becomes-a-hard-link")).unwrap();
    tar(work.path(), &["--append", "--file", "added.tar", "pkg"]);
    assert_eq!(compare(&archive), Outcome::Same(11), "--append");

    fs::write(top.join("same"), "third").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(top.join("same")).unwrap().set_modified(later).unwrap();
    tar(work.path(), &["--update", "--file", "added.tar", "pkg"]);
    assert_eq!(compare(&archive), Outcome::Same(11), "--update");

    fs::write(top.join("changes"), "fourth").unwrap();
    tar(work.path(), &["--create", "--file", "more.tar", "pkg/changes"]);
    tar(work.path(), &["--concatenate", "--file", "added.tar", "more.tar"]);
    assert_eq!(compare(&archive), Outcome::Same(11), "--concatenate");
}

#[test]
fn sparse_files_of_every_form_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let work = TempDir::new().unwrap();
    let top = work.path().join("pkg");
    fs::create_dir(&top).unwrap();
    // Holes before, between and after the data; more parts than a header has room for; a hole alone; a long name.
    for (name, parts, bytes) in [("few", 3_u64, 1_000_000_u64), ("many", 100, 10_000_000), ("hole", 0, 70_000)] {
        let file = fs::File::create(top.join(name)).unwrap();
        file.set_len(bytes).unwrap();
        for part in 0..parts {
            let data = format!("part {part} of {name}");
            std::os::unix::fs::FileExt::write_all_at(&file, data.as_bytes(), (2 * part + 1) * 32_768).unwrap();
        }
    }
    fs::copy(top.join("few"), top.join("a name that is long ".repeat(11).trim())).unwrap();
    fs::write(top.join("plain"), "plain").unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        tar(work.path(), &[&["--create", "--sparse", "--file", "sparse.tar"], format, &["pkg"]].concat());
        let archive = work.path().join("sparse.tar");
        assert!(fs::metadata(&archive).unwrap().len() < 2_000_000, "{format:?} is sparse");
        assert_eq!(compare(&archive), Outcome::Same(5), "{format:?}");
    }
}

#[test]
fn incremental_archives_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let work = TempDir::new().unwrap();
    make_tree(&work.path().join("pkg"));
    for format in ["gnu", "pax"] {
        let _first = fs::remove_file(work.path().join("snapshot"));
        let format = format!("--format={format}");
        let arguments = ["--create", "--listed-incremental=snapshot", &format, "--file", "dump.tar", "pkg"];
        for level in ["all of it", "what changed"] {
            tar(work.path(), &arguments);
            let outcome = compare(&work.path().join("dump.tar"));
            assert!(matches!(outcome, Outcome::Same(2..)), "{format}, {level}: {outcome:?}");
            fs::write(work.path().join("pkg/changed"), format!("{format} {level}")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_warns_of_an_archive_that_may_have_been_cut_off() {
    let work = TempDir::new().unwrap();
    varied_package(&work.path().join("pkg"), "cut", "1.0.0");
    tar(work.path(), &["--create", "--file", "whole.tar", "pkg"]);
    let archive = fs::read(work.path().join("whole.tar")).unwrap();
    let end = archive.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512);
    fs::write(work.path().join("cut.tar"), &archive[..end]).unwrap();
    let alice = Node::start().await;
    let warnings = alice.publish(&work.path().join("cut.tar")).await.warnings;
    assert!(warnings.iter().any(|warning| warning.to_string().contains("no end marker")), "{warnings:?}");
}

#[test]
fn crates_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let registries = fs::read_dir(cargo_home().join("registry/cache")).into_iter().flatten().flatten();
    let entries = registries.flat_map(|registry| fs::read_dir(registry.path()).into_iter().flatten().flatten());
    let mut archives: Vec<_> = entries.map(|entry| (entry.metadata().unwrap().len(), entry.path())).collect();
    archives.sort_unstable();
    // Archives of various sizes, up to a megabyte.
    archives.retain(|(bytes, path)| *bytes < 1 << 20 && path.extension().is_some_and(|kind| kind == "crate"));
    let step = archives.len().div_ceil(CRATES).max(1);
    for (_, archive) in archives.into_iter().step_by(step) {
        let outcome = compare(&archive);
        assert!(matches!(outcome, Outcome::Same(_)), "{}: {outcome:?}", archive.display());
    }
}
