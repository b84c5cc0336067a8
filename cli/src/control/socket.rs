//! The control socket in the file system: `<home>/ggen.sock`, for its owner only.
//!
//! The path of a Unix socket is limited (108 bytes on Linux), a home's is not. A socket in a deep home is reached
//! through `/proc/self/fd/<descriptor of its directory>`, which is always short; on systems without `/proc` a home
//! that deep is refused.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// Name of the socket in the home.
const NAME: &str = "ggen.sock";
/// Directory in which the socket is made before it is moved to its place.
const NURSERY: &str = "ggen.sock.d";
/// Longest path that every system takes, in bytes: 104 with the final zero, on macOS.
const MAX_PATH_BYTES: usize = 103;

/// Makes the socket of `home` and listens on it. Replaces the socket of a dead daemon.
///
/// The caller must hold the home's daemon lock, which says that any socket found there is dead. The socket is made in
/// a directory that others cannot enter, made private and then renamed into its place: at no moment can anybody else
/// connect.
pub(crate) fn bind(home: &Path) -> io::Result<UnixListener> {
    let nursery = home.join(NURSERY);
    match fs::remove_dir_all(&nursery) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&nursery)?;
    let listener = UnixListener::bind(&ShortPath::of_socket_in(&nursery)?.path)?;
    let made = nursery.join(NAME);
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(&made, home.join(NAME))?;
    fs::remove_dir(&nursery)?;
    Ok(listener)
}

/// Connects to the daemon of `home`; nothing if no daemon listens there.
pub(crate) async fn connect(home: &Path) -> io::Result<Option<UnixStream>> {
    let connected = match ShortPath::of_socket_in(home) {
        Ok(short) => UnixStream::connect(&short.path).await,
        Err(cause) => Err(cause),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(cause) if is_absent(&cause) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Whether the socket of `home` is in its place.
pub(crate) fn is_there(home: &Path) -> bool {
    fs::symlink_metadata(home.join(NAME)).is_ok()
}

/// Makes the socket again if it is missing. The caller must hold the home's daemon lock.
pub(crate) fn bind_if_missing(home: &Path) -> Option<UnixListener> {
    if is_there(home) {
        return None;
    }
    match bind(home) {
        Ok(listener) => {
            tracing::warn!(home = %home.display(), "the control socket was removed and is made again");
            Some(listener)
        }
        Err(cause) => {
            tracing::debug!(%cause, "the control socket is missing and cannot be made again");
            None
        }
    }
}

/// Removes the socket. The caller must hold the home's daemon lock.
pub(crate) fn remove(home: &Path) -> io::Result<()> {
    match fs::remove_file(home.join(NAME)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory)
}

/// A path of the socket in a directory that fits a socket address.
struct ShortPath {
    path: PathBuf,
    /// Keeps the descriptor in the path open.
    _directory: Option<File>,
}

impl ShortPath {
    fn of_socket_in(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        if path.as_os_str().as_bytes().len() <= MAX_PATH_BYTES {
            return Ok(Self { path, _directory: None });
        }
        let opened = File::open(directory)?;
        let link = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        if !link.is_dir() {
            let message = format!("the path has more than {MAX_PATH_BYTES} bytes, choose a shorter home");
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, message));
        }
        Ok(Self { path: link.join(NAME), _directory: Some(opened) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check_life_of_a_socket(home: &Path) {
        assert!(connect(home).await.unwrap().is_none());
        let listener = bind(home).unwrap();
        assert_eq!(fs::metadata(home.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!home.join(NURSERY).exists());
        let (client, accepted) = tokio::join!(connect(home), listener.accept());
        assert!(client.unwrap().is_some());
        accepted.unwrap();

        // What a killed daemon leaves: a socket on which nobody listens.
        drop(listener);
        assert!(home.join(NAME).exists());
        assert!(connect(home).await.unwrap().is_none());
        let again = bind(home).unwrap();
        assert!(connect(home).await.unwrap().is_some());
        drop(again);

        assert!(bind_if_missing(home).is_none(), "it is there");
        remove(home).unwrap();
        let again = bind_if_missing(home).unwrap();
        assert!(connect(home).await.unwrap().is_some());
        drop(again);
        remove(home).unwrap();
        remove(home).unwrap();
        assert!(connect(home).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn socket_is_private_and_replaces_a_dead_one() {
        let place = tempfile::tempdir().unwrap();
        check_life_of_a_socket(place.path()).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn home_deeper_than_a_socket_address_works_as_well() {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&home).unwrap();
        check_life_of_a_socket(&home).await;
    }

    #[tokio::test]
    async fn no_home_is_no_daemon() {
        assert!(connect(Path::new("/nonexistent/home")).await.unwrap().is_none());
    }
}
