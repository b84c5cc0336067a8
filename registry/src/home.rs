//! The directory of one node: who holds it, and where things are in it.
//!
//! ```text
//! <home>/lock          held by the process that uses the home; its pid stands in it
//!        keys/         <name>.key (private, libp2p protobuf, mode 0600), <name>.identity (signed identity document)
//!        store/        blocks
//!        catalog.db    what releases exist (SQLite)
//!        imports/      which files of directories that were published need not be read again
//!        fetched/      what was written to which place, for updates of it
//!        peers.db      what is known of other peers (SQLite); its lists stand in `peers.lists` too
//!        pins.copy     the user's pins, in case the store loses one
//!        losses        what the store has lost, if it has
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

/// With less free space, in bytes, the databases may not open.
const TIGHT_BYTES: u64 = 1 << 20;
/// Largest `lock` of a home, in bytes: a process id and a line feed.
const MAX_LOCK_BYTES: u64 = 32;
/// What a home is, to those who read of one where none should be.
pub(crate) const IS_HOME: &str = "the home of a node, with its private keys";
/// What of a home has to be writable, where it is there, for the home to be.
const WRITTEN: [&str; 6] = ["", "lock", "store", "catalog.db", "peers.db", "mirror.db"];
/// Parts of a home that hold nothing but its own.
const PARTS: [&str; 4] = ["keys", "store", "imports", "fetched"];

/// Says that a directory is a home, if it is one: `lock` beside `keys/`, whatever it is called.
pub(crate) fn is_home(look_up: &LookUp<'_>) -> Option<&'static str> {
    let has_lock = matches!(look_up("lock"), Some(EntryKind::File { size, .. }) if size <= MAX_LOCK_BYTES);
    let is_home = has_lock && look_up("keys") == Some(EntryKind::Directory);
    is_home.then_some(IS_HOME)
}

/// The home that `path` is, or to whose keys, blocks or notes it belongs.
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
        /// The pid of the process that holds it, as far as it is known.
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
        /// What the system answers.
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
    /// A file of it leads out of it.
    #[error("`{}` is a symbolic link", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// An I/O error, with what was being done to which file.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// A home directory that this process holds, until it is dropped; or that it reads, and that none writes to meanwhile.
#[derive(Debug)]
pub(crate) struct Home {
    permission: Permission,
    /// None of a home that cannot be written to and was never held.
    _lock: Option<File>,
}

/// Whether a home can be written to. It outlives the lock of the home.
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
    /// Refuses what would have to write, where that cannot be done.
    pub(crate) fn require(&self) -> Result<(), HomeError> {
        match self.refusal {
            Some(Refusal::System(error)) => Err(HomeError::ReadOnly { path: self.path.clone(), source: error.into() }),
            Some(Refusal::Owner(owner)) => Err(HomeError::Foreign { path: self.path.clone(), owner }),
            None => Ok(()),
        }
    }
}

impl Home {
    /// Takes the home at `path`, creating it (for its owner only) if need be. One that cannot be written to is opened for
    /// reading; everything in it is then opened by what [`Home::access`] says.
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
            // None was made, or it is another user's: what is read is checked all the same.
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
            // The pid is there for a message; the lock holds without it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written.map_err(io("write", &lock_path))?,
        }
        let keys = path.join("keys");
        private::make_directory(&keys).map_err(io("create the directory", &keys))?;
        close_keys(&keys)?;
        Ok(Self { permission: Permission { path: path.to_owned(), refusal: None }, _lock: Some(lock) })
    }

    /// Whether it can be written to.
    pub(crate) fn permission(&self) -> &Permission {
        &self.permission
    }

    /// How what is in it is opened.
    pub(crate) fn access(&self) -> Access {
        if self.permission.refusal.is_some() { Access::Copy } else { Access::Write }
    }

    fn path(&self) -> &Path {
        &self.permission.path
    }

    /// Gives up the space that the store keeps in reserve if there is hardly any other: without some, the databases
    /// cannot even be opened. For work that frees some.
    pub(crate) fn use_reserve_if_full(&self) {
        let free = rustix::fs::statvfs(self.path()).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        if free.is_ok_and(|free| free < TIGHT_BYTES) {
            // Where there is none, what comes next says what fails.
            drop(fs::remove_file(self.store().join(SegmentBlockstore::RESERVE)));
        }
    }

    /// Where the blocks are.
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

    /// What the mirror remembers.
    pub(crate) fn mirror(&self) -> PathBuf {
        self.path().join("mirror.db")
    }

    /// The user's pins, as they are kept beside the store.
    pub(crate) fn pins(&self) -> PathBuf {
        self.path().join("pins.copy")
    }

    /// What the store has lost.
    pub(crate) fn losses(&self) -> PathBuf {
        self.path().join("losses")
    }

    /// What is remembered of directories that were imported.
    pub(crate) fn imports(&self) -> PathBuf {
        self.path().join("imports")
    }

    /// What is remembered of places that were written to.
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
/// That it cannot, and what to do.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    Ok(Permission { path: path.to_owned(), refusal: unwritable(path) }.require()?)
}

/// Says whether a directory can be a home: others must not be able to write to it. One that does not exist can.
///
/// # Errors
/// A directory that others can write to, or that cannot be looked at.
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

/// Takes the keys from other users who can read them, and warns of it. Where others can write, that is refused and left as it
/// is: a key may have been replaced, and once the mode is mended nothing would show that.
fn close_keys(directory: &Path) -> Result<(), HomeError> {
    let failed = |source| HomeError::Io { action: "list", path: directory.to_owned(), source };
    let mut paths = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // A link that leads nowhere is no key, nor is a directory.
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

/// The bits of a mode by which others write.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Opens the file of the lock. A link is not followed: it would write to, and lock, what it leads to.
fn open_lock(path: &Path, options: &mut OpenOptions) -> Result<File, HomeError> {
    let opened = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    opened.map_err(|source| match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => HomeError::Link { path: path.to_owned() },
        _ => HomeError::Io { action: "open", path: path.to_owned(), source },
    })
}

/// Locks the file of the lock of the home at `home`.
fn take(lock: &mut File, operation: FlockOperation, home: &Path, path: &Path) -> Result<(), HomeError> {
    let io = |action| move |source| HomeError::Io { action, path: path.to_owned(), source };
    match flock(&*lock, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(io("read"))?;
            Err(HomeError::InUse { path: home.to_owned(), holder: holder.trim().to_owned() })
        }
        // Without a lock two processes could write to one store.
        Err(error) => Err(io("lock")(error.into())),
    }
}

/// Writes a file of which no half may ever be seen: beside its place, synced, renamed into it.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> Result<(), HomeError> {
    let io = |action| {
        let path = path.to_owned();
        move |source| HomeError::Io { action, path, source }
    };
    let beside = path.with_extension("partial");
    let mut file = private::options().write(true).create(true).truncate(true).open(&beside).map_err(io("create"))?;
    file.write_all(contents).and_then(|()| file.sync_all()).map_err(io("write"))?;
    fs::rename(&beside, path).map_err(io("write"))?;
    let directory = path.parent().unwrap_or(Path::new("."));
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
