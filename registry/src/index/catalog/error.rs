//! Errors of the database.

use crate::{database::DatabaseError, identity::RecordError};

/// Why the catalog could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Its database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A search query over the limit.
    #[error("a search query of {bytes} bytes is longer than the limit of {limit}")]
    QueryTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A record that cannot be encoded because it exceeds a limit.
    #[error("a record cannot be stored")]
    Record(#[from] RecordError),
}
