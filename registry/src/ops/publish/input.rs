//! A tarball to publish: a file or a pipe. If the caller has opened it, it is read from its current position.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ggen_blockstore::Error;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};

use crate::{ErrorKind, Failure, Operation, error::hint, ops::failure};

/// Hint that explains what a package is.
pub(super) const PACKAGE_HINT: &str = "a package is a directory or tarball with a gpack.toml that has `name`, `version` and `description` under `[package]`";
/// Hint that lists the forms of a package.
pub(super) const PACKAGE_FORMS: &str =
    "a package is a directory, or a tarball of one: .tar, .tar.gz, .tgz, .tar.zst or .crate";
/// How long a read waits before it checks whether the caller still waits for the operation.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A tarball to publish: by its path, or opened by the caller.
pub(super) struct Tarball {
    opened: Option<Input>,
    has_left: Arc<AtomicBool>,
}

/// An input whose reads may block: opened by the caller, or a pipe.
struct Input {
    file: File,
    has_left: Arc<AtomicBool>,
}

/// Its drop signals that the caller no longer waits for the operation. Otherwise a read of a pipe without a writer
/// would block forever.
pub(super) struct Presence(Arc<AtomicBool>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tarball {
    /// Creates a tarball that is opened by its path.
    pub(super) fn at_path() -> Self {
        Self { opened: None, has_left: Arc::default() }
    }

    /// Creates a tarball, and the value that must be kept while the caller waits.
    pub(super) fn new(opened: Option<File>) -> (Self, Presence) {
        let has_left = Arc::new(AtomicBool::new(false));
        let presence = Presence(Arc::clone(&has_left));
        let opened = opened.map(|file| Input { file, has_left: Arc::clone(&has_left) });
        (Self { opened, has_left }, presence)
    }

    /// Returns whether `path` is a directory to import instead.
    ///
    /// # Errors
    /// `path` does not exist or cannot be read.
    pub(super) fn is_directory(&self, path: &Path) -> Result<bool, Failure> {
        if self.is_opened() {
            return Ok(false);
        }
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) => {
                let failure = Failure::new(ErrorKind::Failed, format!("cannot read `{}`", path.display()));
                let failure = Failure { causes: vec![error.to_string()], ..failure };
                Err(match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => failure.hinted(hint![
                        "check the path: ",
                        Operation::Publish.on("DIRECTORY"),
                        " takes a directory or a tarball"
                    ]),
                    _ => failure,
                })
            }
        }
    }

    /// Returns whether the caller has opened it, so that its path must not be opened.
    pub(super) fn is_opened(&self) -> bool {
        self.opened.is_some()
    }

    /// Opens the file at `path`, or returns the file that the caller has opened.
    pub(super) fn reader(&mut self, path: &Path) -> ggen_blockstore::Result<Box<dyn Read + '_>> {
        if let Some(input) = &mut self.opened {
            return Ok(Box::new(input));
        }
        let is_file = fs::metadata(path).map(|metadata| metadata.is_file());
        let opened = is_file.and_then(|is_file| -> io::Result<Box<dyn Read>> {
            if is_file {
                return Ok(Box::new(File::open(path)?));
            }
            // Without this flag, opening a pipe would wait for its writer.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            Ok(Box::new(Input { file, has_left: Arc::clone(&self.has_left) }))
        });
        opened.map_err(Error::io("open", path))
    }

    /// Returns the offset at which it begins; `None` if it cannot be read twice.
    pub(super) fn begins_at(&mut self, path: &Path) -> Result<Option<u64>, Failure> {
        let Some(input) = &mut self.opened else { return Ok(Some(0)) };
        let failed = |cause| failure::store(Error::io("read", path)(cause));
        match input.file.metadata() {
            Ok(metadata) if metadata.is_file() => input.file.stream_position().map(Some).map_err(failed),
            Ok(_) => Ok(None),
            Err(cause) => Err(failed(cause)),
        }
    }

    /// Makes sure that it can be read twice, and returns the offset at which it begins. An input that is not a regular
    /// file is copied to an unnamed temporary file, which is deleted on drop.
    pub(super) fn hold(&mut self, path: &Path) -> Result<u64, Failure> {
        if let Some(begins_at) = self.begins_at(path)? {
            return Ok(begins_at);
        }
        let spooled = self.opened.as_mut().map_or(Ok(()), Input::spool);
        spooled.map(|()| 0).map_err(|cause| failure::store(Error::io("read", path)(cause)))
    }

    /// Seeks back to the offset at which it begins.
    pub(super) fn rewind(&mut self, to: u64, path: &Path) -> Result<(), Failure> {
        let Some(input) = &mut self.opened else { return Ok(()) };
        let sought = input.file.seek(SeekFrom::Start(to));
        sought.map(drop).map_err(|cause| failure::store(Error::io("read", path)(cause)))
    }
}

impl Input {
    fn spool(&mut self) -> io::Result<()> {
        let mut copy = tempfile::tempfile()?;
        io::copy(self, &mut copy)?;
        copy.rewind()?;
        self.file = copy;
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let patience = Timespec::try_from(LOOK_EVERY).map_err(io::Error::other)?;
        while poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&patience))? == 0 {
            if self.has_left.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the command that it came from has gone"));
            }
        }
        self.file.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::mpsc, thread};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    /// How long the test waits for the end of a read before it fails.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn pipe_that_is_read_by_its_path_is_given_up_when_the_caller_has_left() {
        for with_a_writer in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("pipe");
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
            let (mut tarball, presence) = Tarball::new(None);
            let (told, ended) = mpsc::channel();
            let of_reader = path.clone();
            thread::spawn(move || {
                let read = tarball.reader(&of_reader).map(|mut reader| {
                    let mut bytes = Vec::new();
                    (reader.read_to_end(&mut bytes).map_err(|error| error.kind()), bytes)
                });
                told.send(read.unwrap()).unwrap();
            });
            let writer = with_a_writer.then(|| {
                let mut end = OpenOptions::new().write(true).open(&path).unwrap();
                end.write_all(b"begun").unwrap();
                end
            });
            drop(presence);
            let (read, bytes) = ended.recv_timeout(PATIENCE).expect("it waits for ever");
            assert_eq!(read, Err(io::ErrorKind::ConnectionAborted));
            assert_eq!(bytes, if with_a_writer { &b"begun"[..] } else { b"" });
            drop(writer);
        }
    }

    #[test]
    fn pipe_and_file_are_read_to_their_end_by_their_paths() {
        let place = tempfile::tempdir().unwrap();
        let (pipe, file) = (place.path().join("pipe"), place.path().join("file"));
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let bytes = vec![7; 1 << 20];
        fs::write(&file, &bytes).unwrap();
        let (of_writer, sent) = (pipe.clone(), bytes.clone());
        let writer = thread::spawn(move || fs::write(of_writer, sent).unwrap());
        for path in [file, pipe] {
            let mut read = Vec::new();
            Tarball::at_path().reader(&path).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{}", path.display());
        }
        writer.join().unwrap();
    }
}
