//! Where imports remember what became of the files of a directory, so that the next publish of it reads only what was
//! touched: `<home>/imports/<hash of the directory's path>.known`. A cache: losing it costs time.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use crate::private;

/// Directories that are remembered.
const MAX_DIRECTORIES: usize = 64;
/// What is remembered of them, in bytes: of some hundred files a kilobyte for each ten.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of the hash that stand in a name.
const NAME_BYTES: usize = 16;

/// See the module. Without a home nothing is remembered.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    place: Option<PathBuf>,
}

impl Imports {
    /// Remembers in `place`, a directory that is made when it is needed.
    pub(crate) fn at(place: PathBuf) -> Self {
        Self { place: Some(place) }
    }

    /// The file for a directory.
    pub(super) fn of(&self, directory: &Path) -> Option<PathBuf> {
        let place = self.place.as_ref()?;
        let path = fs::canonicalize(directory).ok()?;
        if let Err(error) = private::make_directory(place) {
            tracing::warn!(target: "ggen_marketplace::backend::p2p", %error, "imports are not remembered");
            return None;
        }
        let hash = Sha256::digest(path.as_os_str().as_bytes());
        let name: String = hash.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Some(place.join(name + ".known"))
    }

    /// Forgets the directories that were not imported for longest.
    pub(super) fn tidy(&self) {
        let Some(place) = self.place.as_ref().filter(|place| place.exists()) else { return };
        let outcome = forgotten(place).and_then(|forgotten| forgotten.iter().try_for_each(fs::remove_file));
        if let Err(error) = outcome {
            tracing::warn!(target: "ggen_marketplace::backend::p2p", %error, "cannot forget old imports");
        }
    }
}

/// The files that are too many.
fn forgotten(place: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        // What goes away meanwhile needs no removing.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified()?, metadata.len(), entry.path()));
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    let mut fits = |index: usize, length: u64| {
        bytes += length;
        index < MAX_DIRECTORIES && bytes <= MAX_BYTES
    };
    let gone = files.into_iter().enumerate().filter(|(index, (_, length, _))| !fits(*index, *length));
    Ok(gone.map(|(_, (.., path))| path).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use super::*;

    #[test]
    fn the_directories_imported_last_are_remembered() {
        let home = tempfile::tempdir().unwrap();
        let imports = Imports::at(home.path().join("imports"));
        let count = MAX_DIRECTORIES + 3;
        let places: Vec<_> = (0..count)
            .map(|number| {
                let directory = home.path().join(format!("package-{number}"));
                fs::create_dir(&directory).unwrap();
                let place = imports.of(&directory).unwrap();
                let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + number as u64);
                File::create_new(&place).unwrap().set_modified(used).unwrap();
                place
            })
            .collect();
        imports.tidy();
        let left: Vec<bool> = places.iter().map(|place| place.exists()).collect();
        assert_eq!(left, (0..count).map(|number| number >= 3).collect::<Vec<_>>());
        let large = File::options().write(true).open(&places[count - 2]).unwrap();
        large.set_len(MAX_BYTES).unwrap();
        large.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9000)).unwrap();
        imports.tidy();
        assert!(places[count - 2].exists() && places[count - 1].exists(), "an empty file takes no room");
        fs::write(&places[count - 1], "x").unwrap();
        imports.tidy();
        assert!(!places[count - 2].exists(), "it does not fit beside what is newer");
    }

    #[test]
    fn a_directory_is_the_same_by_whatever_path() {
        let home = tempfile::tempdir().unwrap();
        let imports = Imports::at(home.path().join("imports"));
        let directory = home.path().join("package");
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink("package", home.path().join("link")).unwrap();
        assert_eq!(imports.of(&home.path().join("link")), imports.of(&directory));
        assert_ne!(imports.of(home.path()), imports.of(&directory));
        assert_eq!(Imports::default().of(&directory), None);
    }
}
