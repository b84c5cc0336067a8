//! What can still be read of a damaged catalog.

use std::{collections::HashMap, path::Path};

use rusqlite::{Connection, params};

use crate::{database, identity::PublisherId, index::StoredRecords};

/// Publishers that are looked for in a damaged file.
const MAX_PUBLISHERS: i64 = 65_536;
/// Releases that are looked for in it.
const MAX_RELEASES: i64 = 1 << 20;

/// The signed records that a damaged catalog still holds. Nothing of it is verified yet: [`Catalog::rebuild`] does.
///
/// [`Catalog::rebuild`]: crate::Catalog::rebuild
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// Of each publisher that could be read, what could be read.
    pub records: Vec<StoredRecords>,
    /// Those of them that were followed.
    pub followed: Vec<PublisherId>,
}

impl crate::index::Catalog {
    /// Reads what can be read of the file at `path`; nothing, if it is no catalog. What is missing comes back with the
    /// next exchange with other nodes, and what this home has published from its own blocks.
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

/// Rows until the first that cannot be read.
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
    // The order of the rows, not of the index: either may be what is damaged.
    let sql = "SELECT id, standing FROM publishers NOT INDEXED LIMIT ?1";
    rows(connection, sql, [MAX_PUBLISHERS], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Envelopes by publisher, and whether each is yanked.
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
