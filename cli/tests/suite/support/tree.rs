//! Packages to publish, and trees to compare.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Every file of a tree: its bytes and whether it is executable.
pub(crate) type Tree = BTreeMap<PathBuf, (Vec<u8>, bool)>;

/// Writes a package of a few files, one of them executable, into `root`, and returns it.
pub(crate) fn package(root: &Path, name: &str, version: &str) -> PathBuf {
    fs::create_dir_all(root.join("src/deep")).unwrap();
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"A test package\"\n");
    fs::write(root.join("gpack.toml"), manifest).unwrap();
    fs::write(root.join("src/deep/empty"), "").unwrap();
    fs::write(root.join("src/large"), vec![7; 3_000_000]).unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    root.to_owned()
}

/// Reads the tree below `root`.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut files = Tree::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.is_file() {
                let executable = path.metadata().unwrap().permissions().mode() & 0o100 != 0;
                files.insert(path.strip_prefix(root).unwrap().to_owned(), (fs::read(&path).unwrap(), executable));
            }
        }
    }
    files
}

/// Copies files and directories, without sockets and other special files.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_tree(&entry.path(), &target),
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}
