//! Tarballs as files.

use std::{
    fs::{self, File, Permissions},
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::{CWD, Mode};

use super::support::{Item, Items, file, items, write_items};
use crate::{
    Cid, Compression, Error, ExportOptions, ImportOptions, MemoryBlockstore, Result, export_tar, export_tarball,
    import_directory,
};

struct Place {
    home: tempfile::TempDir,
    store: MemoryBlockstore,
    root: Cid,
}

impl Place {
    fn new() -> Self {
        let (home, source, store) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), MemoryBlockstore::new());
        write_items(source.path(), &sample());
        let root = import_directory(&store, source.path(), &ImportOptions::default()).unwrap().root;
        Self { home, store, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, to: &Path) -> Result<()> {
        let compression = Compression::of_name(to).unwrap();
        export_tarball(&self.store, self.root, to, compression, &ExportOptions::default()).map(drop)
    }

    /// The canonical bytes.
    fn tarball(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        export_tar(&self.store, self.root, &mut bytes, &ExportOptions::default()).unwrap();
        bytes
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

/// More than a pipe holds.
fn sample() -> Items {
    let large = (0..300_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    items([("a", file("alpha")), ("dir/large", Item::File(large))])
}

#[test]
fn the_end_of_the_name_says_how_it_is_compressed() {
    let place = Place::new();
    for name in ["x.tar", "x.tar.gz", "x.TGZ", "x.tar.zst", "x.tzst", "x", ".gz.tar"] {
        place.write(&place.path(name)).unwrap();
        let (bytes, mut plain) = (fs::read(place.path(name)).unwrap(), Vec::new());
        match name {
            "x.tar.gz" | "x.TGZ" => {
                assert_eq!(bytes[..2], [0x1f, 0x8b]);
                assert_eq!(bytes[4..8], [0; 4], "no time");
                let length = flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
                assert_eq!(length, plain.len());
            }
            "x.tar.zst" | "x.tzst" => plain = zstd::decode_all(&bytes[..]).unwrap(),
            _ => plain = bytes,
        }
        assert!(plain == place.tarball(), "{name}");
    }
    for name in ["x.tar.xz", "x.tar.bz2", "x.zip", "x.tar.Z", "x.tlz"] {
        assert_eq!(Compression::of_name(Path::new(name)), None, "{name}");
    }
}

#[test]
fn a_regular_file_is_replaced_as_a_whole_and_keeps_its_mode() {
    let place = Place::new();
    let path = place.path("x.tar");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let open = File::open(&path).unwrap();
    place.write(&path).unwrap();
    assert!(fs::read(&path).unwrap() == place.tarball());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(open.metadata().unwrap().len(), 3, "who reads the old one still reads the old one");
    assert_eq!(place.names(), ["x.tar"]);
}

#[test]
fn a_symlink_stays_and_what_it_leads_to_is_written() {
    let place = Place::new();
    fs::create_dir(place.path("dir")).unwrap();
    fs::write(place.path("dir/real.tar"), "old").unwrap();
    symlink("dir/real.tar", place.path("link.tar")).unwrap();
    symlink("link.tar", place.path("far.tar")).unwrap();
    symlink("dir/missing.tar", place.path("dangling.tar")).unwrap();
    for (link, real) in [("far.tar", "dir/real.tar"), ("dangling.tar", "dir/missing.tar")] {
        place.write(&place.path(link)).unwrap();
        assert!(fs::symlink_metadata(place.path(link)).unwrap().is_symlink());
        assert!(!fs::symlink_metadata(place.path(real)).unwrap().is_symlink());
        assert!(fs::read(place.path(real)).unwrap() == place.tarball());
    }
    symlink("loop", place.path("loop")).unwrap();
    place.write(&place.path("loop")).unwrap_err();
    assert_eq!(place.names(), ["dangling.tar", "dir", "far.tar", "link.tar", "loop"]);
}

#[test]
fn a_pipe_is_written_through_and_one_without_a_reader_is_an_error() {
    let place = Place::new();
    let path = place.path("pipe");
    rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
    let error = place.write(&path).unwrap_err();
    assert!(matches!(error, Error::Io { action: "open", .. }), "{error}");
    let reader = {
        let path = path.clone();
        // Opening it waits for the writer; a second one keeps the pipe from ending before the export has begun.
        let keeper = thread::spawn({
            let path = path.clone();
            move || File::options().write(true).open(path).unwrap()
        });
        let mut reader = File::open(&path).unwrap();
        let keeper = keeper.join().unwrap();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut first = [0; 1];
            reader.read_exact(&mut first).unwrap();
            drop(keeper);
            bytes.extend(first);
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    place.write(&path).unwrap();
    assert!(reader.join().unwrap() == place.tarball());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    assert_eq!(place.names(), ["pipe"]);
}

#[test]
fn a_device_and_a_socket_are_written_through() {
    let place = Place::new();
    let before = fs::metadata("/dev/null").unwrap();
    place.write(Path::new("/dev/null")).unwrap();
    let after = fs::metadata("/dev/null").unwrap();
    assert!(after.file_type().is_char_device());
    assert_eq!((before.ino(), before.rdev()), (after.ino(), after.rdev()));
    let full = place.write(Path::new("/dev/full")).unwrap_err();
    assert!(matches!(full, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull));

    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        bytes
    });
    place.write(&place.path("socket")).unwrap();
    assert!(reader.join().unwrap() == place.tarball());
    assert!(fs::symlink_metadata(place.path("socket")).unwrap().file_type().is_socket());
    place.write(&place.path("socket")).unwrap_err();
    assert_eq!(place.names(), ["socket"]);
}

#[test]
fn long_names_and_missing_directories_are_no_hindrance() {
    let place = Place::new();
    let path = place.path("a/b").join("x".repeat(255));
    place.write(&path).unwrap();
    place.write(&path).unwrap();
    assert!(fs::read(&path).unwrap() == place.tarball());
    assert_eq!(fs::read_dir(place.path("a/b")).unwrap().count(), 1);
}

#[test]
fn nothing_stays_of_a_tarball_that_fails() {
    let place = Place::new();
    fs::write(place.path("x.tar"), "old").unwrap();
    let absent = *crate::Block::raw(&b"absent"[..]).unwrap().cid();
    for path in ["x.tar", "new/y.tar"] {
        let options = ExportOptions::default();
        export_tarball(&place.store, absent, &place.path(path), Compression::Gzip, &options).unwrap_err();
    }
    fs::create_dir(place.path("dir")).unwrap();
    let error = place.write(&place.path("dir")).unwrap_err();
    assert!(matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::IsADirectory));
    assert_eq!(place.names(), ["dir", "x.tar"]);
    assert_eq!(fs::read_to_string(place.path("x.tar")).unwrap(), "old");
}

/// What a killed process left is removed by the next export to the same file, and by no other.
#[test]
fn what_a_killed_export_left_goes_with_the_next() {
    let place = Place::new();
    let seen = std::sync::Mutex::new(Vec::new());
    let look = |_| *seen.lock().unwrap() = place.names();
    let options = ExportOptions { progress: Some(&look), ..ExportOptions::default() };
    export_tarball(&place.store, place.root, &place.path("x.tar"), Compression::None, &options).unwrap();
    let name = seen.into_inner().unwrap().into_iter().find(|name| name.starts_with(".ggen-partial-")).unwrap();
    File::create(place.path(&name)).unwrap().write_all(b"half").unwrap();
    place.write(&place.path("y.tar")).unwrap();
    assert!(place.path(&name).exists());
    place.write(&place.path("x.tar")).unwrap();
    assert_eq!(place.names(), ["x.tar", "y.tar"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_error_while_it_is_written_names_the_path() {
    let place = Place::new();
    let error = place.write(Path::new("/dev/full")).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `/dev/full`");
}
