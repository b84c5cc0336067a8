//! What git cannot say of its ignore rules: a publish does not go on as if there were none.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{Home, package};

/// The environment in which git reads the files of a test alone.
const ALONE: [(&str, &str); 2] = [("GIT_CONFIG_NOSYSTEM", "1"), ("XDG_CONFIG_HOME", "")];

/// A package in a work tree, with a file that the user's own ignore file keeps out.
fn package_in_work_tree(user: &Home) -> (PathBuf, PathBuf) {
    let root = user.work().join("mono");
    let packaged = package(&root.join("pkg"), "pkg", "1.0.0");
    let made = Command::new("git").args(["init", "--quiet"]).current_dir(&root).env("HOME", user.work()).status();
    assert!(made.expect("git is there").success());
    fs::write(packaged.join("mine.txt"), "x").unwrap();
    fs::write(user.work().join("ignore"), "mine.txt\n").unwrap();
    (root, packaged)
}

fn configure(user: &Home, text: &str) {
    fs::write(user.work().join(".gitconfig"), text).unwrap();
}

/// What a dry run lists, and its warnings.
#[track_caller]
fn listed(user: &Home, more: &[(&str, &str)], path: &Path) -> (Vec<String>, String) {
    let args = ["--format", "json", "publish", "--dry-run", "--namespace", "acme", path.to_str().unwrap()];
    let listed = user.p2p_with(&[&ALONE[..], more].concat(), &args).expect_code(0).json();
    let entries = listed["entries"].as_array().unwrap().iter().map(Value::to_string).collect();
    (entries, listed["warnings"].to_string())
}

/// As git itself refuses to work then.
#[test]
fn a_publish_is_refused_where_git_cannot_read_its_configuration() {
    let user = Home::on_loopback();
    let (root, packaged) = package_in_work_tree(&user);
    let path = packaged.to_str().unwrap();
    #[track_caller]
    fn refused(user: &Home, path: &str, more: &[(&str, &str)], parts: &[&str]) {
        for args in [&["publish", path] as &[&str], &["publish", path, "--dry-run", "--allow-secrets"]] {
            let output = user.p2p_with(&[&ALONE[..], more].concat(), args).expect_code(1);
            assert!(parts.iter().all(|part| output.stderr.contains(part)), "{output:?}");
        }
    }
    let broken = "git cannot read its configuration";
    configure(&user, "[broken\n");
    refused(&user, path, &[], &[broken, "bad config line 1", "hint: ", "config --list"]);
    configure(&user, "[core]\n\texcludesFile = ~no-such-user/ignore\n");
    refused(&user, path, &[], &[broken, "failed to expand user dir"]);
    fs::remove_file(user.work().join(".gitconfig")).unwrap();
    fs::create_dir(user.work().join(".gitconfig")).unwrap();
    refused(&user, path, &[], &[broken, "unable to access"]);
    fs::remove_dir(user.work().join(".gitconfig")).unwrap();

    let directory = user.work().join("mono");
    configure(&user, &format!("[core]\n\texcludesFile = {}\n", directory.display()));
    refused(&user, path, &[], &["is a directory", "hint: ", "core.excludesFile"]);
    configure(&user, "[core]\n\texcludesFile = /dev/null\n");
    assert!(listed(&user, &[], &packaged).1 == "[]");

    let own = root.join(".git/config");
    let sound = fs::read_to_string(&own).unwrap();
    fs::write(&own, "[core\n").unwrap();
    refused(&user, path, &[], &[broken, "bad config line"]);
    fs::write(&own, sound).unwrap();
    listed(&user, &[], &packaged);
}

#[test]
fn what_git_does_not_know_of_its_rules_is_a_warning() {
    let user = Home::on_loopback();
    let (_, packaged) = package_in_work_tree(&user);
    configure(&user, "[core]\n\texcludesFile = ~/ignore\n");
    let has_mine = |entries: &[String]| entries.iter().any(|entry| entry.contains("mine.txt"));
    let (entries, warnings) = listed(&user, &[], &packaged);
    assert!(!has_mine(&entries) && warnings == "[]", "{entries:?} {warnings}");
    // The package is named by a link that lies in no work tree.
    let link = user.work().join("link");
    symlink(&packaged, &link).unwrap();
    assert_eq!(listed(&user, &[], &link), (entries.clone(), warnings));
    // A file `.git` that leads to no repository ends no work tree, and what holds for the user still does.
    fs::write(packaged.join(".git"), "gitdir: ../gone\n").unwrap();
    assert_eq!(listed(&user, &[], &packaged).0, entries);
    fs::remove_file(packaged.join(".git")).unwrap();

    let (entries, warnings) = listed(&user, &[("PATH", "/nonexistent")], &packaged);
    assert!(has_mine(&entries) && warnings.contains("cannot run `git`"), "{entries:?} {warnings}");
    configure(&user, "");
    let (_, warnings) = listed(&user, &[("HOME", "")], &packaged);
    assert!(warnings.contains("neither `HOME` nor `XDG_CONFIG_HOME` is set"), "{warnings}");
    // Outside of a work tree none of it matters.
    let alone = package(&user.work().join("alone"), "alone", "1.0.0");
    let (_, warnings) = listed(&user, &[("HOME", ""), ("PATH", "/nonexistent")], &alone);
    assert_eq!(warnings, "[]");
}
