//! What fetches have written, and where, so that an update of such a place can tell what is of the former version and what
//! was edited: `<home>/fetched/<hash of the place's path>.former`. Where that is lost, nothing is removed by an update, and
//! what differs counts as edited.
//!
//! A place is known by its path: a directory that is moved is another one. That a record is of an older directory under the
//! same path does no harm, since only files whose content is as it says are taken for the former version's.

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

/// Places that are remembered in a home, and what of them, in bytes: some hundred for each file.
const MAX_PLACES: usize = 512;
const MAX_BYTES: u64 = 256 << 20;
/// Places that are remembered without a home.
const MAX_IN_MEMORY: usize = 64;
/// Places written between two looks for those that are too many.
const WRITES_PER_TIDYING: usize = 32;
const ENDING: &str = ".former";

/// See the module.
#[derive(Debug)]
pub(crate) enum Destinations {
    /// In a directory of the home, which is made when it is needed.
    Home {
        /// The directory.
        place: PathBuf,
        /// Places that were written.
        writes: AtomicUsize,
    },
    /// Gone with the process; the oldest first.
    Memory(Mutex<VecDeque<(PathBuf, Former)>>),
}

impl Destinations {
    /// Remembers in a directory.
    pub(crate) fn at(place: PathBuf) -> Self {
        Self::Home { place, writes: AtomicUsize::new(0) }
    }

    /// Remembers as long as the process lives.
    pub(crate) fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// What was written to a place; unknown if nothing is there.
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

    /// Remembers what stands at a place. That it fails is no failure of the fetch.
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

    /// What an export of one file to a place tells.
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
