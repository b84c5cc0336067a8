//! What is published and fetched: packages, so that every system gets the same directory.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::crates;

/// What a tree made of crate sources holds at most, and what every tree must hold.
const TREE_FILES: usize = 3500;
const TREE_BYTES: u64 = 51_000_000;
const LEAST_TREE_FILES: usize = 3000;

/// Every package has one; a tree's own is kept.
const MANIFEST: &str = "[package]\nname = \"versus\"\nversion = \"1.0.0\"\ndescription = \"What is measured\"\n";

/// A kind of package to measure with.
#[derive(Clone, Debug)]
pub(crate) enum Workload {
    /// One file of random bytes, new in every round.
    File { mib: u64 },
    /// Many files: those below `source`, or the sources of crates in cargo's registry.
    Tree { source: Option<PathBuf> },
}

/// A package on disk.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) path: PathBuf,
    pub(crate) label: String,
}

impl Workload {
    /// Tells whether every round has a package of its own. A tree stays, since the registry it is made of may change.
    pub(crate) fn changes_every_round(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Writes the package into `directory`, which does not exist.
    pub(crate) fn create(&self, directory: &Path) -> Result<Package> {
        let path = directory.to_owned();
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        let label = match self {
            Self::File { mib } => {
                write_random(&path.join("random.bin"), mib << 20)?;
                format!("file, {mib} MiB")
            }
            Self::Tree { source } => {
                let mut tree = Tree { files: 0, bytes: 0 };
                match source {
                    Some(source) => tree.copy(source, &path)?,
                    None => tree.copy_crates(&path)?,
                }
                ensure!(
                    tree.files >= LEAST_TREE_FILES,
                    "the tree has {} files and needs {LEAST_TREE_FILES}; name a larger one with --tree",
                    tree.files
                );
                format!("tree, {} files, {:.1} MB", tree.files, tree.bytes as f64 / 1e6)
            }
        };
        let manifest = path.join("gpack.toml");
        if !manifest.exists() {
            fs::write(&manifest, MANIFEST).with_context(|| format!("cannot write `{}`", manifest.display()))?;
        }
        Ok(Package { path, label })
    }
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
            let parent = target.parent().expect("the target is a file in a directory");
            fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
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

/// Writes bytes that do not compress and differ at every call: SplitMix64 from a random seed.
fn write_random(path: &Path, bytes: u64) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut state = RandomState::new().hash_one(bytes);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for _ in 0..bytes / 8 {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            file.write_all(&(word ^ (word >> 31)).to_le_bytes())?;
        }
        file.flush()
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}
