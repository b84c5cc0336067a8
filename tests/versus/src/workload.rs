//! What is published and fetched: packages, so that every system gets the same directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{crates, files};

/// What a tree made of crate sources holds at most, and what every tree must hold.
const TREE_FILES: usize = 3500;
const TREE_BYTES: u64 = 51_000_000;
const LEAST_TREE_FILES: usize = 3000;

/// Every package has one; a tree's own is kept. Sources of crates hold keys for their tests.
const MANIFEST: &str = concat!(
    "[package]\nname = \"versus\"\nversion = \"1.0.0\"\ndescription = \"What is measured\"\n",
    "allow-secrets = [\"*.rs\", \"*.md\", \"*.pem\", \"*.der\", \"*.key\", \"*.rsa\", \"*.cc\"]\n",
);
/// That of the new version.
const NEXT_MANIFEST: &str = concat!(
    "[package]\nname = \"versus\"\nversion = \"1.0.1\"\ndescription = \"What is measured\"\n",
    "allow-secrets = [\"*.rs\", \"*.md\", \"*.pem\", \"*.der\", \"*.key\", \"*.rsa\", \"*.cc\"]\n",
);
/// The single file of a package that is one file.
pub(crate) const SINGLE_FILE: &str = "random.bin";
/// One file in so many is another one in the new version.
const UNCHANGED_TO_CHANGED: usize = 100;

/// A kind of package to measure with.
#[derive(Clone, Debug)]
pub(crate) enum Workload {
    /// One file of random bytes.
    File { mib: u64 },
    /// Many files: those below `source`, or the sources of crates in cargo's registry.
    Tree { source: Option<PathBuf> },
    /// That tree, and then the same with one file in a hundred changed.
    Version { source: Option<PathBuf> },
}

/// A package on disk.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) path: PathBuf,
    pub(crate) label: String,
    /// The only file that matters, for systems that know no directories.
    pub(crate) single_file: Option<PathBuf>,
    pub(crate) bytes: u64,
}

impl Workload {
    /// Writes what all rounds begin with into `directory`, which does not exist.
    pub(crate) fn template(&self, directory: &Path) -> Result<Package> {
        files::make(directory)?;
        let mut package = Package { path: directory.to_owned(), label: String::new(), single_file: None, bytes: 0 };
        match self {
            Self::File { mib } => {
                package.single_file = Some(directory.join(SINGLE_FILE));
                package.bytes = mib << 20;
                package.label = format!("file, {mib} MiB");
            }
            Self::Tree { source } | Self::Version { source } => {
                let mut tree = Tree { files: 0, bytes: 0 };
                match source {
                    Some(source) => tree.copy(source, directory)?,
                    None => tree.copy_crates(directory)?,
                }
                ensure!(
                    tree.files >= LEAST_TREE_FILES,
                    "the tree has {} files and needs {LEAST_TREE_FILES}; name a larger one with --tree",
                    tree.files
                );
                let kind = if matches!(self, Self::Tree { .. }) { "tree" } else { "new version, 1 % of" };
                package.bytes = tree.bytes;
                package.label = format!("{kind} {} files, {:.1} MB", tree.files, tree.bytes as f64 / 1e6);
            }
        }
        let manifest = directory.join("gpack.toml");
        if !manifest.exists() || matches!(self, Self::Version { .. }) {
            fs::write(&manifest, MANIFEST).with_context(|| format!("cannot write `{}`", manifest.display()))?;
        }
        Ok(package)
    }

    /// Makes the bytes of a package those of a new round.
    pub(crate) fn renew(&self, package: &Package) -> Result<()> {
        if let Some(file) = &package.single_file {
            return files::write_random(file, package.bytes);
        }
        let line = format!("// {}", files::nonce());
        for file in files::relative(&package.path)?.iter().filter(|file| !is_manifest(file)) {
            files::append(&package.path.join(file), &line)?;
        }
        Ok(())
    }

    /// Tells whether the package is published a second time, changed.
    pub(crate) fn has_next(&self) -> bool {
        matches!(self, Self::Version { .. })
    }

    /// Makes the package its next version: every hundredth file gets `line` in its middle.
    pub(crate) fn advance(&self, package: &Path, line: &str) -> Result<()> {
        for file in files::relative(package)?.iter().filter(|file| !is_manifest(file)).step_by(UNCHANGED_TO_CHANGED) {
            let path = package.join(file);
            let edit = || {
                let mut bytes = fs::read(&path)?;
                let middle = bytes.len() / 2;
                bytes.splice(middle..middle, line.bytes());
                fs::write(&path, bytes)
            };
            edit().with_context(|| format!("cannot change `{}`", path.display()))?;
        }
        fs::write(package.join("gpack.toml"), NEXT_MANIFEST).context("cannot change gpack.toml")
    }
}

fn is_manifest(file: &Path) -> bool {
    file.as_os_str() == "gpack.toml"
}

/// A tree that is being copied together.
struct Tree {
    files: usize,
    bytes: u64,
}

impl Tree {
    /// Adds crates in order of their names as long as the tree stays within its bounds.
    fn copy_crates(&mut self, to: &Path) -> Result<()> {
        let root = crates::cargo_home().join("registry/src");
        for registry in subdirectories(&root)? {
            for source in subdirectories(&registry)? {
                let files = crates::files(&source);
                let mut bytes = 0;
                for file in &files {
                    bytes += file.metadata().with_context(|| format!("cannot read `{}`", file.display()))?.len();
                }
                if self.files + files.len() > TREE_FILES || self.bytes + bytes > TREE_BYTES {
                    continue;
                }
                let name = source.file_name().expect("it was listed by its name");
                self.copy(&source, &to.join(name))?;
            }
        }
        Ok(())
    }

    /// Copies the files of a directory, except empty ones: Kubo 0.42 cannot serve a block of zero bytes over Bitswap.
    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        for file in crates::files(from) {
            let length = file.metadata().with_context(|| format!("cannot read `{}`", file.display()))?.len();
            if length == 0 {
                continue;
            }
            let target = to.join(file.strip_prefix(from).expect("files() returns paths below its argument"));
            files::make(target.parent().expect("the target is a file in a directory"))?;
            fs::copy(&file, &target).with_context(|| format!("cannot copy `{}`", file.display()))?;
            self.files += 1;
            self.bytes += length;
        }
        Ok(())
    }
}

fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list `{}`", directory.display()))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_differs_in_one_file_of_a_hundred() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (former, next) = (directory.path().join("former"), directory.path().join("next"));
        files::make(&former).expect("a directory can be made");
        for number in 0..300 {
            fs::write(former.join(format!("{number:03}")), "text").expect("a file can be written");
        }
        fs::write(former.join("gpack.toml"), MANIFEST).expect("a file can be written");
        files::copy(&former, &next).expect("a tree can be copied");
        Workload::Version { source: None }.advance(&next, "// changed\n").expect("a tree can be changed");
        let read = |root: &Path, file: &Path| fs::read(root.join(file)).expect("a file can be read");
        let names = files::relative(&former).expect("a tree can be listed");
        assert_eq!(names.iter().filter(|file| read(&former, file) != read(&next, file)).count(), 4);
    }
}
