//! Remembers what fetches have written to each destination, in `<home>/fetched/<hash of the path>.former`. An update
//! uses it to distinguish files of the former version from edited files. If the file is lost, an update removes no file
//! and treats every differing file as edited.
//!
//! A destination is identified by its path, so a moved directory is a new destination. A record of an older directory
//! under the same path is harmless: a file counts as part of the former version only if its content matches the record.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ggen_blockstore::Former;

use crate::{ops::remembered, private};

/// Maximum number of destinations remembered in a home, and their total size in bytes: some hundred for each file.
const MAX_PLACES: usize = 512;
const MAX_BYTES: u64 = 256 << 20;
/// Maximum number of destinations remembered without a home.
const MAX_IN_MEMORY: usize = 64;
/// Number of writes between two removals of excess records.
const WRITES_PER_TIDYING: usize = 32;
const ENDING: &str = ".former";

/// See the module.
#[derive(Debug)]
pub(crate) enum Destinations {
    /// In a directory of the home, which is created on first use.
    Home {
        /// The directory.
        place: PathBuf,
        /// Number of destinations written.
        writes: AtomicUsize,
    },
    /// In memory only, oldest first.
    Memory(Mutex<VecDeque<(PathBuf, Former)>>),
}

impl Destinations {
    /// Keeps the records in a directory.
    pub(crate) fn at(place: PathBuf) -> Self {
        Self::Home { place, writes: AtomicUsize::new(0) }
    }

    /// Keeps the records in memory only.
    pub(crate) fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// Returns what was written to a destination; unknown if the destination does not exist.
    pub(super) fn former(&self, destination: &Path) -> Former {
        let Ok(path) = fs::canonicalize(destination) else { return Former::default() };
        match self {
            Self::Home { place, .. } => Former::load(&remembered::file_of(place, &path, ENDING)),
            Self::Memory(places) => {
                let places = places.lock().unwrap_or_else(PoisonError::into_inner);
                let found = places.iter().find(|(known, _)| *known == path);
                found.map_or_else(Former::default, |(_, former)| former.clone())
            }
        }
    }

    /// Records the tree at a destination. An error is logged and does not fail the fetch.
    pub(super) fn remember(&self, destination: &Path, former: &Former) {
        if let Err(error) = self.try_remember(destination, former) {
            let place = destination.display();
            tracing::warn!(target: crate::LOG_TARGET, %place, %error, "cannot remember what was written");
        }
    }

    fn try_remember(&self, destination: &Path, former: &Former) -> io::Result<()> {
        let path = fs::canonicalize(destination)?;
        match self {
            Self::Home { place, writes } => {
                private::make_directory(place)?;
                former.save(&remembered::file_of(place, &path, ENDING))?;
                if writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_PER_TIDYING) {
                    remembered::tidy(place, MAX_PLACES, MAX_BYTES)?;
                }
            }
            Self::Memory(places) => {
                let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
                places.retain(|(known, _)| *known != path);
                places.push_back((path, former.clone()));
                if places.len() > MAX_IN_MEMORY {
                    places.pop_front();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::{ExportOptions, ImportOptions, MemoryBlockstore, import_directory, stage_directory};

    use super::*;

    /// Exports one file to a destination and returns the record of it.
    fn written(destination: &Path, content: &str) -> Former {
        let (source, store) = (tempfile::tempdir().unwrap(), MemoryBlockstore::new());
        fs::write(source.path().join("file"), content).unwrap();
        let root = import_directory(&store, source.path(), &ImportOptions::default()).unwrap().root;
        drop(fs::remove_dir_all(destination));
        let staged = stage_directory(&store, root, destination, &ExportOptions::default()).unwrap();
        staged.commit_and_tell().unwrap().1
    }

    #[test]
    fn a_place_is_known_by_its_path_and_as_it_was_written_last() {
        let home = tempfile::tempdir().unwrap();
        let (out, other) = (home.path().join("out"), home.path().join("other"));
        for destinations in [Destinations::at(home.path().join("fetched")), Destinations::in_memory()] {
            assert!(!destinations.former(&out).is_known());
            destinations.remember(&out, &written(&out, "first"));
            let second = written(&out, "second");
            destinations.remember(&out, &second);
            assert_eq!(destinations.former(&out), second);
            std::os::unix::fs::symlink("out", &other).unwrap();
            assert_eq!(destinations.former(&other), second);
            fs::remove_file(&other).unwrap();
            fs::rename(&out, &other).unwrap();
            assert!(!destinations.former(&out).is_known() && !destinations.former(&other).is_known());
            fs::remove_dir_all(&other).unwrap();
        }
    }

    #[test]
    fn the_places_that_are_remembered_are_bounded() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("fetched");
        let destinations = [Destinations::at(place.clone()), Destinations::in_memory()];
        let former = written(&home.path().join("out"), "x");
        for number in 0..MAX_PLACES + 2 * WRITES_PER_TIDYING {
            let out = home.path().join(number.to_string());
            fs::create_dir(&out).unwrap();
            destinations.iter().for_each(|destinations| destinations.remember(&out, &former));
        }
        assert!(fs::read_dir(place).unwrap().count() < MAX_PLACES + WRITES_PER_TIDYING);
        let in_memory = |places: &Destinations| matches!(places, Destinations::Memory(places) if places.lock().unwrap().len() == MAX_IN_MEMORY);
        assert!(in_memory(&destinations[1]));
    }
}
