//! The home directory of one node: its lock and its layout.
//!
//! ```text
//! <home>/lock          locked by the process that uses the home, and contains its pid
//!        keys/         <name>.key (private, libp2p protobuf, mode 0600), <name>.identity (signed identity document)
//!        store/        blocks
//!        catalog.db    the known releases (SQLite)
//!        imports/      which files of published directories need not be read again
//!        fetched/      which files were written to which destination, for updates
//!        peers.db      records about other peers (SQLite); its lists are copied to `peers.lists`
//!        pins.copy     the user's pins, in case the store loses one
//!        losses        blocks that the store has lost, if any
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use ggen_blockstore::{DAMAGE, EntryKind, LookUp, SegmentBlockstore};
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::{Failure, database::Access, private};

/// With less free space, in bytes, the databases may fail to open.
const TIGHT_BYTES: u64 = 1 << 20;
/// Largest `lock` of a home, in bytes: a process id and a line feed.
const MAX_LOCK_BYTES: u64 = 32;
/// Description of a home, for a message about a package that contains one.
pub(crate) const IS_HOME: &str = "the home of a node, with its private keys";
/// Parts of a home that must be writable, if they exist, for the home to be writable.
const WRITTEN: [&str; 6] = ["", "lock", "store", "catalog.db", "peers.db", "mirror.db"];
/// What a directory is that has databases of a home, and not its keys.
pub(crate) const IS_HOME_WITHOUT_KEYS: &str = "the home of a node, without its keys";
/// Databases that a home has. Each of them beside one of the rest tells a home that lacks its keys.
const DATABASES: [&str; 2] = ["catalog.db", "peers.db"];
const BESIDE_DATABASES: [&str; 8] =
    ["catalog.db", "catalog.db-wal", "ggen.log", "lock", "mirror.db", "peers.db", "peers.lists", "pins.copy"];
const DIRECTORIES_BESIDE_DATABASES: [&str; 4] = ["fetched", "imports", "keys", "store"];
/// Parts of a home that hold nothing but its own.
const PARTS: [&str; 4] = ["keys", "store", "imports", "fetched"];

/// Says that a directory is a home, if it is one: `lock` beside `keys/`, or one of the databases beside something else that
/// a home has, whatever it is called.
pub(crate) fn is_home(look_up: &LookUp<'_>) -> Option<&'static str> {
    let has_lock = matches!(look_up("lock"), Some(EntryKind::File { size, .. }) if size <= MAX_LOCK_BYTES);
    let is_directory = |name: &str| look_up(name) == Some(EntryKind::Directory);
    if has_lock && is_directory("keys") {
        return Some(IS_HOME);
    }
    let is_file = |name: &str| matches!(look_up(name), Some(EntryKind::File { .. }));
    let database = DATABASES.into_iter().find(|name| is_file(name))?;
    let is_home = BESIDE_DATABASES.iter().any(|name| *name != database && is_file(name))
        || DIRECTORIES_BESIDE_DATABASES.iter().any(|name| is_directory(name));
    is_home.then_some(IS_HOME_WITHOUT_KEYS)
}

/// The home that `path` is, or whose keys, blocks or cached records `path` belongs to.
pub(crate) fn home_with(path: &Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let is_its_part = |home: &Path| {
        let below = path.strip_prefix(home).ok().and_then(|below| below.iter().next());
        below.is_none_or(|first| PARTS.iter().any(|part| first == *part))
    };
    path.ancestors().find(|directory| is_its_part(directory) && is_home_on_disk(directory)).map(Path::to_owned)
}

fn is_home_on_disk(directory: &Path) -> bool {
    let look_up = |name: &str| {
        let metadata = fs::symlink_metadata(directory.join(name)).ok()?;
        if metadata.is_dir() {
            return Some(EntryKind::Directory);
        }
        metadata.is_file().then_some(EntryKind::File { size: metadata.len(), executable: false })
    };
    is_home(&look_up).is_some()
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// Another process uses it.
    #[error("the home `{}` is in use by process {holder}", path.display())]
    InUse {
        /// The home.
        path: PathBuf,
        /// The pid of the process that holds it, if it is known.
        holder: String,
    },
    /// Other users can write to it: they could put keys, records and the socket of a daemon there.
    #[error("other users can write to the home `{}` (its mode is {mode:03o})", path.display())]
    Open {
        /// The home.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// This process cannot write to it.
    #[error("the home `{}` cannot be written to", path.display())]
    ReadOnly {
        /// The home.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// It is another user's, and this process is root: what root writes there, its owner can use no longer.
    #[error("the home `{}` belongs to another user (uid {owner}), and files that root makes in it would lock that user out", path.display())]
    Foreign {
        /// The home.
        path: PathBuf,
        /// The user that it belongs to.
        owner: u32,
    },
    /// Other users can write where the keys are: what stands there may be theirs.
    #[error("other users can write to `{}`, where private keys are (its mode is {mode:03o})", path.display())]
    OpenKeys {
        /// The directory of the keys, or a file in it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file of the home is a symbolic link, which may lead out of it.
    #[error("`{}` is a symbolic link", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// An I/O error, with the operation and the file.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
}

/// A home directory that this process has locked until the value is dropped: exclusively for writing, or shared for
/// reading.
#[derive(Debug)]
pub(crate) struct Home {
    permission: Permission,
    /// `None` for a read-only home that was never locked.
    _lock: Option<File>,
}

/// Whether a home can be written to. It outlives the lock.
#[derive(Clone, Debug)]
pub(crate) struct Permission {
    path: PathBuf,
    refusal: Option<Refusal>,
}

/// Why a home cannot be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The system's answer to a write.
    System(Errno),
    /// This user owns it, and root leaves it alone.
    Owner(u32),
}

impl Permission {
    /// Fails if the home cannot be written to. Called before operations that write.
    pub(crate) fn require(&self) -> Result<(), HomeError> {
        match self.refusal {
            Some(Refusal::System(error)) => Err(HomeError::ReadOnly { path: self.path.clone(), source: error.into() }),
            Some(Refusal::Owner(owner)) => Err(HomeError::Foreign { path: self.path.clone(), owner }),
            None => Ok(()),
        }
    }
}

impl Home {
    /// Opens and locks the home at `path`, and creates it with access for its owner only if it does not exist. A home
    /// that cannot be written to is opened for reading; [`Home::access`] then determines how its files are opened.
    pub(crate) fn open(path: &Path) -> Result<Self, HomeError> {
        match unwritable(path) {
            Some(refusal) => Self::open_read_only(path, refusal),
            None => Self::open_for_writing(path),
        }
    }

    fn open_read_only(path: &Path, refusal: Refusal) -> Result<Self, HomeError> {
        refuse_open(path)?;
        let lock_path = path.join("lock");
        let lock = match open_lock(&lock_path, OpenOptions::new().read(true)) {
            Ok(mut lock) => {
                take(&mut lock, FlockOperation::NonBlockingLockShared, path, &lock_path)?;
                Some(lock)
            }
            // The lock file does not exist, or belongs to another user. Everything that is read is verified
            // nevertheless.
            Err(HomeError::Io { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { permission: Permission { path: path.to_owned(), refusal: Some(refusal) }, _lock: lock })
    }

    fn open_for_writing(path: &Path) -> Result<Self, HomeError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Io { action, path, source }
        };
        private::make_directory(path).map_err(io("create the directory", path))?;
        refuse_open(path)?;
        let lock_path = path.join("lock");
        let mut lock = open_lock(&lock_path, private::options().read(true).write(true).create(true).truncate(false))?;
        take(&mut lock, FlockOperation::NonBlockingLockExclusive, path, &lock_path)?;
        let pid = format!("{}\n", std::process::id());
        let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(pid.as_bytes()));
        match written {
            // The pid is only needed for a message; the lock works without it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written.map_err(io("write", &lock_path))?,
        }
        let keys = path.join("keys");
        private::make_directory(&keys).map_err(io("create the directory", &keys))?;
        close_keys(&keys)?;
        [path, &keys].into_iter().try_for_each(remove_partial)?;
        Ok(Self { permission: Permission { path: path.to_owned(), refusal: None }, _lock: Some(lock) })
    }

    /// Whether the home can be written to.
    pub(crate) fn permission(&self) -> &Permission {
        &self.permission
    }

    /// How files of the home are opened.
    pub(crate) fn access(&self) -> Access {
        if self.permission.refusal.is_some() { Access::Copy } else { Access::Write }
    }

    fn path(&self) -> &Path {
        &self.permission.path
    }

    /// Releases the store's reserved space if the disk is nearly full, because the databases cannot even be opened
    /// without free space. For operations that free space.
    pub(crate) fn use_reserve_if_full(&self) {
        let free = rustix::fs::statvfs(self.path()).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        if free.is_ok_and(|free| free < TIGHT_BYTES) {
            // If the reserve does not exist, the next operation reports the failure.
            drop(fs::remove_file(self.store().join(SegmentBlockstore::RESERVE)));
        }
    }

    /// The directory of the blocks.
    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// The catalog's database.
    pub(crate) fn catalog(&self) -> PathBuf {
        self.path().join("catalog.db")
    }

    /// The book of peers.
    pub(crate) fn peers(&self) -> PathBuf {
        self.path().join("peers.db")
    }

    /// The mirror's database.
    pub(crate) fn mirror(&self) -> PathBuf {
        self.path().join("mirror.db")
    }

    /// The publishers that are trusted for namespaces.
    pub(crate) fn trust(&self) -> PathBuf {
        self.path().join("trust.toml")
    }

    /// The copy of the user's pins beside the store.
    pub(crate) fn pins(&self) -> PathBuf {
        self.path().join("pins.copy")
    }

    /// The list of blocks that the store has lost.
    pub(crate) fn losses(&self) -> PathBuf {
        self.path().join("losses")
    }

    /// The records of imported directories.
    pub(crate) fn imports(&self) -> PathBuf {
        self.path().join("imports")
    }

    /// The records of fetch destinations.
    pub(crate) fn destinations(&self) -> PathBuf {
        self.path().join("fetched")
    }

    /// The directory of the keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.path().join("keys")
    }
}

/// Why the home at `path` cannot be written to, if it cannot. One that does not exist is made.
fn unwritable(path: &Path) -> Option<Refusal> {
    let user = rustix::process::geteuid();
    let owner = user.is_root().then(|| fs::metadata(path).ok()).flatten().map(|metadata| metadata.uid());
    if let Some(owner) = owner.filter(|owner| *owner != user.as_raw()) {
        return Some(Refusal::Owner(owner));
    }
    let answer = |part: &&str| rustix::fs::access(path.join(part), rustix::fs::Access::WRITE_OK).err();
    let is_refusal = |error: &Errno| matches!(*error, Errno::ROFS | Errno::ACCESS | Errno::PERM);
    path.is_dir().then(|| WRITTEN.iter().filter_map(answer).find(is_refusal)).flatten().map(Refusal::System)
}

/// Refuses a home that this process cannot write to.
///
/// # Errors
/// An error with a hint, if the home is read-only.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    Ok(Permission { path: path.to_owned(), refusal: unwritable(path) }.require()?)
}

/// Checks that a directory can be a home: other users must not be able to write to it. A directory that does not exist
/// passes.
///
/// # Errors
/// A directory that other users can write to, or whose metadata cannot be read.
pub fn check_home(path: &Path) -> Result<(), Failure> {
    if path.exists() { Ok(refuse_open(path)?) } else { Ok(()) }
}

fn refuse_open(path: &Path) -> Result<(), HomeError> {
    let mode = mode_of(path)?;
    if mode & WRITTEN_BY_OTHERS == 0 { Ok(()) } else { Err(HomeError::Open { path: path.to_owned(), mode }) }
}

fn mode_of(path: &Path) -> Result<u32, HomeError> {
    let metadata = fs::metadata(path);
    let failed = |source| HomeError::Io { action: "look at", path: path.to_owned(), source };
    Ok(metadata.map_err(failed)?.permissions().mode() & 0o7777)
}

/// Revokes the access of other users to the keys, and warns if they could read them. If other users can write to the
/// keys, this is an error and nothing changes: a key may have been replaced, and a corrected mode would hide that.
fn close_keys(directory: &Path) -> Result<(), HomeError> {
    let failed = |source| HomeError::Io { action: "list", path: directory.to_owned(), source };
    let mut paths = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Broken links and directories are not keys.
        paths.extend(path.is_file().then_some(path));
    }
    let modes = paths.iter().map(|path| mode_of(path)).collect::<Result<Vec<_>, _>>()?;
    let mut with_modes = paths.iter().zip(modes);
    if let Some((path, mode)) = with_modes.clone().find(|(_, mode)| mode & WRITTEN_BY_OTHERS != 0) {
        return Err(HomeError::OpenKeys { path: path.clone(), mode });
    }
    let could_be_entered = with_modes.next().is_some_and(|(_, mode)| private::is_open(mode));
    let readable: Vec<_> = with_modes.filter(|(_, mode)| private::is_open(*mode)).map(|(path, _)| path).collect();
    let closed = if could_be_entered { private::close(directory) } else { Ok(()) };
    let closed = readable.iter().fold(closed, |closed, path| closed.and(private::close(path)));
    let names: Vec<_> = readable.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let (names, keys) = (names.join(", "), directory.display());
    match closed {
        Err(cause) => {
            let what = "other users can read private keys, and their modes cannot be changed";
            tracing::warn!(target: DAMAGE, %keys, %names, %cause, "{what}");
        }
        Ok(()) if !readable.is_empty() => {
            let what =
                "other users could read these files; their modes are 600 now. If others have read a key, rotate it";
            tracing::warn!(target: DAMAGE, %keys, %names, "{what}");
        }
        Ok(()) => {}
    }
    Ok(())
}

/// The permission bits that let other users write.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Opens the lock file. A link is not followed, because its target would be written to and locked.
fn open_lock(path: &Path, options: &mut OpenOptions) -> Result<File, HomeError> {
    let opened = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    opened.map_err(|source| match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => HomeError::Link { path: path.to_owned() },
        _ => HomeError::Io { action: "open", path: path.to_owned(), source },
    })
}

/// Locks the lock file of the home at `home`.
fn take(lock: &mut File, operation: FlockOperation, home: &Path, path: &Path) -> Result<(), HomeError> {
    let io = |action| move |source| HomeError::Io { action, path: path.to_owned(), source };
    match flock(&*lock, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(io("read"))?;
            Err(HomeError::InUse { path: home.to_owned(), holder: holder.trim().to_owned() })
        }
        // Without a lock, two processes could write to the same store.
        Err(error) => Err(io("lock")(error.into())),
    }
}

/// The end of the names of files that are being written.
const PARTIAL: &str = ".partial";

/// Writes a file atomically: into a temporary file beside it, synced and renamed. Writers of one file take turns.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> Result<(), HomeError> {
    let io = |action| {
        let path = path.to_owned();
        move |source| HomeError::Io { action, path, source }
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(PARTIAL);
    let beside = Path::new(&beside);
    let mut file = open_alone(beside).map_err(io("create"))?;
    let written = file.set_len(0).and_then(|()| file.write_all(contents)).and_then(|()| file.sync_all());
    written.map_err(io("write"))?;
    rename_private(beside, path)
}

/// Opens and locks a file, and creates it if it does not exist.
fn open_alone(path: &Path) -> io::Result<File> {
    loop {
        let file = private::options().write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::LockExclusive) {
            // Some NFS and FUSE file systems have no locks.
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        // The former holder of the lock may have renamed the file.
        let locked = file.metadata()?;
        if fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino())) {
            return Ok(file);
        }
    }
}

/// Removes the files that a killed process was writing.
fn remove_partial(directory: &Path) -> Result<(), HomeError> {
    let io = |action| move |source| HomeError::Io { action, path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(io("list"))? {
        let path = entry.map_err(io("list"))?.path();
        if path.to_string_lossy().ends_with(PARTIAL) && path.is_file() {
            fs::remove_file(&path).map_err(io("remove a left file of"))?;
        }
    }
    Ok(())
}

/// Renames a file in its directory, durably.
pub(crate) fn rename_private(from: &Path, to: &Path) -> Result<(), HomeError> {
    let io = |action| {
        let path = to.to_owned();
        move |source| HomeError::Io { action, path, source }
    };
    fs::rename(from, to).map_err(io("write"))?;
    let directory = to.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io("sync the directory of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_holder_who_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let held = Home::open(dir.path()).unwrap();
        let error = Home::open(dir.path()).unwrap_err();
        assert!(matches!(&error, HomeError::InUse { holder, .. } if *holder == std::process::id().to_string()));
        drop(held);
        assert!(Home::open(dir.path()).is_ok());
    }

    #[test]
    fn a_home_that_others_can_write_to_is_refused_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, is_refused) in [(0o777, true), (0o1777, true), (0o770, true), (0o702, true), (0o755, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            match Home::open(dir.path()) {
                Err(HomeError::Open { mode: found, .. }) => assert!(is_refused && found == mode, "{mode:o} {found:o}"),
                Err(error) => panic!("{error}"),
                Ok(_) => assert!(!is_refused, "{mode:o}"),
            }
        }
    }

    #[test]
    fn keys_that_others_can_read_are_taken_from_them_and_where_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let key = keys.join("default.key");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        drop(Home::open(dir.path()).unwrap());
        fs::write(&key, "key").unwrap();
        fs::create_dir(keys.join("other")).unwrap();
        for (of_directory, of_key) in [(0o755, 0o644), (0o700, 0o640), (0o711, 0o600), (0o750, 0o604)] {
            set(&keys, of_directory);
            set(&key, of_key);
            drop(Home::open(dir.path()).unwrap());
            assert_eq!((mode(&keys), mode(&key)), (0o700, 0o600), "{of_directory:o} {of_key:o}");
        }
        for (of_directory, of_key, refused) in [(0o777, 0o600, &keys), (0o770, 0o600, &keys), (0o700, 0o666, &key)] {
            set(&keys, of_directory);
            set(&key, of_key);
            let error = Home::open(dir.path()).unwrap_err();
            assert!(matches!(&error, HomeError::OpenKeys { path, .. } if path == refused), "{error}");
            assert_eq!((mode(&keys), mode(&key)), (of_directory, of_key), "what others may have changed stays visible");
        }
    }

    #[test]
    fn writers_of_one_file_and_of_its_neighbours_do_not_mix_their_contents() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let contents = |byte: u8| vec![byte; 1 << 16];
        std::thread::scope(|scope| {
            for (name, byte) in [("a.key", 1), ("a.key", 2), ("a.identity", 3)] {
                scope.spawn(move || (0..50).for_each(|_| write_private(&path(name), &contents(byte)).unwrap()));
            }
        });
        let key = fs::read(path("a.key")).unwrap();
        assert!(key == contents(1) || key == contents(2));
        assert!(fs::read(path("a.identity")).unwrap() == contents(3));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_killed_process_was_writing_is_removed_when_the_home_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        drop(Home::open(dir.path()).unwrap());
        let left = [dir.path().join("keys/a.key.partial"), dir.path().join("losses.partial")];
        left.iter().for_each(|path| fs::write(path, "half").unwrap());
        let _home = Home::open(dir.path()).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
    }

    #[test]
    fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (home, victim) = (dir.path().join("home"), dir.path().join("victim"));
        private::make_directory(&home).unwrap();
        fs::write(&victim, "precious").unwrap();
        for target in [victim.as_path(), Path::new("nowhere")] {
            std::os::unix::fs::symlink(target, home.join("lock")).unwrap();
            assert!(matches!(Home::open(&home), Err(HomeError::Link { path }) if path == home.join("lock")));
            fs::remove_file(home.join("lock")).unwrap();
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!home.join("nowhere").exists());
    }
}
