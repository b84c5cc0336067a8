//! What can go wrong with the book of peers.

use std::path::{Path, PathBuf};

use super::{Listing, MAX_LISTED};
use crate::database;

/// Why the book of peers could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerBookError {
    /// Written by a later version of this program.
    #[error("peer book `{}` has schema {found}, this program knows up to {supported}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known.
        supported: i64,
    },
    /// Damaged, or not a peer book.
    #[error("peer book `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A list is full.
    #[error("{MAX_LISTED} peers are {listing} already, which is the limit")]
    TooManyListed {
        /// Which list.
        listing: Listing,
    },
    /// The damaged file cannot be moved out of the way.
    #[error("cannot set `{}` aside", path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The system has no thread for the writer.
    #[error("cannot start the writer of the peer book")]
    Thread(#[source] std::io::Error),
    /// Anything else: a full disk, a read-only file.
    #[error("cannot {action} peer book `{}`", path.display())]
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

impl PeerBookError {
    pub(super) fn from_sqlite(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match database::is_damage(&source) {
            true => Self::Damaged { path, reason: source.to_string() },
            false => Self::Sql { action, path, source: Box::new(source) },
        }
    }
}
