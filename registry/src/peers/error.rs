//! Errors of the book of peers.

use super::{Listing, MAX_LISTED};
use crate::database::DatabaseError;

/// Why the book of peers could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerBookError {
    /// Its database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A list is full.
    #[error("{MAX_LISTED} peers are {listing} already, which is the limit")]
    TooManyListed {
        /// The full list.
        listing: Listing,
    },
    /// The system has no thread for the writer.
    #[error("cannot start the writer of the peer book")]
    Thread(#[source] std::io::Error),
}
