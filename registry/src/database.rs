//! What the databases of a home have in common: opening them, telling damage from other trouble, and moving a damaged
//! file away.

mod error;
mod log;
mod schema;

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use ggen_blockstore::DAMAGE;
use rusqlite::{Connection, ErrorCode, OpenFlags, backup::Backup, ffi};

pub use error::DatabaseError;
pub(crate) use schema::Schema;

use crate::private;
pub(crate) use crate::private::MEMORY;

/// A file of up to this many bytes is checked whenever it is opened: that takes no time that anyone would notice.
const SMALL_BYTES: u64 = 8 << 20;

/// How the databases of a home are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For writing; a database that is not there is made.
    Write,
    /// Copied into memory: nothing of the home is written, and what is written to the copy is gone with it.
    Copy,
}

impl Access {
    /// Opens the database at `path`.
    pub(crate) fn open(self, path: &Path) -> rusqlite::Result<Connection> {
        warn_of_damaged_log(path);
        match self {
            Self::Write => private::open_database(path),
            Self::Copy => copy(path),
        }
    }

    /// Moves a damaged database out of the way, unless it is only read, and returns where it is then.
    ///
    /// # Errors
    /// As [`set_aside`].
    pub(crate) fn set_aside(self, path: &Path) -> Result<PathBuf, DatabaseError> {
        match self {
            Self::Write => set_aside(path),
            Self::Copy => Ok(path.to_owned()),
        }
    }

    /// Where a damaged database at `path` is made again.
    pub(crate) fn made_again_at(self, path: &Path) -> &Path {
        match self {
            Self::Write => path,
            Self::Copy => Path::new(MEMORY),
        }
    }
}

/// SQLite ignores what stands in the log behind damage, without an error.
fn warn_of_damaged_log(path: &Path) {
    let log = beside(path, "-wal");
    // A log that is not there or cannot be read is for SQLite to say something about.
    if let Ok(Some(offset)) = log::damage(&log) {
        tracing::warn!(
            target: DAMAGE, file = %log.display(), offset,
            "the log of the database is damaged, and what was written last may be lost: what this home has published, its \
             lists of peers and its mirror rules are kept elsewhere too and are set right; what peers have published comes \
             again from them"
        );
    }
}

/// A copy in memory; an empty one if there is no such file.
fn copy(path: &Path) -> rusqlite::Result<Connection> {
    let mut copy = Connection::open_in_memory()?;
    if fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(copy);
    }
    let source = read_only(path)?;
    Backup::new(&source, &mut copy)?.step(-1)?;
    Ok(copy)
}

/// Opens a database that is there, and writes nothing, to it or beside it.
pub(crate) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(unwritten(path), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// The URI by which SQLite reads a database without writing beside it. What a process that died has left in the log counts,
/// but for that SQLite wants to see its index too.
fn unwritten(path: &Path) -> String {
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(*byte)),
            _ => write!(uri, "%{byte:02x}").expect("a string takes everything"),
        }
    }
    uri + if has_log { "?mode=ro" } else { "?immutable=1" }
}

/// Whether an error says that the disk is full. Where SQLite cannot make room for the index that its processes share, it
/// says so in a code of its own.
fn is_full(error: &rusqlite::Error) -> bool {
    let is_shared_index = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE);
    is_shared_index || error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether an error says that the file is not as it was written, not that the system refused something. A flipped bit
/// may as well hit the names of tables and columns (an SQL error), or make a value one of another type.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::NotFound
        ),
        None => matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::InvalidColumnName(..)
                | rusqlite::Error::InvalidColumnIndex(..)
                | rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::Utf8Error(..)
        ),
    }
}

/// Checks the structure of a small file. What is found wrong, if anything.
fn check_if_small(connection: &Connection, path: &Path) -> rusqlite::Result<Option<String>> {
    if fs::metadata(path).map_or(0, |file| file.len()) > SMALL_BYTES {
        return Ok(None);
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

/// Renames a file out of the way, with what SQLite keeps beside it, and returns its new name.
///
/// # Errors
/// [`DatabaseError::SetAside`].
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, DatabaseError> {
    let free = (1_u32..).map(|number| beside(path, &format!(".damaged-{number}"))).find(|name| !name.exists());
    let target = free.expect("some number is free");
    for suffix in ["-wal", "-shm", ""] {
        let file = beside(path, suffix);
        if file.exists() {
            fs::rename(&file, beside(&target, suffix))
                .map_err(|source| DatabaseError::SetAside { path: file, source })?;
        }
    }
    Ok(target)
}

/// The file whose name is that of `path` with something behind it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
