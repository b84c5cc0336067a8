//! Real git beside us: over generated trees and ignore files, both take in the same files.
//!
//! `GGEN_TEST_IGNORE_CASES` says how many trees are tried (2,000 if it is not set), `GGEN_TEST_IGNORE_SEED` with which seed.

use std::{collections::BTreeSet, env, ffi::OsString, fs, os::unix::ffi::OsStringExt, path::Path, process::Command};

use rand::{Rng, chance, pick};

use crate::{EntryKind, list_directory};

/// Trees tried unless the environment says otherwise.
const CASES: usize = 2_000;
/// Trees that one run of git lists.
const BATCH: usize = 250;
/// Of so many trees one has a `.ggenignore` too, for which git is run alone.
const MIXED_EVERY: usize = 10;

/// Names, many of them with letters that mean something in patterns.
const NAMES: [&str; 36] = [
    "a",
    "b",
    "ab",
    "abc",
    "foo",
    "foobar",
    "bar",
    "foo.txt",
    "bar.key",
    "1.key",
    "12",
    ".env",
    ".env.local",
    "x y",
    "x ",
    "[x]",
    "{a,b}",
    "a*",
    "q?",
    "b\\",
    "!a",
    "#a",
    "-",
    "]",
    "^",
    "t\t",
    "caf\u{e9}",
    "\u{4e2d}",
    "$a",
    "a:b",
    "dir",
    "sub",
    "0",
    "_",
    "z~",
    "a\u{b}",
];
/// Parts of patterns.
const PARTS: [&[u8]; 62] = [
    b"a",
    b"b",
    b"foo",
    b"bar",
    b"x",
    b".env",
    b".key",
    b"dir",
    b"sub",
    b"*",
    b"*",
    b"*",
    b"**",
    b"**/",
    b"/**",
    b"/**/",
    b"***",
    b"?",
    b"/",
    b"/",
    b"//",
    b"[a-c]",
    b"[!a]",
    b"[^a]",
    b"[abc",
    b"[]a]",
    b"[!]a]",
    b"[a-]",
    b"[-a]",
    b"[c-a]",
    b"[[:digit:]]",
    b"[[:alpha:]]",
    b"[![:alnum:]]",
    b"[[:space:]x]",
    b"[[:punct:]]",
    b"[[:none:]]",
    b"[[:digit:]",
    b"[[:]",
    b"[[:a]",
    b"[\\]]",
    b"[\\\\]",
    b"[a\\-c]",
    b"[[-a]",
    b"[/]",
    b"[!/]",
    b"[",
    b"]",
    b"\\",
    b"\\*",
    b"\\a",
    b"\\/",
    b"\\ ",
    b" ",
    b"\t",
    b"!",
    b"#",
    b"\\#",
    b"\\!",
    b"{a,b}",
    b"\xe9",
    b"\xc3\xa9",
    b"[*\\?\\[\\]<>:\\\"|]*",
];

pub(super) mod rand {
    /// A generator that is the same on every machine (SplitMix64).
    pub(in super::super) struct Rng(pub(in super::super) u64);

    impl Rng {
        pub(in super::super) fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((word ^ (word >> 31)) % limit as u64) as usize
        }
    }

    pub(in super::super) fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
        &of[random.below(of.len())]
    }

    /// Once in so many times.
    pub(in super::super) fn chance(random: &mut Rng, one_in: usize) -> bool {
        random.below(one_in) == 0
    }
}

/// A tree that was written: the paths of its entries, and of its directories with the root.
pub(super) struct Written {
    pub(super) entries: Vec<String>,
    pub(super) directories: Vec<String>,
}

pub(super) fn write_tree(random: &mut Rng, root: &Path) -> Written {
    let mut written = Written { entries: Vec::new(), directories: vec![String::new()] };
    let mut taken = BTreeSet::new();
    for _ in 0..4 + random.below(12) {
        let parent = pick(random, &written.directories).clone();
        let name = *pick(random, &NAMES);
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
        // Case and form of the names are other tests' business.
        if path.split('/').count() > 5 || !taken.insert(path.to_lowercase()) {
            continue;
        }
        let place = root.join(&path);
        match random.below(8) {
            0..3 => {
                fs::create_dir(&place).unwrap();
                written.directories.push(path.clone());
            }
            3 => std::os::unix::fs::symlink(pick(random, &NAMES), &place).unwrap(),
            _ => fs::write(&place, "x").unwrap(),
        }
        written.entries.push(path);
    }
    written
}

/// A pattern out of parts, or out of a path of the tree with some of it replaced.
fn pattern(random: &mut Rng, tree: &Written) -> Vec<u8> {
    let mut pattern = Vec::new();
    if tree.entries.is_empty() || chance(random, 3) {
        for _ in 0..1 + random.below(5) {
            pattern.extend(*pick(random, &PARTS));
        }
    } else {
        let path = pick(random, &tree.entries);
        let names: Vec<&str> = path.split('/').collect();
        let from = if chance(random, 2) { names.len() - 1 } else { random.below(names.len()) };
        for (number, name) in names[from..].iter().enumerate() {
            if number > 0 || (from == 0 && chance(random, 4)) {
                pattern.push(b'/');
            }
            for byte in name.bytes() {
                match random.below(14) {
                    0 => pattern.push(b'*'),
                    1 => pattern.push(b'?'),
                    2 => pattern.extend([b'[', byte, b']']),
                    3 => pattern.extend(*pick(random, &PARTS)),
                    4 => pattern.extend([b'\\', byte]),
                    5 => {}
                    _ => pattern.push(byte),
                }
            }
        }
    }
    if chance(random, 3) {
        pattern.insert(0, b'!');
    }
    if chance(random, 6) {
        pattern.push(b'/');
    }
    if chance(random, 10) {
        pattern.extend(*pick(random, &[&b" "[..], b"  ", b"\\ ", b"\\  ", b"\t", b"\r", b" \\", b"\0x"]));
    }
    pattern
}

pub(super) fn ignore_file(random: &mut Rng, tree: &Written) -> Vec<u8> {
    let mut text = Vec::new();
    if chance(random, 8) {
        text.extend(b"\xef\xbb\xbf");
    }
    let lines = 1 + random.below(5);
    for line in 0..lines {
        match random.below(12) {
            0 => text.extend(b"# caf\xe9"),
            1 => {}
            2 => text.extend(b"*"),
            3 => text.extend(b"!*/"),
            _ => text.extend(pattern(random, tree)),
        }
        match random.below(6) {
            0 => text.extend(b"\r\n"),
            1 if line + 1 == lines => {}
            _ => text.push(b'\n'),
        }
    }
    text
}

/// Writes ignore files of this name; the root has one more often than not.
pub(super) fn write_ignore_files(random: &mut Rng, root: &Path, tree: &Written, name: &str) {
    for directory in &tree.directories {
        if chance(random, 3) != directory.is_empty() {
            fs::write(root.join(directory).join(name), ignore_file(random, tree)).unwrap();
        }
    }
}

pub(super) fn git(place: &Path, args: &[OsString]) -> Vec<u8> {
    let mut command = Command::new("git");
    // Nothing of whoever runs the tests counts.
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", place);
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    let output = command.current_dir(place).args(args).output().expect("git is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What git takes for files to be added, below `place`.
fn listed_by_git(place: &Path, more: &[OsString]) -> BTreeSet<String> {
    let fixed = ["-c", "core.quotePath=false", "ls-files", "-o", "-z", "--exclude-per-directory=.gitignore"];
    let args: Vec<OsString> = fixed.iter().map(OsString::from).chain(more.iter().cloned()).collect();
    let output = git(place, &args);
    let paths = output.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths.map(|path| String::from_utf8(path.to_vec()).unwrap()).collect()
}

fn listed_by_us(root: &Path) -> BTreeSet<String> {
    let entries = list_directory(root).unwrap().entries.into_iter();
    entries.filter(|entry| entry.kind != EntryKind::Directory).map(|entry| entry.path).collect()
}

/// The ignore files of a tree, for a message.
fn shown(root: &Path, tree: &Written) -> String {
    let mut shown = String::new();
    for directory in &tree.directories {
        for name in [".gitignore", ".ggenignore"] {
            if let Ok(text) = fs::read(root.join(directory).join(name)) {
                shown += &format!("{directory}/{name}: {:?}\n", OsString::from_vec(text));
            }
        }
    }
    shown
}

#[track_caller]
fn compare(case: usize, root: &Path, tree: &Written, by_git: &BTreeSet<String>) {
    let by_us = listed_by_us(root);
    let (kept, left): (Vec<_>, Vec<_>) = (by_us.difference(by_git).collect(), by_git.difference(&by_us).collect());
    let files = shown(root, tree);
    assert!(
        kept.is_empty() && left.is_empty(),
        "case {case}: we publish {kept:?}, which git ignores; we leave out {left:?}, which git takes; with\n{files}"
    );
}

pub(super) fn number(variable: &str, or: usize) -> usize {
    env::var(variable).map_or(or, |text| text.parse().expect("a number"))
}

#[test]
fn ignore_files_mean_what_git_says_they_mean() {
    let cases = number("GGEN_TEST_IGNORE_CASES", CASES);
    let mut random = Rng(number("GGEN_TEST_IGNORE_SEED", 10) as u64);
    let mut ignored = 0;
    for begin in (0..cases).step_by(BATCH) {
        let place = tempfile::tempdir().unwrap();
        git(place.path(), &["init".into(), "--quiet".into()]);
        let trees: Vec<_> = (begin..cases.min(begin + BATCH))
            .map(|case| {
                let root = place.path().join(format!("{case}"));
                fs::create_dir(&root).unwrap();
                let tree = write_tree(&mut random, &root);
                write_ignore_files(&mut random, &root, &tree, ".gitignore");
                (case, root, tree)
            })
            .collect();
        let by_git = listed_by_git(place.path(), &[]);
        for (case, root, tree) in &trees {
            let prefix = format!("{case}/");
            let of_case = by_git.iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect();
            compare(*case, root, tree, &of_case);
            ignored += usize::from(of_case.len() < listed_at_all(tree, root));
        }
    }
    assert!(ignored * 2 > cases, "only {ignored} of {cases} trees have something that is ignored");
}

/// Entries of the tree that are no directories, and its ignore files.
fn listed_at_all(tree: &Written, root: &Path) -> usize {
    let files = tree.entries.iter().filter(|path| !tree.directories.contains(path)).count();
    files + tree.directories.iter().filter(|path| root.join(path).join(".gitignore").exists()).count()
}

/// The patterns of the `.ggenignore` in the root are those that git is given on its command line: these, too, are stronger
/// than every file.
#[test]
fn a_ggenignore_is_stronger_than_every_gitignore() {
    let cases = number("GGEN_TEST_IGNORE_CASES", CASES) / MIXED_EVERY;
    let mut random = Rng(number("GGEN_TEST_IGNORE_SEED", 10) as u64 + 1);
    for case in 0..cases {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        git(root, &["init".into(), "--quiet".into()]);
        let tree = write_tree(&mut random, root);
        write_ignore_files(&mut random, root, &tree, ".gitignore");
        let mut patterns = Vec::new();
        for _ in 0..1 + random.below(4) {
            let pattern = pattern(&mut random, &tree);
            // What a file and a command line read differently.
            let is_the_same = !pattern.starts_with(b"#") && !pattern.iter().any(|byte| b" \r\n\0".contains(byte));
            patterns.extend(is_the_same.then_some(pattern));
        }
        fs::write(root.join(".ggenignore"), patterns.join(&b'\n')).unwrap();
        let flags = patterns.iter().map(|pattern| [&b"--exclude="[..], pattern].concat());
        let flags: Vec<_> = flags.map(OsString::from_vec).collect();
        compare(case, root, &tree, &listed_by_git(root, &flags));
    }
}

/// On every level, not in the root alone: the same files under our name and under git's.
#[test]
fn a_ggenignore_counts_on_every_level_as_a_gitignore_does() {
    let mut random = Rng(3);
    for _ in 0..100 {
        let place = tempfile::tempdir().unwrap();
        let tree = write_tree(&mut random, place.path());
        write_ignore_files(&mut random, place.path(), &tree, ".gitignore");
        let without = |listed: BTreeSet<String>| -> BTreeSet<_> {
            listed.into_iter().filter(|path| !path.ends_with("ignore")).collect()
        };
        let before = without(listed_by_us(place.path()));
        for directory in &tree.directories {
            let directory = place.path().join(directory);
            if directory.join(".gitignore").exists() {
                fs::rename(directory.join(".gitignore"), directory.join(".ggenignore")).unwrap();
            }
        }
        assert_eq!(without(listed_by_us(place.path())), before, "{}", shown(place.path(), &tree));
    }
}

/// What the bug reports had, so that nobody needs luck to meet it again.
#[test]
fn patterns_that_were_read_wrongly_once() {
    let cases: [(&[u8], &str, bool); 14] = [
        (b"*\n!", "a", true),
        (b"foo**/bar", "foobar", true),
        (b"foo**/bar", "foox/y/bar", true),
        (b"[[:digit:]].key", "1.key", true),
        (b"{a,b}", "a", false),
        (b"{a,b}", "{a,b}", true),
        (b"*[\\<\\>\\:\\\"\\/\\\\\\|\\?\\*]*", "a", false),
        (b"# caf\xe9\n*.env", "x.env", true),
        (b"caf\xe9\n*.env", "x.env", true),
        (b"\xef\xbb\xbfx.env", "x.env", true),
        (b"x.env\r\n", "x.env", true),
        (b"x.env  ", "x.env", true),
        (b"[", "[", false),
        (b"X.ENV", "x.env", false),
    ];
    for (text, path, ignored) in cases {
        let place = tempfile::tempdir().unwrap();
        git(place.path(), &["init".into(), "--quiet".into()]);
        let file = place.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "x").unwrap();
        fs::write(place.path().join(".gitignore"), text).unwrap();
        let pattern = OsString::from_vec(text.to_vec());
        assert_eq!(!listed_by_git(place.path(), &[]).contains(path), ignored, "git: {pattern:?} {path}");
        assert_eq!(!listed_by_us(place.path()).contains(path), ignored, "we: {pattern:?} {path}");
    }
}
