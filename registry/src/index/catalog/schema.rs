//! The tables.
//!
//! A file of an older schema is upgraded when it is opened, in one transaction: accepted records stay, and derived data
//! is computed again.

use std::path::Path;

use rusqlite::{Connection, Transaction, params, types::Type};

use crate::{
    database::{Access, DatabaseError, Schema},
    identity::Signed,
    index::catalog::words,
    package::Release,
};

/// The catalog's database.
pub(super) const SCHEMA: Schema = Schema {
    name: "catalog",
    // `ggen` in ASCII.
    application: 0x6767_656e,
    version: 3,
    create,
    upgrade,
    // FULL: a head that was seen must not be forgotten by a loss of power, or it could be rolled back.
    settings: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
};
/// The version whose releases have no marks.
const WITHOUT_MARKS: i64 = 1;
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

/// Tables and indexes that schema 2 added; columns are added elsewhere.
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

/// Schema 3 has the tables of schema 2, but the full-text tables contain different terms.
const WORDS_AGAIN: &str = "
    DROP TABLE words;
    DROP TABLE IF EXISTS trigrams;
";

/// Opens the database and makes its tables if it has none.
pub(super) fn open(path: &Path, access: Access) -> Result<Connection, DatabaseError> {
    let connection = SCHEMA.open(path, access)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn create(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    [RECORDS, SINCE_2, words::TABLES].into_iter().try_for_each(|tables| transaction.execute_batch(tables))
}

/// Computes marks where there are none, and makes the full-text tables again from the releases.
fn upgrade(transaction: &Transaction<'_>, found: i64) -> rusqlite::Result<()> {
    if found == WITHOUT_MARKS {
        add_marks(transaction)?;
    }
    transaction.execute_batch(WORDS_AGAIN)?;
    transaction.execute_batch(words::TABLES)?;
    let latest = "SELECT r.envelope, p.id FROM packages p JOIN releases r ON r.cid = p.latest";
    for (envelope, id) in rows(transaction, latest)? {
        let release: Signed<Release> = Signed::decode(&envelope)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error)))?;
        words::insert(transaction, id, release.record())?;
    }
    Ok(())
}

/// Upgrades schema 1 to 2, except for the full-text tables.
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

/// The mark of a release, which is combined into the publisher's summary: the last bits of its CID, with the yank flag
/// in place of the lowest bit.
pub(super) fn mark(cid: &[u8], yanked: bool) -> i64 {
    let mut last = [0; 8];
    let from = cid.len().saturating_sub(last.len());
    last[..cid.len() - from].copy_from_slice(&cid[from..]);
    (i64::from_be_bytes(last) & !1) | i64::from(yanked)
}
