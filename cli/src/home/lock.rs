//! The lock that identifies the process that serves a home: a file that this process keeps locked until it ends.
//!
//! *Invariant*: only the process that holds the lock binds, replaces or removes the socket. The operating system
//! releases the lock when the process ends in any way, so a dead daemon never blocks its successor. The file is never
//! removed, because a lock on a removed file would be ineffective.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use ggen_marketplace::{ErrorKind, Failure};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{error, home::Home};

/// How long to try for the lock. Processes that check for a daemon hold it for an instant.
const ACQUIRE_PATIENCE: Duration = Duration::from_millis(500);
/// Interval between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// Largest daemon file that is read, in bytes.
const MAX_DAEMON_FILE_BYTES: u64 = 4096;

/// The process that serves a home, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Its process id; absent while it is starting.
    pub(crate) pid: Option<u32>,
}

impl Holder {
    /// The process that serves `home`, if there is one.
    pub(crate) fn of(home: &Home) -> Result<Option<Self>, Failure> {
        let path = home.daemon_file();
        let file = match options().read(true).open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cannot_open(&path, &cause)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(Self::read(&file))),
            Err(TryLockError::Error(cause)) => Err(error::io("lock", &path, &cause)),
        }
    }

    /// Reads the holder's file. The holder may not have written it yet, so unreadable text is not an error.
    fn read(file: &File) -> Self {
        let mut text = String::new();
        match file.take(MAX_DAEMON_FILE_BYTES).read_to_string(&mut text) {
            Ok(_) => serde_json::from_str(&text).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Returns whether the process is stopped, as by SIGSTOP or under a debugger; false if the system does not report
    /// it.
    pub(crate) fn is_stopped(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may contain any character.
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't']))
    }

    /// The failure for a second daemon on the same home.
    pub(crate) fn in_use(&self, home: &Home) -> Failure {
        let path = home.path().display();
        let holder = match self.pid {
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        Failure::new(ErrorKind::Failed, format!("home `{path}` is in use by {holder}"))
            .hinted("stop that node with `ggen marketplace p2p stop`, or choose another home with `--home DIR`")
    }
}

/// The lock on serving a home; held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DaemonLock {
    file: File,
    home: Home,
}

impl DaemonLock {
    /// Takes the lock for this process, and writes the pid to the file.
    pub(crate) async fn acquire(home: &Home) -> Result<Self, Failure> {
        let path = home.daemon_file();
        let opened = options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|cause| cannot_open(&path, &cause))?;
        let deadline = Instant::now() + ACQUIRE_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(RETRY_PAUSE).await,
                Err(TryLockError::WouldBlock) => return Err(Holder::read(&file).in_use(home)),
                Err(TryLockError::Error(cause)) => return Err(error::io("lock", &path, &cause)),
            }
        }
        let mut lock = Self { file, home: home.clone() };
        lock.write(&Holder { pid: Some(std::process::id()) }).map_err(|cause| error::io("write", &path, &cause))?;
        Ok(lock)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    fn write(&mut self, holder: &Holder) -> io::Result<()> {
        let text = serde_json::to_string(holder)?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())
    }
}

/// Opens the file without following a symbolic link, whose target would be locked and overwritten.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn cannot_open(path: &Path, cause: &io::Error) -> Failure {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            Failure::new(ErrorKind::Failed, format!("`{}` is a symbolic link", path.display()))
                .hinted("remove it: a file of a home is never a link")
        }
        _ => error::io("open", path, cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lock_names_its_holder_excludes_a_second_and_ends_with_it() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(place.path())).unwrap();
        assert_eq!(Holder::of(&home).unwrap(), None);

        let lock = DaemonLock::acquire(&home).await.unwrap();
        assert_eq!(Holder::of(&home).unwrap(), Some(Holder { pid: Some(std::process::id()) }));
        let refusal = DaemonLock::acquire(&home).await.unwrap_err();
        assert!(refusal.message.contains(&format!("process {}", std::process::id())), "{refusal}");

        drop(lock);
        assert_eq!(Holder::of(&home).unwrap(), None);
        DaemonLock::acquire(&home).await.unwrap();
    }

    #[tokio::test]
    async fn link_in_place_of_the_file_is_refused_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(&place.path().join("home"))).unwrap();
        home.create().unwrap();
        let victim = place.path().join("victim");
        std::os::unix::fs::symlink(&victim, home.daemon_file()).unwrap();
        for failure in [Holder::of(&home).unwrap_err(), DaemonLock::acquire(&home).await.unwrap_err()] {
            assert!(failure.message.ends_with("daemon.json` is a symbolic link"), "{failure}");
        }
        assert!(!victim.exists());
    }

    #[test]
    fn nothing_readable_is_a_holder_without_a_name() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(place.path())).unwrap();
        std::fs::write(home.daemon_file(), b"{\"pi").unwrap();
        let file = File::open(home.daemon_file()).unwrap();
        assert_eq!(Holder::read(&file), Holder { pid: None });
    }
}
