//! Logs: to stderr for commands, to a rotated file for a detached daemon.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Size in bytes at which a log file is rotated; one former file is kept.
pub(crate) const MAX_LOG_BYTES: u64 = 8 << 20;

/// The log level if `RUST_LOG` is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Nothing except damage to the home: a command reports through its answer.
    Silent,
    /// The events that an operator needs in the log of a node.
    Node,
    /// Every step.
    Verbose,
}

/// Directs the process's log to stderr.
pub(crate) fn to_stderr(level: Level, color: bool) {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(level)).with_ansi(color).with_writer(io::stderr);
    // It would say on stderr that stderr cannot be written to, and panic.
    let subscriber = subscriber.log_internal_errors(false);
    // It fails only if the process has a subscriber, which then stays: several runs in one process share the first.
    drop(subscriber.try_init());
}

/// Directs the process's log to a file.
pub(crate) fn to_file(level: Level, file: RotatedFile) {
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(level)).with_ansi(false).with_writer(file);
    // See `to_stderr`: the stderr of a daemon is this file.
    let subscriber = subscriber.log_internal_errors(false);
    drop(subscriber.try_init());
}

fn filter(level: Level) -> EnvFilter {
    let default = match level {
        // Damage to a home is logged in addition to the command's answer.
        Level::Silent => "off,ggen_damage=warn",
        Level::Node => "warn,libp2p_kad=error,ggen_cli=info,ggen_marketplace=info,ggen_blockstore=info",
        Level::Verbose => "info,ggen_cli=debug,ggen_marketplace=debug,ggen_blockstore=debug",
    };
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(wanted) if !wanted.is_empty() => EnvFilter::new(wanted),
        _ => EnvFilter::new(default),
    }
}

/// A log file that is moved to `<name>.1` when it exceeds its size limit. Clones share the file.
#[derive(Clone, Debug)]
pub(crate) struct RotatedFile {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl RotatedFile {
    /// Opens the file for appending, and rotates it first if it is too large.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let (file, bytes) = open_at_end(path)?;
        let mut state = State { path: path.to_owned(), file, bytes, max_bytes };
        state.rotate_if_full()?;
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// The current file, for the stderr of a process.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).file.try_clone()
    }
}

impl State {
    fn rotate_if_full(&mut self) -> io::Result<()> {
        if self.bytes >= self.max_bytes {
            let mut former = self.path.clone().into_os_string();
            former.push(".1");
            fs::rename(&self.path, former)?;
            (self.file, self.bytes) = open_at_end(&self.path)?;
        }
        Ok(())
    }
}

impl Write for &RotatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rotate_if_full()?;
        // Every write is a whole event, which is not split over two files.
        state.file.write_all(bytes)?;
        state.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatedFile {
    type Writer = &'a RotatedFile;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

fn open_at_end(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_file_makes_room_at_opening_and_while_it_is_written() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.log");
        let former = place.path().join("x.log.1");
        fs::write(&path, "0123456789").unwrap();

        let log = RotatedFile::open(&path, 10).unwrap();
        assert_eq!(fs::read_to_string(&former).unwrap(), "0123456789");
        (&log).write_all(b"first line that is long\n").unwrap();
        (&log).write_all(b"second\n").unwrap();
        assert_eq!(fs::read_to_string(&former).unwrap(), "first line that is long\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");

        drop(log);
        (&RotatedFile::open(&path, 10).unwrap()).write_all(b"third\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\nthird\n");
    }
}
