//! Real git beside us where a package is a directory within a git work tree.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    git::{git, ignore_file, number, rand::Rng, write_ignore_files, write_tree},
    support::{file, items, write_items},
};
use crate::{
    EntryKind, Listing, Selection, list_directory,
    unixfs::{listing::list, stamp::RealFileSystem},
};

/// Work trees tried unless the environment says otherwise; every directory in one is a package.
const CASES: usize = 60;

fn listed(package: &Path, user_file: Option<&Path>) -> Listing {
    let selection = Selection { user_ignore_file: user_file, ..Selection::default() };
    list(&RealFileSystem, package, &selection).unwrap().0
}

fn files(listing: &Listing) -> BTreeSet<String> {
    let entries = listing.entries.iter().filter(|entry| entry.kind != EntryKind::Directory);
    entries.map(|entry| entry.path.clone()).collect()
}

/// Runs git where this file is the user's own.
fn git_with(user_file: &Path, place: &Path, args: &[&str]) -> Vec<u8> {
    let setting = format!("core.excludesFile={}", user_file.display());
    let fixed = ["-c", &setting, "-c", "core.quotePath=false"].into_iter();
    git(place, &fixed.chain(args.iter().copied()).map(OsString::from).collect::<Vec<_>>())
}

fn split(output: &[u8]) -> BTreeSet<String> {
    let paths = output.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths.map(|path| String::from_utf8(path.to_vec()).unwrap()).collect()
}

/// What git takes for files to be added, below `place`.
fn listed_by_git(user_file: &Path, place: &Path) -> BTreeSet<String> {
    split(&git_with(user_file, place, &["ls-files", "-o", "-z", "--exclude-standard"]))
}

/// The directories that git ignores, or that lie in one.
fn ignored_by_git(user_file: &Path, root: &Path, directories: &[String]) -> BTreeSet<String> {
    let setting = format!("core.excludesFile={}", user_file.display());
    let mut command = Command::new("git");
    command.args(["-c", &setting, "check-ignore", "-z", "--no-index", "--stdin"]).current_dir(root);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let mut asked = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git is there");
    let stdin = directories.iter().filter(|path| !path.is_empty()).fold(Vec::new(), |mut all, path| {
        all.extend(format!("{path}\0").bytes());
        all
    });
    asked.stdin.take().unwrap().write_all(&stdin).unwrap();
    let output = asked.wait_with_output().unwrap();
    split(&output.stdout)
}

/// Every directory of a generated work tree holds what git takes for its files. One that git ignores is listed as if it lay
/// in no work tree.
#[test]
fn every_directory_of_a_work_tree_is_listed_as_git_lists_it() {
    let cases = number("GGEN_TEST_IGNORE_CASES", CASES * 10) / 10;
    let mut random = Rng(number("GGEN_TEST_IGNORE_SEED", 10) as u64 + 2);
    let (mut below, mut ignored_whole) = (0, 0);
    for case in 0..cases {
        let place = tempfile::tempdir().unwrap();
        let (root, user_file) = (place.path().join("root"), place.path().join("mine"));
        fs::create_dir(&root).unwrap();
        git(&root, &["init".into(), "--quiet".into()]);
        let tree = write_tree(&mut random, &root);
        write_ignore_files(&mut random, &root, &tree, ".gitignore");
        fs::create_dir_all(root.join(".git/info")).unwrap();
        fs::write(root.join(".git/info/exclude"), ignore_file(&mut random, &tree)).unwrap();
        fs::write(&user_file, ignore_file(&mut random, &tree)).unwrap();
        let by_git = listed_by_git(&user_file, &root);
        let ignored = ignored_by_git(&user_file, &root, &tree.directories);
        for directory in &tree.directories {
            let listing = listed(&root.join(directory), Some(&user_file));
            let shown = || format!("case {case}, `{directory}` in {}: {:?}", root.display(), tree.entries);
            if ignored.contains(directory) {
                assert_eq!(listing.ignored_by, [".gitignore"], "{}", shown());
                ignored_whole += 1;
                continue;
            }
            assert!(listing.ignored_by.is_empty(), "{}", shown());
            let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
            let expected: BTreeSet<_> =
                by_git.iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect();
            assert_eq!(files(&listing), expected, "{}", shown());
            below += usize::from(!directory.is_empty());
        }
    }
    assert!(below > cases && ignored_whole * 20 > cases, "{below} {ignored_whole} of {cases}");
}

/// A work tree with a package in it, and a file for each place that may keep one out.
fn monorepo(place: &Path) -> (PathBuf, PathBuf) {
    let (root, user_file) = (place.join("root"), place.join("mine"));
    fs::create_dir(&root).unwrap();
    git(&root, &["init".into(), "--quiet".into()]);
    let tree = items([
        (".gitignore", file("*.secret\n/pkgs/a/anchored\n")),
        (".ggenignore", file("*.draft\n")),
        (".git/info/exclude", file("excluded\n")),
        ("pkgs/.gitignore", file("*.mid\n/a/from-mid\n")),
        ("pkgs/a/.gitignore", file("!kept.secret\n")),
        ("pkgs/a/anchored", file("")),
        ("pkgs/a/excluded", file("")),
        ("pkgs/a/from-mid", file("")),
        ("pkgs/a/kept.secret", file("")),
        ("pkgs/a/mine", file("")),
        ("pkgs/a/src/anchored", file("")),
        ("pkgs/a/src/x.draft", file("")),
        ("pkgs/a/src/x.mid", file("")),
        ("pkgs/a/src/x.secret", file("")),
    ]);
    write_items(&root, &tree);
    fs::write(&user_file, "mine\n").unwrap();
    (root, user_file)
}

const KEPT: [&str; 3] = [".gitignore", "kept.secret", "src/anchored"];

#[test]
fn the_rules_above_a_package_count_and_a_symlink_leads_to_where_it_is() {
    let place = tempfile::tempdir().unwrap();
    let (root, user_file) = monorepo(place.path());
    symlink("root/pkgs/a", place.path().join("link")).unwrap();
    for package in [root.join("pkgs/a"), place.path().join("link"), root.join("pkgs/a/../a/.")] {
        let listing = listed(&package, Some(&user_file));
        assert_eq!(files(&listing), KEPT.map(str::to_owned).into(), "{}", package.display());
        assert_eq!(listing.ignored_by, Vec::<&str>::new());
    }
    let without = files(&list_directory(&root.join("pkgs/a")).unwrap());
    assert!(without.contains("mine") && !without.contains("excluded"), "{without:?}");
    // A relative path begins at the root of the work tree.
    fs::copy(&user_file, root.join("own")).unwrap();
    assert!(!files(&listed(&root.join("pkgs/a"), Some(Path::new("own")))).contains("mine"));
    // An exclude file may be a symlink, and one in the tree may not.
    fs::rename(root.join(".git/info/exclude"), root.join(".git/info/real")).unwrap();
    symlink("real", root.join(".git/info/exclude")).unwrap();
    fs::rename(root.join(".gitignore"), root.join("real")).unwrap();
    symlink("real", root.join(".gitignore")).unwrap();
    let listing = listed(&root.join("pkgs/a"), Some(&user_file));
    assert!(files(&listing).contains("src/x.secret") && !files(&listing).contains("excluded"));
    let link = fs::canonicalize(&root).unwrap().join(".gitignore");
    assert_eq!(listing.linked_ignore_files, [link.to_str().unwrap()]);
}

/// What a build makes is often in a directory that is ignored, and published all the same.
#[test]
fn a_package_that_is_ignored_as_a_whole_has_its_own_rules_alone() {
    for (name, kind) in
        [(".gitignore", ".gitignore"), (".ggenignore", ".ggenignore"), (".git/info/exclude", ".gitignore")]
    {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        git(&root, &["init".into(), "--quiet".into()]);
        let other = if kind == ".gitignore" { ".ggenignore" } else { ".gitignore" };
        let tree = items([
            (other, file("*.log\n")),
            (name, file("/build/\n*.txt\n")),
            ("build/pkg/.gitignore", file("own\n")),
            ("build/pkg/a.txt", file("")),
            ("build/pkg/a.log", file("")),
            ("build/pkg/own", file("")),
        ]);
        write_items(&root, &tree);
        let listing = list_directory(&root.join("build/pkg")).unwrap();
        assert_eq!(listing.ignored_by, [kind], "{name}");
        assert_eq!(files(&listing), [".gitignore", "a.txt"].map(str::to_owned).into(), "{name}");
    }
}

/// Linked work trees, submodules, and repositories within repositories: `.git` may be a file, and the nearest one counts.
#[test]
fn the_nearest_work_tree_counts_be_its_git_a_directory_or_a_file() {
    let place = tempfile::tempdir().unwrap();
    let (root, user_file) = monorepo(place.path());
    let run = |at: &Path, args: &str| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always"];
        let args = identity.into_iter().chain(args.split(' '));
        git(at, &args.map(OsString::from).collect::<Vec<_>>())
    };
    run(&root, "add -A");
    run(&root, "commit --quiet -m x");
    run(&root, "worktree add --quiet ../linked");
    let linked = place.path().join("linked");
    assert!(linked.join(".git").is_file());
    for name in ["x.secret", "excluded", "mine", "x.mid", "plain"] {
        fs::write(linked.join("pkgs/a").join(name), "").unwrap();
    }
    let listing = files(&listed(&linked.join("pkgs/a"), Some(&user_file)));
    assert!(listing.contains("plain") && listing.contains("kept.secret"), "{listing:?}");
    for name in ["x.secret", "excluded", "mine", "x.mid"] {
        assert!(!listing.contains(name), "{name}: {listing:?}");
    }

    // A submodule has a root and an exclude file of its own, whether it is the package, lies around it or in it.
    let upstream = place.path().join("upstream");
    fs::create_dir(&upstream).unwrap();
    git(&upstream, &["init".into(), "--quiet".into()]);
    write_items(&upstream, &items([("pkg/file", file("x"))]));
    run(&upstream, "add -A");
    run(&upstream, "commit --quiet -m x");
    run(&root, "submodule --quiet add ../upstream pkgs/sub");
    let module = root.join("pkgs/sub");
    assert!(module.join(".git").is_file());
    fs::write(root.join(".git/modules/pkgs/sub/info/exclude"), "*.module\n").unwrap();
    for name in ["x.secret", "x.module", "mine", "x.mid"] {
        fs::write(module.join("pkg").join(name), "").unwrap();
    }
    for package in [module.clone(), module.join("pkg")] {
        let prefix = if package == module { "pkg/" } else { "" };
        let expected = ["x.mid", "x.secret", "file"].map(|name| format!("{prefix}{name}"));
        assert_eq!(files(&listed(&package, Some(&user_file))), expected.into());
        let mut untracked = listed_by_git(&user_file, &package);
        untracked.insert(format!("{prefix}file"));
        assert_eq!(files(&listed(&package, Some(&user_file))), untracked, "as git");
    }
    // Below a package the rules above it hold as well.
    let below: Vec<_> = files(&listed(&root.join("pkgs"), Some(&user_file))).into_iter().collect();
    assert_eq!(below.iter().filter(|path| path.starts_with("sub/")).collect::<Vec<_>>(), ["sub/pkg/file"]);
}

#[test]
fn what_is_called_git_and_is_no_repository_is_no_root() {
    let place = tempfile::tempdir().unwrap();
    let tree = items([(".gitignore", file("*.secret\n")), ("pkg/x.secret", file("")), ("pkg/file", file(""))]);
    write_items(place.path(), &tree);
    let package = place.path().join("pkg");
    let git = place.path().join(".git");
    for text in ["", "gitdir: nowhere\n", "gitdir: \n", "something else", "gitdir: /dev/null\n"] {
        fs::write(&git, text).unwrap();
        assert!(files(&list_directory(&package).unwrap()).contains("x.secret"), "{text:?}");
    }
    fs::remove_file(&git).unwrap();
    fs::create_dir_all(git.join("refs")).unwrap();
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    assert!(files(&list_directory(&package).unwrap()).contains("x.secret"));
    fs::create_dir(git.join("objects")).unwrap();
    assert!(!files(&list_directory(&package).unwrap()).contains("x.secret"));
}
