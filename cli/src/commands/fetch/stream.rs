//! Streaming a tarball to a destination that only this command can open or may block on: its stdout, a pipe, a device,
//! a socket.
//!
//! The daemon, which may do the work, has another stdout. Therefore the tarball passes through a pipe in the home, and
//! this command copies it to the destination.

use std::{
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    thread,
};

use ggen_blockstore::Compression;
use ggen_marketplace::{ErrorKind, Failure, check_writable};
use rustix::{
    fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat},
    io::Errno,
    process::{Pid, test_kill_process},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{error, home::Home};

/// Names of a process's own stdout, besides `-`.
const STDOUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
/// Directories of a process's open files.
const DESCRIPTORS: [&str; 2] = ["/dev/fd", "/proc/self/fd"];
/// Beginning of the names of pipes; the pid of the command and a random number follow.
const PREFIX: &str = ".tarball-";

/// The destination of a tarball that is not written to a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    Stdout,
    /// A pipe, device or socket, or an open file by its descriptor.
    Path(PathBuf),
}

impl Sink {
    /// The sink that `--tar FILE` names; `None` for a regular file, or a file that does not exist yet.
    pub(super) fn of(file: &Path) -> Option<Self> {
        if STDOUT_NAMES.iter().any(|name| file == Path::new(name)) {
            return Some(Self::Stdout);
        }
        let metadata = fs::metadata(file).ok()?;
        // An open file of this process. Renamed over, what was written to it before would be lost.
        if DESCRIPTORS.iter().any(|directory| file.parent() == Some(Path::new(directory))) && !metadata.is_dir() {
            return Some(Self::Path(file.to_owned()));
        }
        if metadata.file_type().is_fifo() && is_stdout(&metadata) {
            return Some(Self::Stdout);
        }
        (!metadata.is_file() && !metadata.is_dir()).then(|| Self::Path(file.to_owned()))
    }

    /// The path for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Stdout => Path::new("-"),
            Self::Path(path) => path,
        }
    }

    /// Opens the sink; waits for the reader of a pipe, as a shell does.
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        let path = match self {
            Self::Stdout => {
                let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                if may_have_been_closed(&stdout)? {
                    return Err(io::Error::new(io::ErrorKind::NotConnected, "stdout is closed"));
                }
                return Ok(Box::new(stdout));
            }
            Self::Path(path) => path,
        };
        let metadata = fs::metadata(path)?;
        if metadata.file_type().is_socket() {
            return Ok(Box::new(UnixStream::connect(path)?));
        }
        // Behind what the descriptor was used to write.
        Ok(Box::new(OpenOptions::new().write(true).append(metadata.is_file()).open(path)?))
    }
}

/// A tarball in transmission. Dropping it removes the pipe.
pub(super) struct Stream {
    sink: Sink,
    pipe: Pipe,
    /// Keeps a write end open, so that the reader does not see the end before writing has started.
    keeper: File,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Stream {
    /// Opens the sink, and creates a pipe to it.
    pub(super) async fn begin(home: &Home, sink: Sink, compression: Compression) -> Result<Self, Failure> {
        let refused = |cause: io::Error| error::io("write to", sink.path(), &cause);
        let to_open = sink.clone();
        let opened = on_a_thread(move || to_open.open()).await.map_err(refused)?;
        home.create()?;
        let made = match check_writable(home.path()) {
            Ok(()) => Pipe::make(home.path(), compression),
            Err(_) => Pipe::make_elsewhere(compression),
        };
        let (pipe, reader, keeper) = made.map_err(|cause| error::io("make a pipe for home", home.path(), &cause))?;
        let (ended, done) = oneshot::channel();
        // The runtime would wait for one of its own threads when the command is interrupted.
        thread::spawn(move || ended.send(pass_on(reader, opened)));
        Ok(Self { sink, pipe, keeper, done })
    }

    /// The path to write the tarball to.
    pub(super) fn path(&self) -> &Path {
        &self.pipe.path
    }

    /// Waits until everything that was written has left. If that failed, this is why `outcome` is a failure too. A reader
    /// that closed its end got a part of the tarball: that is an error, as it is for `tar` and `curl`.
    pub(super) async fn end<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        let Self { sink, keeper, done, .. } = self;
        drop(keeper);
        match done.await {
            Ok(Err(cause)) => Err(error::io("write to", sink.path(), &cause)),
            Ok(Ok(())) => outcome,
            Err(_) => Err(Failure::new(ErrorKind::Failed, "the thread that passes the tarball on has died")),
        }
    }
}

/// A named pipe in a home, or in a directory of its own.
struct Pipe {
    path: PathBuf,
    /// Removed after the pipe in it.
    _directory: Option<TempDir>,
}

impl Pipe {
    /// Creates a pipe with access for this user only, and opens both ends.
    fn make(home: &Path, compression: Compression) -> io::Result<(Self, File, File)> {
        remove_abandoned(home)?;
        let (pid, random) = (std::process::id(), RandomState::new().hash_one(home));
        // The writer chooses the compression by the suffix.
        let ending = match compression {
            Compression::None => "tar",
            Compression::Gzip => "tar.gz",
            Compression::Zstd => "tar.zst",
        };
        let path = home.join(format!("{PREFIX}{pid}-{random:016x}.{ending}"));
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        let pipe = Self { path, _directory: None };
        let nonblocking = OFlags::NONBLOCK.bits() as i32;
        let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&pipe.path)?;
        let keeper = OpenOptions::new().write(true).open(&pipe.path)?;
        fcntl_setfl(&reader, fcntl_getfl(&reader)? - OFlags::NONBLOCK)?;
        Ok((pipe, reader, keeper))
    }

    /// As `make`, in a temporary directory of its own: for a home that cannot be written to.
    fn make_elsewhere(compression: Compression) -> io::Result<(Self, File, File)> {
        let directory = tempfile::tempdir()?;
        let (mut pipe, reader, keeper) = Self::make(directory.path(), compression)?;
        pipe._directory = Some(directory);
        Ok((pipe, reader, keeper))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove a pipe");
        }
    }
}

/// Removes the pipes of commands that were killed: no process reads them, and no process has the pid in their names.
fn remove_abandoned(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        if entry.file_type()?.is_fifo() && test_kill_process(pid) == Err(Errno::SRCH) {
            let nonblocking = OFlags::NONBLOCK.bits() as i32;
            let opened = OpenOptions::new().write(true).custom_flags(nonblocking).open(entry.path());
            if opened.is_err_and(|error| error.raw_os_error() == Some(Errno::NXIO.raw_os_error())) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
    Ok(())
}

/// Returns whether a pipe is this process's stdout under another name, such as a symlink to `/dev/stdout`.
fn is_stdout(pipe: &fs::Metadata) -> bool {
    let stdout = io::stdout().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    stdout.is_ok_and(|stdout| (stdout.dev(), stdout.ino()) == (pipe.dev(), pipe.ino()))
}

/// Whether stdout looks as the standard library leaves it that was closed when the process began: the null device, open for
/// reading too, which no shell opens for `>/dev/null`. What some programs give the processes whose output they do not want
/// looks the same: a tarball into it was not wanted either.
fn may_have_been_closed(stdout: &File) -> io::Result<bool> {
    let (stdout_is, null) = (stdout.metadata()?, fs::metadata("/dev/null")?);
    let is_null = stdout_is.file_type().is_char_device() && stdout_is.rdev() == null.rdev();
    Ok(is_null && fcntl_getfl(stdout)?.contains(OFlags::RDWR))
}

fn pass_on(mut reader: File, mut sink: Box<dyn Write + Send>) -> io::Result<()> {
    io::copy(&mut reader, &mut sink)?;
    sink.flush()
}

/// Runs work that may block indefinitely.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    thread::spawn(move || done.send(work()));
    outcome.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_regular_file_is_a_sink() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        assert_eq!(Sink::of(&file), None);
        fs::write(&file, "").unwrap();
        assert_eq!(Sink::of(&file), None);
        assert_eq!(Sink::of(place.path()), None);
        assert_eq!(Sink::of(Path::new("-")), Some(Sink::Stdout));
        assert_eq!(Sink::of(Path::new("/dev/stdout")), Some(Sink::Stdout));
        assert_eq!(Sink::of(Path::new("/dev/null")), Some(Sink::Path("/dev/null".into())));
    }

    #[test]
    fn pipes_of_killed_commands_are_removed_and_no_others() {
        let place = tempfile::tempdir().unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let path = |pid: u32, end: &str| place.path().join(format!("{PREFIX}{pid}-0123456789abcdef.{end}"));
        for name in [path(ended.id(), "tar"), path(ended.id(), "tar.gz"), path(std::process::id(), "tar")] {
            mkfifoat(CWD, &name, Mode::RUSR | Mode::WUSR).unwrap();
        }
        let flags = OFlags::NONBLOCK.bits() as i32;
        let _read = OpenOptions::new().read(true).custom_flags(flags).open(path(ended.id(), "tar.gz")).unwrap();
        fs::write(path(ended.id(), "file"), "").unwrap();
        let (pipe, reader, keeper) = Pipe::make(place.path(), Compression::Zstd).unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 4);
        assert!(!path(ended.id(), "tar").exists());
        drop((pipe, reader, keeper));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
    }
}
