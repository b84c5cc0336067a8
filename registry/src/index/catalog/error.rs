//! What can go wrong with the database.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::{database, identity::RecordError};

/// Why the catalog could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Written by a later version of this program.
    #[error("catalog `{}` has schema {found}, this program knows up to {supported}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known.
        supported: i64,
    },
    /// Damaged, or not a catalog. It can be rebuilt from the signed records.
    #[error("catalog `{}` is damaged: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Kept locked by another process.
    #[error("catalog `{}` is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A search query over the limit.
    #[error("a search query of {bytes} bytes is longer than the limit of {limit}")]
    QueryTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A record that cannot be written: over its bounds.
    #[error("a record cannot be stored")]
    Record(#[from] RecordError),
    /// The file cannot be moved aside.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A disk that is full. To read takes some space too.
    #[error("cannot {action} catalog `{}`: no space left on that disk", path.display())]
    NoSpace {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Anything else: a read-only file, a broken disk.
    #[error("cannot {action} catalog `{}`", path.display())]
    Sql {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl CatalogError {
    pub(super) fn from_sqlite(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            _ if database::is_full(&source) => Self::NoSpace { action, path },
            _ if database::is_damage(&source) => Self::Corrupt { path, reason: source.to_string() },
            _ => Self::Sql { action, path, source: Box::new(source) },
        }
    }
}
