//! Remembers the imported files of a directory, so that its next publish reads only changed files:
//! `<home>/imports/<hash of the directory's path>.known`. It is a cache: losing it only costs time.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{ops::remembered, private};

/// Maximum number of directories remembered.
const MAX_DIRECTORIES: usize = 64;
/// Maximum total size of the files in bytes, at about 100 bytes for each imported file.
const MAX_BYTES: u64 = 64 << 20;
const ENDING: &str = ".known";

/// See the module. Without a home, nothing is remembered.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    place: Option<PathBuf>,
}

impl Imports {
    /// Keeps the files in `place`, a directory that is created on first use.
    pub(crate) fn at(place: PathBuf) -> Self {
        Self { place: Some(place) }
    }

    /// Returns the file for a directory.
    pub(super) fn of(&self, directory: &Path) -> Option<PathBuf> {
        let place = self.place.as_ref()?;
        let path = fs::canonicalize(directory).ok()?;
        if let Err(error) = private::make_directory(place) {
            tracing::warn!(target: crate::LOG_TARGET, %error, "imports are not remembered");
            return None;
        }
        Some(remembered::file_of(place, &path, ENDING))
    }

    /// Removes the files of the directories whose last import is the oldest.
    pub(super) fn tidy(&self) {
        let Some(place) = self.place.as_ref().filter(|place| place.exists()) else { return };
        if let Err(error) = remembered::tidy(place, MAX_DIRECTORIES, MAX_BYTES) {
            tracing::warn!(target: crate::LOG_TARGET, %error, "cannot forget old imports");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        time::{Duration, SystemTime},
    };

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
