//! Recovery of records from a damaged catalog.

use std::{collections::HashMap, path::Path};

use rusqlite::{Connection, params};

use crate::{database, identity::PublisherId, index::StoredRecords};

/// Most publishers read from a damaged file.
const MAX_PUBLISHERS: i64 = 65_536;
/// Most releases read from it.
const MAX_RELEASES: i64 = 1 << 20;

/// The signed records that a damaged catalog still holds. They are not verified yet; [`Catalog::rebuild`] verifies
/// them.
///
/// [`Catalog::rebuild`]: crate::index::Catalog::rebuild
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// The readable records of each publisher.
    pub records: Vec<StoredRecords>,
    /// The publishers among them that were followed.
    pub followed: Vec<PublisherId>,
}

impl crate::index::Catalog {
    /// Reads the readable records of the file at `path`; empty if it is no catalog. Exchanges with other nodes restore
    /// the missing records, and the blocks in the store restore what this home has published.
    pub fn salvage(path: &Path) -> Salvaged {
        let Ok(connection) = database::read_only(path) else { return Salvaged::default() };
        let mut salvaged = Salvaged::default();
        let mut releases = releases(&connection);
        for (id, standing) in publishers(&connection) {
            let of_publisher = releases.remove(&id).unwrap_or_default();
            let Some(records) = records(&connection, &id, of_publisher) else { continue };
            salvaged.records.push(records);
            salvaged.followed.extend(PublisherId::from_bytes(&id).filter(|_| standing > 0));
        }
        salvaged
    }
}

/// Reads rows up to the first that cannot be read.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let Ok(mut statement) = connection.prepare(sql) else { return Vec::new() };
    let Ok(rows) = statement.query_map(params, row) else { return Vec::new() };
    rows.map_while(Result::ok).collect()
}

fn publishers(connection: &Connection) -> Vec<(Vec<u8>, i64)> {
    // Reads in table order and not through the index: either may be damaged.
    let sql = "SELECT id, standing FROM publishers NOT INDEXED LIMIT ?1";
    rows(connection, sql, [MAX_PUBLISHERS], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Envelopes by publisher, each with its yank flag.
type Releases = HashMap<Vec<u8>, Vec<(Vec<u8>, bool)>>;

fn releases(connection: &Connection) -> Releases {
    let sql = "SELECT publisher, envelope, yanked FROM releases NOT INDEXED LIMIT ?1";
    let mut releases = Releases::new();
    for (publisher, envelope, yanked) in
        rows(connection, sql, [MAX_RELEASES], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    {
        releases.entry(publisher).or_default().push((envelope, yanked));
    }
    releases
}

fn records(connection: &Connection, id: &[u8], releases: Vec<(Vec<u8>, bool)>) -> Option<StoredRecords> {
    let sql = "SELECT chain, head, refresh FROM publishers NOT INDEXED WHERE id = ?1";
    let (chain, head, refresh) =
        connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).ok()?;
    let sql = "SELECT envelope FROM log WHERE publisher = ?1 ORDER BY seq";
    let log = rows(connection, sql, params![id], |row| row.get(0));
    Some(StoredRecords { chain, head, refresh, releases, log })
}
