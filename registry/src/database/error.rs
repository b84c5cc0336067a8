//! What can go wrong with a database of a home.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;
use rustix::io::Errno;

use super::{is_damage, is_full};

/// Why a database of a home could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// Written by a later version of this program.
    #[error("{name} `{}` has schema {found}, this program knows up to {supported}", path.display())]
    Newer {
        /// What it is the database of.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known.
        supported: i64,
    },
    /// Damaged, or the database of another program.
    #[error("{name} `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// What it is the database of.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Kept locked by another process.
    #[error("{name} `{}` is locked by another process", path.display())]
    Locked {
        /// What it is the database of.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A disk that is full. To read takes some space too.
    #[error("cannot {action} {name} `{}`: no space left on that disk", path.display())]
    NoSpace {
        /// What it is the database of.
        name: &'static str,
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// This process may open no more files.
    #[error("cannot {action} {name} `{}`: this process may not open more files", path.display())]
    TooManyFiles {
        /// What it is the database of.
        name: &'static str,
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The damaged file cannot be moved out of the way.
    #[error("cannot set `{}` aside", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Anything else: a read-only file, a broken disk.
    #[error("cannot {action} {name} `{}`", path.display())]
    Sql {
        /// What it is the database of.
        name: &'static str,
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DatabaseError {
    /// Sorts an error of SQLite by what the user can do about it.
    pub(crate) fn from_sqlite(name: &'static str, action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { name, path },
            _ if is_full(&source) => Self::NoSpace { name, action, path },
            Some(ErrorCode::CannotOpen) if has_no_descriptors() => Self::TooManyFiles { name, action, path },
            _ if is_damage(&source) => Self::Damaged { name, path, reason: source.to_string() },
            _ => Self::Sql { name, action, path, source: Box::new(source) },
        }
    }
}

/// Files that SQLite opens for a database: itself, its log, the index of that, and their directory.
const OPENED: usize = 4;

/// Whether this process cannot open as many files as SQLite does, which does not say why it cannot open one.
fn has_no_descriptors() -> bool {
    let is_none_left = |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
    let opened: io::Result<Vec<File>> = (0..OPENED).map(|_| File::open("/")).collect();
    opened.is_err_and(|error| is_none_left(&error))
}
