//! Directories: listing, comparing, copying, removing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::output_of;

/// Fails unless two trees hold the same files with the same bytes.
pub(crate) fn ensure_same(published: &Path, fetched: &Path) -> Result<()> {
    let (left, right) = (relative(published)?, relative(fetched)?);
    ensure!(left == right, "the fetched tree has other files than the published one");
    left.iter().try_for_each(|file| ensure_same_file(&published.join(file), &fetched.join(file)))
}

/// Fails unless two files hold the same bytes.
pub(crate) fn ensure_same_file(published: &Path, fetched: &Path) -> Result<()> {
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open `{}`", path.display()));
    let (mut left, mut right) = (open(published)?, open(fetched)?);
    let same = left.metadata()?.len() == right.metadata()?.len()
        && loop {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            (&mut left).take(1 << 20).read_to_end(&mut ours)?;
            (&mut right).take(1 << 20).read_to_end(&mut theirs)?;
            if ours != theirs || ours.is_empty() {
                break ours == theirs;
            }
        };
    ensure!(same, "`{}` was fetched with other bytes", fetched.display());
    Ok(())
}

/// Returns the paths of all files below a directory, relative to it, in order.
pub(crate) fn relative(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let (mut files, mut open) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list `{}`", directory.display()))?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(root).expect("it lies below the root").to_owned());
            }
        }
    }
    Ok(files)
}

/// Copies a tree as it is, with the times of its files; `to` does not exist.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    output_of(Command::new("cp").arg("-a").args([from, to])).map(drop)
}

/// Removes a directory and all below it.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove `{}`", directory.display()))
}

/// Makes a directory and those above it.
pub(crate) fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create `{}`", directory.display()))
}

/// Adds a line that no former round had, so that the bytes of every round are new.
pub(crate) fn append(file: &Path, line: &str) -> Result<()> {
    let write =
        || fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(format!("\n{line}\n").as_bytes());
    write().with_context(|| format!("cannot write `{}`", file.display()))
}

/// Returns eight hexadecimal digits that differ at every call.
pub(crate) fn nonce() -> String {
    format!("{:08x}", RandomState::new().hash_one("round") as u32)
}

/// Writes bytes that do not compress and differ at every call: SplitMix64 from a random seed.
pub(crate) fn write_random(path: &Path, bytes: u64) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_byte_makes_trees_differ() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (left, right) = (directory.path().join("left"), directory.path().join("right"));
        make(&left.join("sub")).expect("a directory can be made");
        write_random(&left.join("sub/file"), 3 << 20).expect("a file can be written");
        copy(&left, &right).expect("a tree can be copied");
        ensure_same(&left, &right).expect("a copy is the same");
        let mut bytes = fs::read(right.join("sub/file")).expect("the file can be read");
        bytes[2 << 20] ^= 1;
        fs::write(right.join("sub/file"), bytes).expect("the file can be written");
        assert!(ensure_same(&left, &right).is_err());
        fs::remove_file(right.join("sub/file")).expect("the file can be removed");
        assert!(ensure_same(&left, &right).is_err());
    }
}
