//! Compares how GNU tar and an import read an archive.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use ggen_blockstore::{ExportOptions, ImportOptions, MemoryBlockstore, export_directory, import_tarball};
use tempfile::TempDir;

use super::trees::{Leaf, read};

/// Directories and files that are excluded from packages: GNU tar unpacks them, and the comparison skips them.
const VERSION_CONTROL: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

type Tree = BTreeMap<PathBuf, Leaf>;

/// The result for one archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both yield the same tree, with this number of files, links and empty directories.
    Same(usize),
    /// The paths that differ.
    Differs(Vec<PathBuf>),
    /// The import refuses it, with this reason.
    Refused(String),
    /// GNU tar cannot read it, with this message.
    NotTar(String),
}

/// Returns whether `tar` is GNU tar.
pub(crate) fn is_here() -> bool {
    let version = Command::new("tar").arg("--version").output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("GNU tar"))
}

/// Unpacks an archive with both, and compares names, bytes, executable bits and links.
pub(crate) fn compare(archive: &Path) -> Outcome {
    let work = TempDir::with_prefix("archive-").unwrap();
    let theirs = match by_gnu_tar(archive, &work.path().join("theirs")) {
        Ok(tree) => tree,
        Err(said) => return Outcome::NotTar(said),
    };
    let ours = match by_us(archive, &work.path().join("ours")) {
        Ok(tree) => tree,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let paths = ours.keys().chain(theirs.keys());
    let mut different: Vec<_> = paths.filter(|path| ours.get(*path) != theirs.get(*path)).cloned().collect();
    different.sort_unstable();
    different.dedup();
    if different.is_empty() { Outcome::Same(ours.len()) } else { Outcome::Differs(different) }
}

fn by_us(archive: &Path, to: &Path) -> ggen_blockstore::Result<Tree> {
    let store = MemoryBlockstore::new();
    let mut file = File::open(archive).unwrap();
    let imported = import_tarball(&store, &mut file, &ImportOptions::default())?;
    let options = ExportOptions { executables: &imported.executables, ..ExportOptions::default() };
    export_directory(&store, imported.root, to, &options)?;
    Ok(read(to))
}

fn by_gnu_tar(archive: &Path, to: &Path) -> Result<Tree, String> {
    fs::create_dir(to).unwrap();
    let listed = tar(&["--list".as_ref(), "--quoting-style=literal".as_ref(), "--file".as_ref(), archive])?;
    let has_root = String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == "./" || line == ".");
    tar(&["--extract".as_ref(), "--no-same-owner".as_ref(), "--file".as_ref(), archive, "--directory".as_ref(), to])?;
    let top = if has_root { None } else { single_folder(to) };
    let is_kept = |path: &Path| !path.iter().any(|name| VERSION_CONTROL.iter().any(|control| name == *control));
    let mut tree = read(&top.unwrap_or_else(|| to.to_owned()));
    tree.retain(|path, _| is_kept(path));
    Ok(tree)
}

/// The top folder of a package, if nothing else was unpacked. `._name` beside it contains attributes of macOS.
fn single_folder(unpacked: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(unpacked).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir() && !path.is_symlink());
    let [folder] = &folders[..] else { return None };
    let double = format!("._{}", folder.file_name().unwrap().to_str().unwrap());
    files.iter().all(|file| file.file_name().is_some_and(|name| name == double.as_str())).then(|| folder.clone())
}

fn tar(arguments: &[&Path]) -> Result<Output, String> {
    let output = Command::new("tar").args(arguments).output().unwrap();
    match output.status.success() {
        true => Ok(output),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
