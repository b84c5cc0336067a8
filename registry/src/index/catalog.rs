//! The database of known publishers and releases, with the full-text search index and the log of this home's
//! publishers.
//!
//! One SQLite file, `catalog.db` in the home. Everything in it comes from signed records and can be rebuilt from them,
//! with two exceptions: when a record was first seen and from whom, and that a head *was* seen. The highest head of
//! each publisher only rises, which prevents a rollback. All methods block the calling thread and may be called from
//! several threads at once; several processes may open one file.

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
    identity::{IdentityChain, KnownSignatures, PublisherId, RecordCid, Signed, Timestamp},
    index::{Equivocation, VerifiedHead, VersionEntry},
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
    /// Signatures of stored records were verified when the records were accepted. They are cached because records are
    /// read often.
    signatures: Arc<KnownSignatures>,
    /// Publishers as last read, each with the row it was read from: decoding a publisher again means verifying all of
    /// its keys.
    publishers: Mutex<HashMap<PublisherId, (query::PublisherRow, PublisherEntry)>>,
}

/// Outcome of offering a record to the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It was stored.
    Accepted,
    /// It was stored before.
    Known,
    /// It was not stored.
    Refused(Refusal),
}

/// Why a verified record was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A head below the highest seen: out of date, or a rollback.
    #[error("it is older than the head already seen of this publisher")]
    OlderHead,
    /// Issued under an identity document that another document has replaced.
    #[error("it was issued under an identity document that was replaced since")]
    OlderIdentity,
    /// Two identity documents conflict, and no recovery key decides.
    #[error("the publisher's identity has two histories, and no recovery key has decided between them")]
    IdentityConflict,
    /// The publisher has two logs, or had two before it was blocked.
    #[error("the publisher has signed two histories")]
    Equivocation,
    /// Another release has this version.
    #[error("this version is already known as release {held}")]
    VersionConflict {
        /// The release that is known.
        held: Box<Cid>,
    },
    /// Not signed by the currently valid keys.
    #[error("it is not signed by enough of the keys that hold today")]
    NotAuthorised,
}

/// Outcome of offering a claim to the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimAcceptance {
    /// Outcome for its head. The claim's head may be older than the highest one seen, because the publisher has
    /// published other packages since. Its release can still be valid.
    pub head: Acceptance,
    /// Outcome for its release, if it has one.
    pub release: Option<Acceptance>,
}

/// A publisher in the catalog.
#[derive(Clone, Debug)]
pub struct PublisherEntry {
    /// Its identity chain.
    pub chain: IdentityChain,
    /// The highest head seen. It was signed under an earlier identity document than the chain's last one if no head was
    /// seen since the rotation.
    pub head: Option<VerifiedHead>,
    /// Proof that it has two histories. While it is set, the catalog accepts nothing of this publisher. A rotation or
    /// the user clears it.
    pub equivocation: Option<Equivocation>,
    /// When it was first seen.
    pub first_seen: Timestamp,
}

/// A release in the catalog.
#[derive(Clone, Debug)]
pub struct ReleaseEntry {
    /// The release, with its envelope.
    pub release: Signed<Release>,
    /// Yanked: not chosen for new installations, but still available to users who have locked it.
    pub yanked: bool,
    /// When it was first seen.
    pub seen: Timestamp,
    /// The source, as the caller that offered it named it: a peer id, `publish`, `car`, ...
    pub source: String,
}

impl ReleaseEntry {
    /// What its publisher's catalog tree says of it, but for the reason of a yank. `None` for a CID that no tree holds.
    pub(crate) fn as_version(&self) -> Option<VersionEntry> {
        Some(VersionEntry {
            version: self.release.record().version.clone(),
            release: RecordCid::new(*self.release.cid())?,
            yanked: self.yanked,
            reason: None,
            signatures: self.release.envelope().signatures().to_vec(),
        })
    }
}

/// How much the catalog knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogCounts {
    /// Number of packages. A name that several publishers use counts once for each of them.
    pub packages: u64,
    /// Number of releases.
    pub releases: u64,
    /// Number of publishers.
    pub publishers: u64,
    /// Number of packages of publishers whose own log is in this catalog: those published from this home.
    pub published: u64,
}

impl Catalog {
    /// Opens the catalog at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`CatalogError`] for a newer schema, a damaged file, or a file that another process keeps locked.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        Self::open_with(path, Access::Write)
    }

    /// As [`Catalog::open`], with the given access. A read-only copy leaves the file unchanged.
    pub(crate) fn open_with(path: &Path, access: Access) -> Result<Self, CatalogError> {
        Ok(Self::of(schema::open(path, access)?, path.to_owned()))
    }

    /// A catalog in memory, which is lost when the process ends.
    ///
    /// # Errors
    /// [`CatalogError`] if SQLite cannot allocate the memory.
    pub fn in_memory() -> Result<Self, CatalogError> {
        Self::open(Path::new(MEMORY))
    }

    fn of(connection: Connection, path: PathBuf) -> Self {
        Self { connection: Mutex::new(connection), path, signatures: Arc::default(), publishers: Mutex::default() }
    }

    /// The cache of valid signatures. Readers and writers of the catalog share it.
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
        // A panic while the lock was held leaves at most a transaction, which its drop rolls back.
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

    /// Returns whether the file at `path` is marked as damaged.
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

    /// Decodes a stored publisher id.
    fn publisher_id(&self, bytes: &[u8]) -> Result<PublisherId, CatalogError> {
        PublisherId::from_bytes(bytes).ok_or_else(|| self.damaged("not a publisher id"))
    }
}

/// The marker file that requests a rebuild when the catalog is opened next. A check of the structure does not detect
/// every kind of damage.
fn note_of_damage(path: &Path) -> PathBuf {
    database::beside(path, ".is-damaged")
}

fn note_damage(path: &Path) {
    // A database in memory is never opened again. If the marker cannot be written, the next read reports the error
    // again.
    if path != Path::new(MEMORY) {
        drop(std::fs::write(note_of_damage(path), ""));
    }
}

#[cfg(test)]
mod tests;
