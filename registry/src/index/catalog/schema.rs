//! The tables.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, TransactionBehavior};

use crate::index::CatalogError;

/// Version of the tables below; stands in `user_version`.
const SCHEMA: i64 = 1;
/// `ggen` in ASCII; stands in `application_id`, so that no other program's database is taken for a catalog.
const APPLICATION: i64 = 0x6767_656e;
/// How long to wait for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE publishers (
        id           BLOB PRIMARY KEY,          -- binary CID of the genesis document
        chain        BLOB NOT NULL,             -- identity chain, encoded
        head         BLOB,                      -- envelope of the highest head seen
        refresh      BLOB,                      -- envelope of its newest refresh
        equivocation BLOB,                      -- proof that there are two histories
        first_seen   INTEGER NOT NULL           -- seconds since 1970
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
    CREATE VIRTUAL TABLE words USING fts5 (     -- rowid = packages.id
        name, description, tags, keywords, category,
        content = '', contentless_delete = 1, prefix = '2 3', tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE TABLE log (                          -- of the publishers of this home
        publisher BLOB NOT NULL,
        seq       INTEGER NOT NULL,
        cid       BLOB NOT NULL,
        envelope  BLOB NOT NULL,
        PRIMARY KEY (publisher, seq)
    ) STRICT;
";

/// Opens the database and makes its tables if it has none.
pub(super) fn open(path: &Path) -> Result<Connection, CatalogError> {
    let failed = |source| CatalogError::from_sqlite("open", path, source);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    let corrupt = |reason: &str| CatalogError::Corrupt { path: path.to_owned(), reason: reason.to_owned() };
    // Two processes that open a fresh file at once must not both make the tables: look and make in one transaction.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let pragma = |name: &str| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    match (tables, pragma("application_id")?, pragma("user_version")?) {
        (0, ..) => {
            transaction.execute_batch(TABLES).map_err(failed)?;
            transaction.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
            transaction.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
        }
        (_, APPLICATION, SCHEMA) => {}
        (_, APPLICATION, found) if found > SCHEMA => {
            return Err(CatalogError::Newer { path: path.to_owned(), found, supported: SCHEMA });
        }
        (_, APPLICATION, found) => return Err(corrupt(&format!("it has the unknown schema {found}"))),
        (..) => return Err(corrupt("it is a database of another program")),
    }
    transaction.commit().map_err(failed)?;
    // FULL: a head that was seen must not be forgotten by a loss of power, or it could be rolled back.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(failed)?;
    Ok(connection)
}
