//! Creating and comparing trees of files.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The entry at a path of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    File { executable: bool, bytes: Vec<u8> },
    Link(PathBuf),
    EmptyDirectory,
}

/// Reads a whole tree.
pub(crate) fn read(root: &Path) -> BTreeMap<PathBuf, Leaf> {
    let mut leaves = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        if entries.is_empty() {
            leaves.insert(name(&folder), Leaf::EmptyDirectory);
        }
        for path in entries {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_symlink() {
                leaves.insert(name(&path), Leaf::Link(fs::read_link(&path).unwrap()));
            } else {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                leaves.insert(name(&path), Leaf::File { executable, bytes: fs::read(&path).unwrap() });
            }
        }
    }
    leaves
}

/// Asserts that two trees are equal, including executable bits.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    compare(&read(left), &read(right));
}

/// Asserts that two trees are equal except for executable bits, which a bare content CID does not record.
#[track_caller]
pub(crate) fn assert_same_contents(left: &Path, right: &Path) {
    let plain = |root: &Path| {
        let mut leaves = read(root);
        for leaf in leaves.values_mut() {
            if let Leaf::File { executable, .. } = leaf {
                *executable = false;
            }
        }
        leaves
    };
    compare(&plain(left), &plain(right));
}

#[track_caller]
fn compare(left: &BTreeMap<PathBuf, Leaf>, right: &BTreeMap<PathBuf, Leaf>) {
    let names = |leaves: &BTreeMap<PathBuf, Leaf>| leaves.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right));
    for (path, leaf) in left {
        // Not assert_eq, because it would print the bytes of the files.
        assert!(right[path] == *leaf, "{} differs", path.display());
    }
}

/// A package with difficult entries: hidden and empty files, an executable, a link, several chunks, many entries.
pub(crate) fn varied_package(root: &Path, name: &str, version: &str) {
    let gpack = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"a test package\"\n");
    for folder in ["src/deep/er", "bin", "many"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("gpack.toml"), gpack).unwrap();
    fs::write(root.join(".hidden"), "seen").unwrap();
    fs::write(root.join("src/deep/er/big.bin"), noise(3_500_000, name)).unwrap();
    fs::write(root.join("bin/run"), "#!/bin/sh\necho run\n").unwrap();
    fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("../src/deep", root.join("bin/link")).unwrap();
    for index in 0..200 {
        fs::write(root.join(format!("many/{index:03}.txt")), format!("{name} {index}\n")).unwrap();
    }
}

/// Incompressible bytes, equal for equal seeds.
pub(crate) fn noise(length: usize, seed: &str) -> Vec<u8> {
    let mut state =
        seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(31));
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}
