//! The tables.
//!
//! A file of an older schema is brought up to date when it is opened, in one transaction: what was taken in stays, what
//! is derived from it is made again.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    database::Access,
    identity::Signed,
    index::{CatalogError, catalog::words},
    package::Release,
};

/// Version of the tables below; stands in `user_version`.
pub(super) const SCHEMA: i64 = 3;
/// The oldest version that can be brought up to date.
const OLDEST: i64 = 1;
/// `ggen` in ASCII; stands in `application_id`, so that no other program's database is taken for a catalog.
const APPLICATION: i64 = 0x6767_656e;
/// How long to wait for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that are kept ready: to take one claim in takes more than the 16 that are kept else.
const STATEMENTS: usize = 128;

const RECORDS: &str = "
    CREATE TABLE publishers (
        id           BLOB PRIMARY KEY,          -- binary CID of the genesis document
        chain        BLOB NOT NULL,             -- identity chain, encoded
        head         BLOB,                      -- envelope of the highest head seen
        refresh      BLOB,                      -- envelope of its newest refresh
        equivocation BLOB,                      -- proof that there are two histories
        first_seen   INTEGER NOT NULL,          -- seconds since 1970
        standing     INTEGER NOT NULL DEFAULT 0, -- 0 heard of, 1 followed, 2 of this home
        seen         INTEGER NOT NULL DEFAULT 0, -- when something new of it was last taken in
        releases     INTEGER NOT NULL DEFAULT 0, -- number, by the triggers below
        bytes        INTEGER NOT NULL DEFAULT 0, -- of their envelopes
        marks        INTEGER NOT NULL DEFAULT 0  -- exclusive or of their marks
    ) STRICT;
    CREATE TABLE releases (
        cid       BLOB PRIMARY KEY,             -- binary CID of the payload
        publisher BLOB NOT NULL REFERENCES publishers,
        package   TEXT NOT NULL,                -- ns/name
        version   TEXT NOT NULL,
        content   BLOB NOT NULL,                -- binary CID of the content's root
        envelope  BLOB NOT NULL,
        yanked    INTEGER NOT NULL,
        seen      INTEGER NOT NULL,             -- seconds since 1970
        source    TEXT NOT NULL,
        mark      INTEGER NOT NULL DEFAULT 0,   -- 63 bits of the CID, and whether it is yanked
        UNIQUE (publisher, package, version)
    ) STRICT;
    CREATE INDEX releases_by_package ON releases (package);
    CREATE INDEX releases_by_content ON releases (content);
    CREATE TABLE packages (                     -- one publisher's package: derived from its releases
        id        INTEGER PRIMARY KEY,
        publisher BLOB NOT NULL,
        package   TEXT NOT NULL,
        name      TEXT NOT NULL,
        category  TEXT NOT NULL,                -- lower case
        latest    BLOB NOT NULL,                -- release that a search shows
        UNIQUE (publisher, package)
    ) STRICT;
    CREATE INDEX packages_by_name ON packages (name);
    CREATE TABLE tags (
        package INTEGER NOT NULL,
        tag     TEXT NOT NULL,                  -- lower case
        PRIMARY KEY (package, tag)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE log (                          -- of the publishers of this home
        publisher BLOB NOT NULL,
        seq       INTEGER NOT NULL,
        cid       BLOB NOT NULL,
        envelope  BLOB NOT NULL,
        PRIMARY KEY (publisher, seq)
    ) STRICT;
";

/// What came with schema 2, except for columns.
const SINCE_2: &str = "
    CREATE INDEX publishers_by_standing ON publishers (standing, seen, bytes);
    CREATE TABLE proofs (                       -- when the flags of a package's versions were last proven
        publisher    BLOB NOT NULL,
        package      TEXT NOT NULL,
        identity_seq INTEGER NOT NULL,          -- of the head that proves it
        log_seq      INTEGER NOT NULL,
        claim        BLOB,                      -- the proof, where a version is yanked
        PRIMARY KEY (publisher, package)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER release_added AFTER INSERT ON releases BEGIN
        UPDATE publishers SET releases = releases + 1, bytes = bytes + length(NEW.envelope),
            marks = (marks | NEW.mark) - (marks & NEW.mark) WHERE id = NEW.publisher;
    END;
    CREATE TRIGGER release_removed AFTER DELETE ON releases BEGIN
        UPDATE publishers SET releases = releases - 1, bytes = bytes - length(OLD.envelope),
            marks = (marks | OLD.mark) - (marks & OLD.mark) WHERE id = OLD.publisher;
    END;
    CREATE TRIGGER release_marked AFTER UPDATE OF mark ON releases BEGIN
        UPDATE publishers SET marks = (marks | OLD.mark) - (marks & OLD.mark) WHERE id = OLD.publisher;
        UPDATE publishers SET marks = (marks | NEW.mark) - (marks & NEW.mark) WHERE id = NEW.publisher;
    END;
";

const FROM_1_TO_2: &str = "
    ALTER TABLE publishers ADD COLUMN standing INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE publishers ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE publishers ADD COLUMN releases INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE publishers ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE publishers ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE releases ADD COLUMN mark INTEGER NOT NULL DEFAULT 0;
    UPDATE publishers SET seen = first_seen;
    UPDATE publishers SET standing = 2 WHERE id IN (SELECT publisher FROM log);
    UPDATE publishers SET releases = (SELECT count(*) FROM releases WHERE publisher = publishers.id),
        bytes = coalesce((SELECT sum(length(envelope)) FROM releases WHERE publisher = publishers.id), 0);
";

/// Schema 3 has the tables of schema 2; what stands in the full-text tables is cut into other terms.
const WORDS_AGAIN: &str = "
    DROP TABLE words;
    DROP TABLE IF EXISTS trigrams;
";

/// Opens the database and makes its tables if it has none.
pub(super) fn open(path: &Path, access: Access) -> Result<Connection, CatalogError> {
    let failed = |source| CatalogError::from_sqlite("open", path, source);
    let mut connection = access.open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let corrupt = |reason: &str| CatalogError::Corrupt { path: path.to_owned(), reason: reason.to_owned() };
    // Two processes that open a fresh file at once must not both make the tables: look and make in one transaction.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    match (tables, pragma("application_id")?, pragma("user_version")?) {
        (0, ..) => {
            transaction.execute_batch(RECORDS).map_err(failed)?;
            transaction.execute_batch(SINCE_2).map_err(failed)?;
            transaction.execute_batch(words::TABLES).map_err(failed)?;
            transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
            transaction.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
        }
        (_, APPLICATION, SCHEMA) => {}
        (_, APPLICATION, found) if found > SCHEMA => {
            return Err(CatalogError::Newer { path: path.to_owned(), found, supported: SCHEMA });
        }
        (_, APPLICATION, found @ OLDEST..SCHEMA) => upgrade(&transaction, path, found)?,
        (_, APPLICATION, found) => return Err(corrupt(&format!("it has the unknown schema {found}"))),
        (..) => return Err(corrupt("it is a database of another program")),
    }
    transaction.commit().map_err(failed)?;
    // FULL: a head that was seen must not be forgotten by a loss of power, or it could be rolled back.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Brings the tables of schema `found` up to date: marks are worked out where there are none, and the words are made
/// again from the releases.
fn upgrade(transaction: &Transaction<'_>, path: &Path, found: i64) -> Result<(), CatalogError> {
    let failed = |source| CatalogError::from_sqlite("bring up to date", path, source);
    let damaged = |reason: String| CatalogError::Corrupt { path: path.to_owned(), reason };
    if found == OLDEST {
        add_marks(transaction).map_err(failed)?;
    }
    transaction.execute_batch(WORDS_AGAIN).map_err(failed)?;
    transaction.execute_batch(words::TABLES).map_err(failed)?;
    let latest = "SELECT r.envelope, p.id FROM packages p JOIN releases r ON r.cid = p.latest";
    for (envelope, id) in rows(transaction, latest).map_err(failed)? {
        let release: Signed<Release> = Signed::decode(&envelope).map_err(|error| damaged(error.to_string()))?;
        words::insert(transaction, id, release.record()).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA).map_err(failed)
}

/// From schema 1 to 2, but for the words.
fn add_marks(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(FROM_1_TO_2)?;
    transaction.execute_batch(SINCE_2)?;
    for (cid, yanked) in rows(transaction, "SELECT cid, yanked FROM releases")? {
        let mark = mark(&cid, yanked != 0);
        transaction.execute("UPDATE releases SET mark = ?2 WHERE cid = ?1", params![cid, mark])?;
    }
    Ok(())
}

fn rows(transaction: &Transaction<'_>, sql: &str) -> rusqlite::Result<Vec<(Vec<u8>, i64)>> {
    transaction.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// What stands for a release in the sum of a publisher's: the last bits of its CID, the lowest replaced by whether it
/// is yanked.
pub(super) fn mark(cid: &[u8], yanked: bool) -> i64 {
    let mut last = [0; 8];
    let from = cid.len().saturating_sub(last.len());
    last[..cid.len() - from].copy_from_slice(&cid[from..]);
    (i64::from_be_bytes(last) & !1) | i64::from(yanked)
}
