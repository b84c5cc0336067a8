//! Files of a home that keep data about directories outside of it, one file per directory:
//! `<place>/<hash of the directory's path>.<ending>`. The data is optional: every operation works without it.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

/// Bytes of the hash in a file name.
const NAME_BYTES: usize = 16;

/// Returns the file in `place` for the directory with the canonical path `path`.
pub(super) fn file_of(place: &Path, path: &Path, ending: &str) -> PathBuf {
    let hash = Sha256::digest(path.as_os_str().as_bytes());
    let name: String = hash.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
    place.join(name + ending)
}

/// Removes the files with the oldest modification times, until at most `most_files` with at most `most_bytes` in total
/// are left.
pub(super) fn tidy(place: &Path, most_files: usize, most_bytes: u64) -> io::Result<()> {
    forgotten(place, most_files, most_bytes)?.iter().try_for_each(fs::remove_file)
}

/// Returns the excess files.
fn forgotten(place: &Path, most_files: usize, most_bytes: u64) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        // The file was removed in the meantime.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified()?, metadata.len(), entry.path()));
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    let mut fits = |index: usize, length: u64| {
        bytes += length;
        index < most_files && bytes <= most_bytes
    };
    let gone = files.into_iter().enumerate().filter(|(index, (_, length, _))| !fits(*index, *length));
    Ok(gone.map(|(_, (.., path))| path).collect())
}
