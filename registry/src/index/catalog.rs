//! The database of what is known: publishers, releases, words to search by, and our own log.
//!
//! One SQLite file, `catalog.db` in the home. Everything in it comes from signed records and can be rebuilt from them;
//! what cannot be rebuilt is when a record was first seen and from whom, and that a head *was* seen: the highest head
//! of each publisher only rises, which is what stops a rollback. All methods block the calling thread and may be
//! called from many at once; several processes may open one file.

mod accept;
mod derive;
mod error;
mod exchange;
mod intake;
mod near;
mod own;
mod query;
mod quota;
mod rebuild;
mod restore;
mod salvage;
mod schema;
mod search;
mod words;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ggen_blockstore::Cid;
use rusqlite::Connection;

use crate::{
    database::{self, Access, DatabaseError, MEMORY},
    identity::{IdentityChain, KnownSignatures, PublisherId, Signed, Timestamp},
    index::{Equivocation, VerifiedHead},
    package::Release,
};

pub use error::CatalogError;
pub(crate) use exchange::{Page, Pull, Summary};
pub use rebuild::StoredRecords;
pub use salvage::Salvaged;
pub use search::{Hit, MAX_QUERY_BYTES, MAX_SEARCH_LIMIT, Matcher, SearchFilters, words_of};

/// The database; see the module.
#[derive(Debug)]
pub struct Catalog {
    connection: Mutex<Connection>,
    path: PathBuf,
    /// What stands in it was verified before it came in, and is read often.
    signatures: Arc<KnownSignatures>,
    /// Publishers as they were last read, with the rows that say so: reading one anew means to check all of its keys.
    publishers: Mutex<HashMap<PublisherId, (query::PublisherRow, PublisherEntry)>>,
}

/// What became of a record that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It was kept.
    Accepted,
    /// It was there already.
    Known,
    /// It was not kept.
    Refused(Refusal),
}

/// Why a verified record was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A head below the highest seen: out of date, or a rollback.
    #[error("it is older than the head already seen of this publisher")]
    OlderHead,
    /// Under an identity document that another has replaced.
    #[error("it was issued under an identity document that was replaced since")]
    OlderIdentity,
    /// Two identity documents exclude each other, and no recovery key decides.
    #[error("the publisher's identity has two histories, and no recovery key has decided between them")]
    IdentityConflict,
    /// The publisher has two logs, or had before.
    #[error("the publisher has signed two histories")]
    Equivocation,
    /// Another release has this version.
    #[error("this version is already known as release {held}")]
    VersionConflict {
        /// The release that is known.
        held: Box<Cid>,
    },
    /// Not signed by the keys that hold today.
    #[error("it is not signed by enough of the keys that hold today")]
    NotAuthorised,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimAcceptance {
    /// Of its head. A claim may be older than the head already seen, where the publisher has published other packages
    /// since; its release may still be good.
    pub head: Acceptance,
    /// Of its release, if it has one.
    pub release: Option<Acceptance>,
}

/// A publisher in the catalog.
#[derive(Clone, Debug)]
pub struct PublisherEntry {
    /// Its identity chain.
    pub chain: IdentityChain,
    /// The highest head seen; under an earlier identity document than the chain's last if none was seen since.
    pub head: Option<VerifiedHead>,
    /// Proof that it has two histories; nothing of it is accepted until a rotation, or until the user clears it.
    pub equivocation: Option<Equivocation>,
    /// When it was first seen.
    pub first_seen: Timestamp,
}

/// A release in the catalog.
#[derive(Clone, Debug)]
pub struct ReleaseEntry {
    /// The release, with its envelope.
    pub release: Signed<Release>,
    /// No longer to be chosen, except by those who have locked it.
    pub yanked: bool,
    /// When it was first seen.
    pub seen: Timestamp,
    /// From where, as whoever offered it said: a peer id, `publish`, `car`, ...
    pub source: String,
}

/// How much the catalog knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogCounts {
    /// Packages, each publisher's own counted.
    pub packages: u64,
    /// Releases.
    pub releases: u64,
    /// Publishers.
    pub publishers: u64,
    /// Packages of the publishers that have a log of their own here: those published from this home.
    pub published: u64,
}

impl Catalog {
    /// Opens the catalog at `path`, which is created if it is not there.
    ///
    /// # Errors
    /// [`CatalogError`]: a newer schema, a damaged file, or one that another process keeps locked.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        Self::open_with(path, Access::Write)
    }

    /// As [`Catalog::open`]; a copy leaves the file as it is.
    pub(crate) fn open_with(path: &Path, access: Access) -> Result<Self, CatalogError> {
        Ok(Self::of(schema::open(path, access)?, path.to_owned()))
    }

    /// A catalog that is gone with the process.
    ///
    /// # Errors
    /// [`CatalogError`] if SQLite has no memory for it.
    pub fn in_memory() -> Result<Self, CatalogError> {
        Self::open(Path::new(MEMORY))
    }

    fn of(connection: Connection, path: PathBuf) -> Self {
        Self { connection: Mutex::new(connection), path, signatures: Arc::default(), publishers: Mutex::default() }
    }

    /// The signatures found good, by those who read the catalog and by those who fill it.
    pub(crate) fn signatures(&self) -> &Arc<KnownSignatures> {
        &self.signatures
    }

    /// Reads the whole file and checks its structure.
    ///
    /// # Errors
    /// [`DatabaseError::Damaged`] with what was found.
    pub fn check(&self) -> Result<(), CatalogError> {
        self.run_check("PRAGMA integrity_check(1)")
    }

    fn run_check(&self, pragma: &str) -> Result<(), CatalogError> {
        let verdict: String = self.lock().query_row(pragma, [], |row| row.get(0)).map_err(self.failed("check"))?;
        match verdict.as_str() {
            "ok" => Ok(()),
            _ => Err(schema::SCHEMA.damaged(&self.path, verdict).into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held left at most a transaction, which was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> CatalogError + use<> {
        let (failed, path) = (schema::SCHEMA.failed(action, &self.path), self.path.clone());
        move |source| {
            let error = failed(source);
            if matches!(error, DatabaseError::Damaged { .. }) {
                note_damage(&path);
            }
            error.into()
        }
    }

    /// Whether something in the file at `path` could not be read while it was open.
    pub(crate) fn was_damaged(path: &Path) -> bool {
        note_of_damage(path).exists()
    }

    /// The error of a catalog of which [`Catalog::was_damaged`] says so.
    pub(crate) fn damaged_before(path: &Path) -> CatalogError {
        schema::SCHEMA.damaged(path, "a record could not be read".to_owned()).into()
    }

    /// A stored record that does not read any more.
    fn damaged(&self, error: impl std::fmt::Display) -> CatalogError {
        note_damage(&self.path);
        schema::SCHEMA.damaged(&self.path, format!("a stored record cannot be read: {error}")).into()
    }

    /// A publisher id as stored.
    fn publisher_id(&self, bytes: &[u8]) -> Result<PublisherId, CatalogError> {
        PublisherId::from_bytes(bytes).ok_or_else(|| self.damaged("not a publisher id"))
    }
}

/// The file that says that a catalog is to be made again when it is opened next: a check of its structure does not see
/// every damage.
fn note_of_damage(path: &Path) -> PathBuf {
    database::beside(path, ".is-damaged")
}

fn note_damage(path: &Path) {
    // In memory there is no next time; where the note cannot be written, the error comes again.
    if path != Path::new(MEMORY) {
        drop(std::fs::write(note_of_damage(path), ""));
    }
}

#[cfg(test)]
mod tests;
