//! What the databases of a home have in common: telling damage from other trouble, and moving a damaged file away.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode};

/// A file of up to this many bytes is checked whenever it is opened: that takes no time that anyone would notice.
const SMALL_BYTES: u64 = 8 << 20;

/// Whether an error says that the file is not as it was written, not that the system refused something. A flipped bit
/// may as well hit the names of tables and columns (an SQL error), or make a value one of another type.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
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
pub(crate) fn check_if_small(connection: &Connection, path: &Path) -> rusqlite::Result<Option<String>> {
    if std::fs::metadata(path).map_or(0, |file| file.len()) > SMALL_BYTES {
        return Ok(None);
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

/// Renames a file out of the way, with what SQLite keeps beside it, and returns its new name.
///
/// # Errors
/// The system's, with the file that cannot be renamed.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, (PathBuf, io::Error)> {
    let free = (1_u32..).map(|number| beside(path, &format!(".damaged-{number}"))).find(|name| !name.exists());
    let target = free.expect("some number is free");
    for suffix in ["-wal", "-shm", ""] {
        let file = beside(path, suffix);
        if file.exists() {
            std::fs::rename(&file, beside(&target, suffix)).map_err(|source| (file, source))?;
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
