//! A tarball that the caller has opened: it is read from where it stands, be it a file or a pipe.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ggen_blockstore::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{ErrorKind, Failure, ops::failure};

/// What a package is.
pub(super) const PACKAGE_HINT: &str = "a package is a directory or tarball with a gpack.toml that has `name`, `version` and `description` under `[package]`";
/// How long a read waits before it looks whether its caller is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A tarball to publish: by its path, or opened by the caller.
pub(super) struct Tarball {
    opened: Option<Input>,
}

/// What the caller has opened.
struct Input {
    file: File,
    has_left: Arc<AtomicBool>,
}

/// Says, once it is dropped, that nobody waits for the operation any more: a pipe that nobody writes to would hold it up
/// for ever.
pub(super) struct Presence(Arc<AtomicBool>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tarball {
    /// A file that is opened by its path.
    pub(super) fn at_path() -> Self {
        Self { opened: None }
    }

    /// What is read, and what must be kept as long as its caller waits.
    pub(super) fn new(opened: Option<File>) -> (Self, Presence) {
        let has_left = Arc::new(AtomicBool::new(false));
        let presence = Presence(Arc::clone(&has_left));
        (Self { opened: opened.map(|file| Input { file, has_left }) }, presence)
    }

    /// Whether there is a directory to import instead; it is an error if there is nothing.
    pub(super) fn is_directory(&self, path: &Path) -> Result<bool, Failure> {
        if self.is_opened() {
            return Ok(false);
        }
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) => {
                let failure = Failure::new(ErrorKind::Failed, format!("cannot read `{}`", path.display()));
                Err(Failure { causes: vec![error.to_string()], ..failure }.hinted(PACKAGE_HINT))
            }
        }
    }

    /// Whether the caller has opened it, so that it is not to be looked for at its path.
    pub(super) fn is_opened(&self) -> bool {
        self.opened.is_some()
    }

    /// Opens the file at `path`, or takes the one that was opened.
    pub(super) fn reader(&mut self, path: &Path) -> ggen_blockstore::Result<Box<dyn Read + '_>> {
        match &mut self.opened {
            Some(input) => Ok(Box::new(input)),
            None => Ok(Box::new(File::open(path).map_err(Error::io("open", path))?)),
        }
    }

    /// Makes sure that it can be read twice, and returns where it begins: what is no regular file is copied to one, which
    /// has no name and is gone with this.
    pub(super) fn hold(&mut self, path: &Path) -> Result<u64, Failure> {
        let Some(input) = &mut self.opened else { return Ok(0) };
        let held = match input.file.metadata() {
            Ok(metadata) if metadata.is_file() => input.file.stream_position(),
            Ok(_) => input.spool().map(|()| 0),
            Err(cause) => Err(cause),
        };
        held.map_err(|cause| failure::store(Error::io("read", path)(cause)))
    }

    /// Goes back to where it began.
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
