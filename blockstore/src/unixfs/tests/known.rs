//! Imports that remember: what was not touched is not read, and what was touched always is.

use std::{
    collections::BTreeSet,
    fs::{self, File, FileTimes, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::support::{Item, Items, file, items, write_items};
use crate::{
    Blockstore, Cid, ImportOptions, Imported, MemoryBlockstore, Profile, Result, dfs_blocks, import_directory,
    unixfs::{
        import::import_directory_on,
        stamp::{FileSystem, Moment, RealFileSystem, Stamp},
    },
};

/// A file system that counts what is read, and whose clock a test may set.
#[derive(Default)]
struct Watched {
    opened: Mutex<BTreeSet<PathBuf>>,
    /// What the clock says, and what it said when anything was written last; the real times if there are none.
    clock: Option<(Moment, Moment)>,
}

impl Watched {
    fn at(now: i64, last_write: i64) -> Self {
        let moment = |seconds| Moment { seconds, nanos: 5 };
        Self { clock: Some((moment(now), moment(last_write))), ..Self::default() }
    }
}

impl FileSystem for Watched {
    fn now(&self) -> Moment {
        // Everything that a test has written before is long ago.
        let later = |moment: Moment| Moment { seconds: moment.seconds + 60, ..moment };
        self.clock.map_or_else(|| later(RealFileSystem.now()), |(now, _)| now)
    }

    fn stamp(&self, _: &str, metadata: &Metadata) -> Stamp {
        let real = Stamp::of(metadata);
        self.clock.map_or(real, |(_, written)| Stamp { modified: written, changed: written, ..real })
    }

    fn believed(&self, directory: &Path) -> Option<u64> {
        Some(fs::metadata(directory).unwrap().dev())
    }

    fn open(&self, path: &Path) -> Result<File> {
        self.opened.lock().unwrap().insert(path.to_owned());
        RealFileSystem.open(path)
    }
}

/// A small profile, so that a few kilobytes have several levels.
const PROFILE: Profile = Profile { chunk_bytes: 100, file_links: 4, ..Profile::V1_2025 };

struct Place {
    home: tempfile::TempDir,
    store: MemoryBlockstore,
    profile: Profile,
}

impl Place {
    fn with(tree: &Items) -> Self {
        let home = tempfile::tempdir().unwrap();
        write_items(&home.path().join("tree"), tree);
        Self { home, store: MemoryBlockstore::new(), profile: PROFILE }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join("tree").join(path)
    }

    fn known(&self) -> PathBuf {
        self.home.path().join("known")
    }

    /// Imports on `system`; what came of it, and the files that were read.
    fn import(&self, system: &Watched) -> (Imported, Vec<String>) {
        system.opened.lock().unwrap().clear();
        let known = self.known();
        let options = ImportOptions { profile: self.profile, known: Some(&known), ..ImportOptions::default() };
        let imported = import_directory_on(system, &self.store, &self.path(""), &options).unwrap();
        let opened = system.opened.lock().unwrap();
        let relative = |path: &PathBuf| path.strip_prefix(self.path("")).unwrap().to_str().unwrap().to_owned();
        (imported, opened.iter().map(relative).collect())
    }

    /// The root that an import without a memory finds.
    fn root(&self) -> Cid {
        let options = ImportOptions { profile: self.profile, ..ImportOptions::default() };
        import_directory(&MemoryBlockstore::new(), &self.path(""), &options).unwrap().root
    }
}

fn sample() -> Items {
    let large = (0..2000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    items([
        ("a", file("alpha")),
        ("dir/b", file("beta")),
        ("dir/empty", file("")),
        ("dir/large", Item::File(large)),
        ("dir/link", Item::Link("b".to_owned())),
        ("run", Item::Executable(b"#!/bin/sh\n".to_vec())),
        ("void", Item::Directory),
    ])
}

/// Writes `content` of the same length over a file, and gives it its former time of writing.
fn edit_unseen(path: &Path, content: &str) {
    let before = fs::metadata(path).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::io::Write::write_all(&mut &file, content.as_bytes()).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
    let after = fs::metadata(path).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}

#[test]
fn a_second_import_reads_no_file_and_finds_the_same() {
    for profile in [PROFILE, Profile { chunk_bytes: 100, ..Profile::V0_2015 }] {
        let place = Place { profile, ..Place::with(&sample()) };
        let system = Watched::default();
        let (first, read) = place.import(&system);
        assert_eq!(read, ["a", "dir/b", "dir/empty", "dir/large", "run"]);
        assert_eq!(first.files_known, 0);
        let (second, read) = place.import(&system);
        assert_eq!(read, [""; 0]);
        assert_eq!((second.files_known, second.files), (5, 5));
        assert_eq!(second.root, first.root);
        assert_eq!(second.root, place.root());
        assert_eq!((second.blocks, second.size_bytes), (first.blocks, first.size_bytes));
        assert_eq!((&second.executables, &second.entries), (&first.executables, &first.entries));
        assert_eq!(second.put.new_blocks, 0);
    }
}

#[test]
fn only_what_was_touched_is_read_again() {
    let place = Place::with(&sample());
    let system = Watched::default();
    let before = place.import(&system).0.root;
    fs::write(place.path("dir/b"), "BETA").unwrap();
    fs::write(place.path("dir/new"), "new").unwrap();
    fs::remove_file(place.path("a")).unwrap();
    let (imported, read) = place.import(&system);
    assert_eq!(read, ["dir/b", "dir/new"]);
    assert_ne!(imported.root, before);
    assert_eq!(imported.root, place.root());
    assert_eq!(place.import(&system).1, [""; 0]);
}

/// The size is the same and the time of writing is set back: the time of change, which nobody can set, tells.
#[test]
fn an_edit_that_keeps_size_and_time_of_writing_is_seen() {
    let place = Place::with(&sample());
    let system = Watched::default();
    place.import(&system);
    edit_unseen(&place.path("a"), "ALPHA");
    let (imported, read) = place.import(&system);
    assert_eq!(read, ["a"]);
    assert_eq!(imported.root, place.root());
}

/// The clock of the file system stands still between an import and an edit: all stamps are equal, and only the rule
/// that such stamps are not believed tells.
#[test]
fn an_edit_within_a_step_of_the_clock_is_seen() {
    let place = Place::with(&sample());
    let first = place.import(&Watched::at(1000, 1000)).0.root;
    edit_unseen(&place.path("dir/b"), "BETA");
    let (imported, read) = place.import(&Watched::at(1003, 1000));
    assert!(read.contains(&"dir/b".to_owned()), "{read:?}");
    assert_eq!(imported.root, place.root());
    assert_ne!(imported.root, first);
    // From then on the stamps are from long before the reading, and are believed.
    assert_eq!(place.import(&Watched::at(1003, 1000)).1, [""; 0]);
}

/// Another file is put in its place that has the same size and the same times.
#[test]
fn another_file_of_the_same_size_and_times_is_seen() {
    let place = Place::with(&sample());
    place.import(&Watched::at(1000, 900));
    fs::write(place.home.path().join("other"), "ALPHA").unwrap();
    fs::rename(place.home.path().join("other"), place.path("a")).unwrap();
    let (imported, read) = place.import(&Watched::at(1000, 900));
    assert_eq!(read, ["a"]);
    assert_eq!(imported.root, place.root());
}

#[test]
fn files_whose_blocks_were_collected_are_read_again() {
    let place = Place::with(&sample());
    let system = Watched::default();
    let root = place.import(&system).0.root;
    let all: Vec<Cid> = dfs_blocks(&place.store, root).map(|block| block.unwrap().0).collect();
    let whole = |imported: &Imported| dfs_blocks(&place.store, imported.root).all(|block| block.is_ok());
    for cid in all {
        assert_eq!(place.store.delete_many(&[cid]).unwrap(), 1);
        let (imported, read) = place.import(&system);
        assert_eq!(imported.root, root);
        assert!(whole(&imported), "{read:?} was read");
        assert!(read.len() <= 1, "a block of one file is missing, and {read:?} were read");
    }
}

#[test]
fn what_is_damaged_or_of_another_profile_counts_as_nothing() {
    let place = Place::with(&sample());
    let system = Watched::default();
    let root = place.import(&system).0.root;
    let sound = fs::read(place.known()).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![Vec::new(), b"gIMPORT4".to_vec(), sound[..sound.len() - 1].to_vec()];
    for at in (0..sound.len()).step_by(7) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        damages.push(damaged);
    }
    for damaged in damages {
        fs::write(place.known(), damaged).unwrap();
        let (imported, read) = place.import(&system);
        assert_eq!((imported.root, read.len()), (root, 5));
        assert_eq!(fs::read(place.known()).unwrap(), sound, "it is made again");
    }
    let other = Place { profile: Profile { chunk_bytes: 90, ..PROFILE }, ..place };
    let (imported, read) = other.import(&system);
    assert_eq!((imported.root, read.len()), (other.root(), 5));
}

#[test]
fn a_file_system_that_is_not_believed_is_read_every_time() {
    struct Foreign(Watched);
    impl FileSystem for Foreign {
        fn now(&self) -> Moment {
            self.0.now()
        }
        fn stamp(&self, path: &str, metadata: &Metadata) -> Stamp {
            self.0.stamp(path, metadata)
        }
        fn believed(&self, _: &Path) -> Option<u64> {
            None
        }
        fn open(&self, path: &Path) -> Result<File> {
            self.0.open(path)
        }
    }
    let place = Place::with(&sample());
    let (system, known) = (Foreign(Watched::default()), place.known());
    let options = ImportOptions { profile: PROFILE, known: Some(&known), ..ImportOptions::default() };
    for _ in 0..2 {
        system.0.opened.lock().unwrap().clear();
        import_directory_on(&system, &place.store, &place.path(""), &options).unwrap();
        assert_eq!(system.0.opened.lock().unwrap().len(), 5);
    }
    assert!(!place.known().exists());
}

#[test]
fn this_machines_file_system_is_believed() {
    let home = tempfile::tempdir().unwrap();
    let device = fs::metadata(home.path()).unwrap().dev();
    assert_eq!(RealFileSystem.believed(home.path()), Some(device));
}
