//! Tarballs as they are in the world, against GNU tar.

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

/// A tree with what the formats of tar differ in: long names and link targets, names beyond ASCII, modes, links.
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

/// The old formats have no long names.
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
        // What follows a gzip stream, and an end marker that is missing.
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
    assert!(warnings.iter().any(|warning| warning.contains("no end marker")), "{warnings:?}");
}

#[test]
fn crates_give_the_tree_that_gnu_tar_gives() {
    assert!(is_here(), "this test needs GNU tar");
    let registries = fs::read_dir(cargo_home().join("registry/cache")).into_iter().flatten().flatten();
    let entries = registries.flat_map(|registry| fs::read_dir(registry.path()).into_iter().flatten().flatten());
    let mut archives: Vec<_> = entries.map(|entry| (entry.metadata().unwrap().len(), entry.path())).collect();
    archives.sort_unstable();
    // Some of every size, up to a megabyte.
    archives.retain(|(bytes, path)| *bytes < 1 << 20 && path.extension().is_some_and(|kind| kind == "crate"));
    let step = archives.len().div_ceil(CRATES).max(1);
    for (_, archive) in archives.into_iter().step_by(step) {
        let outcome = compare(&archive);
        assert!(matches!(outcome, Outcome::Same(_)), "{}: {outcome:?}", archive.display());
    }
}
