//! The book's SQLite file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use libp2p::PeerId;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, named_params, params};

use super::{
    Listing, MAX_HISTORY, MAX_PACKAGES, PeerBookError, PeerHistory, PeerRecord,
    memory::{Changes, Memory},
};
use crate::{
    database::{self, Access, Schema},
    identity::Timestamp,
};

const SCHEMA: Schema = Schema {
    name: "peer book",
    // `ggpe` in ASCII.
    application: 0x6767_7065,
    version: 1,
    create: |transaction| transaction.execute_batch(TABLES),
    // There is none.
    upgrade: |_, _| Ok(()),
    // NORMAL: what a loss of power takes is the advice of the last moments.
    settings: "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
};

const TABLES: &str = "
    CREATE TABLE peers (
        id             BLOB PRIMARY KEY,        -- peer id, as multihash
        successful     INTEGER NOT NULL,
        failed         INTEGER NOT NULL,
        failed_at      INTEGER,                 -- seconds since 1970, like all times
        last_seen      INTEGER NOT NULL,
        bytes_sent     INTEGER NOT NULL,
        bytes_received INTEGER NOT NULL,
        addresses      TEXT NOT NULL,           -- one a line
        agent          TEXT,
        latency_us     INTEGER,
        rate           REAL,                    -- bytes per second
        listing        TEXT                     -- allowed, denied
    ) STRICT;
    CREATE TABLE packages (
        peer    BLOB NOT NULL,
        package TEXT NOT NULL,
        heard   INTEGER NOT NULL,
        PRIMARY KEY (peer, package)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX packages_by_name ON packages (package);
    CREATE TABLE history (
        id      INTEGER PRIMARY KEY,
        peer    BLOB NOT NULL,
        time    INTEGER NOT NULL,
        event   TEXT NOT NULL,
        package TEXT,
        bytes   INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX history_by_peer ON history (peer, id);
";

/// The opened file; see the module documentation.
#[derive(Debug)]
pub(super) struct File {
    connection: Connection,
    path: PathBuf,
}

impl File {
    /// Opens the file, and creates its tables if it has none.
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, PeerBookError> {
        let connection = SCHEMA.open(path, access)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> PeerBookError + use<> {
        let failed = SCHEMA.failed(action, &self.path);
        move |source| failed(source).into()
    }

    /// Reads the whole book, except events and packages.
    pub(super) fn load(&self) -> Result<Memory, PeerBookError> {
        let failed = self.failed("read");
        let sql = "SELECT id, successful, failed, failed_at, last_seen, bytes_sent, bytes_received, addresses, agent,
                          latency_us, rate, listing,
                          (SELECT count(*) FROM packages WHERE packages.peer = peers.id) AS packages
                   FROM peers";
        let mut statement = self.connection.prepare(sql).map_err(&failed)?;
        let rows = statement.query_map([], read_record).map_err(&failed)?;
        let records: Result<Vec<_>, _> = rows.collect();
        // An invalid row is skipped.
        Ok(Memory::new(records.map_err(&failed)?.into_iter().flatten()))
    }

    /// Writes changes in one transaction, and returns the package counts that may have changed.
    pub(super) fn write(&mut self, changes: &Changes) -> Result<Vec<(PeerId, u64)>, PeerBookError> {
        let failed = self.failed("write");
        let transaction = self.connection.transaction().map_err(&failed)?;
        let counts = write(&transaction, changes).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(counts)
    }

    pub(super) fn providers_of(&self, packages: &[String]) -> Result<HashMap<String, Vec<PeerId>>, PeerBookError> {
        let failed = self.failed("read");
        let sql = "SELECT peer FROM packages WHERE package = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut providers = HashMap::new();
        for package in packages {
            let rows =
                statement.query_map([package], |row| Ok(peer_id(&row.get::<_, Vec<u8>>(0)?))).map_err(&failed)?;
            let peers: Result<Vec<_>, _> = rows.collect();
            let peers: Vec<PeerId> = peers.map_err(&failed)?.into_iter().flatten().collect();
            if !peers.is_empty() {
                providers.insert(package.clone(), peers);
            }
        }
        Ok(providers)
    }

    pub(super) fn history(&self, peer: &PeerId) -> Result<Vec<PeerHistory>, PeerBookError> {
        let failed = self.failed("read");
        let sql = "SELECT time, event, package, bytes FROM history WHERE peer = ?1 ORDER BY id DESC LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let limit = i64::try_from(MAX_HISTORY).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![peer.to_bytes(), limit], |row| {
            let time = Timestamp::from_unix(unsigned(row.get(0)?));
            Ok(PeerHistory { time, event: row.get(1)?, package: row.get(2)?, bytes: unsigned(row.get(3)?) })
        });
        rows.and_then(Iterator::collect).map_err(&failed)
    }
}

fn write(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<Vec<(PeerId, u64)>> {
    for peer in &changes.forgotten {
        for table in [
            "DELETE FROM peers WHERE id = ?1",
            "DELETE FROM packages WHERE peer = ?1",
            "DELETE FROM history WHERE peer = ?1",
        ] {
            transaction.prepare_cached(table)?.execute([peer.to_bytes()])?;
        }
    }
    for record in &changes.records {
        write_record(transaction, record)?;
    }
    write_history(transaction, &changes.history)?;
    write_packages(transaction, &changes.packages)
}

fn write_record(transaction: &Transaction<'_>, record: &PeerRecord) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO peers
                 (id, successful, failed, failed_at, last_seen, bytes_sent, bytes_received, addresses, agent,
                  latency_us, rate, listing)
               VALUES (:id, :successful, :failed, :failed_at, :last_seen, :sent, :received, :addresses, :agent,
                       :latency, :rate, :listing)";
    let addresses: Vec<String> = record.addresses.iter().map(ToString::to_string).collect();
    transaction.prepare_cached(sql)?.execute(named_params! {
        ":id": record.peer.to_bytes(),
        ":successful": signed(record.successful),
        ":failed": signed(record.failed),
        ":failed_at": record.failed_at.map(|at| signed(at.as_unix())),
        ":last_seen": signed(record.last_seen.as_unix()),
        ":sent": signed(record.bytes_sent),
        ":received": signed(record.bytes_received),
        ":addresses": addresses.join("\n"),
        ":agent": record.agent,
        ":latency": record.latency.map(|latency| i64::try_from(latency.as_micros()).unwrap_or(i64::MAX)),
        ":rate": record.rate,
        ":listing": record.listing.map(Listing::name),
    })?;
    Ok(())
}

fn write_history(transaction: &Transaction<'_>, events: &[(PeerId, PeerHistory)]) -> rusqlite::Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO history (peer, time, event, package, bytes) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (peer, PeerHistory { time, event, package, bytes }) in events {
        insert.execute(params![peer.to_bytes(), signed(time.as_unix()), event, package, signed(*bytes)])?;
    }
    let mut trim = transaction.prepare_cached(
        "DELETE FROM history WHERE peer = ?1
           AND id <= (SELECT id FROM history WHERE peer = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    for peer in unique(events.iter().map(|(peer, _)| *peer)) {
        trim.execute(params![peer.to_bytes(), i64::try_from(MAX_HISTORY).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

fn write_packages(
    transaction: &Transaction<'_>,
    packages: &[(PeerId, String, Timestamp)],
) -> rusqlite::Result<Vec<(PeerId, u64)>> {
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO packages (peer, package, heard) VALUES (?1, ?2, ?3)")?;
    for (peer, package, heard) in packages {
        insert.execute(params![peer.to_bytes(), package, signed(heard.as_unix())])?;
    }
    let mut trim = transaction.prepare_cached(
        "DELETE FROM packages WHERE peer = ?1 AND package IN
           (SELECT package FROM packages WHERE peer = ?1 ORDER BY heard DESC, package LIMIT -1 OFFSET ?2)",
    )?;
    let mut count = transaction.prepare_cached("SELECT count(*) FROM packages WHERE peer = ?1")?;
    let mut counts = Vec::new();
    for peer in unique(packages.iter().map(|(peer, ..)| *peer)) {
        trim.execute(params![peer.to_bytes(), i64::try_from(MAX_PACKAGES).unwrap_or(i64::MAX)])?;
        let number: Option<i64> = count.query_row([peer.to_bytes()], |row| row.get(0)).optional()?;
        counts.push((peer, unsigned(number.unwrap_or_default())));
    }
    Ok(counts)
}

fn unique(peers: impl Iterator<Item = PeerId>) -> Vec<PeerId> {
    let mut peers: Vec<_> = peers.collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}

/// Decodes a row; `None` if it names no peer.
fn read_record(row: &Row<'_>) -> rusqlite::Result<Option<PeerRecord>> {
    let Some(peer) = peer_id(&row.get::<_, Vec<u8>>(0)?) else { return Ok(None) };
    let of_list: Option<String> = row.get(11)?;
    let addresses: String = row.get(7)?;
    Ok(Some(PeerRecord {
        successful: unsigned(row.get(1)?),
        failed: unsigned(row.get(2)?),
        failed_at: row.get::<_, Option<i64>>(3)?.map(|at| Timestamp::from_unix(unsigned(at))),
        bytes_sent: unsigned(row.get(5)?),
        bytes_received: unsigned(row.get(6)?),
        addresses: addresses.lines().filter_map(|address| address.parse().ok()).collect(),
        agent: row.get(8)?,
        latency: row.get::<_, Option<i64>>(9)?.map(|latency| Duration::from_micros(unsigned(latency))),
        rate: row.get(10)?,
        listing: of_list.as_deref().and_then(Listing::named),
        packages: unsigned(row.get(12)?),
        ..PeerRecord::new(peer, Timestamp::from_unix(unsigned(row.get(4)?)))
    }))
}

fn peer_id(bytes: &[u8]) -> Option<PeerId> {
    PeerId::from_bytes(bytes).ok()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The readable lists of allowed and denied peers in a damaged file.
pub(super) fn salvage(path: &Path) -> Vec<(PeerId, Listing)> {
    let Ok(connection) = database::read_only(path) else { return Vec::new() };
    // Reads in table order and not through the index: either may be damaged.
    let sql = "SELECT id, listing FROM peers NOT INDEXED WHERE listing IS NOT NULL";
    let Ok(mut statement) = connection.prepare(sql) else { return Vec::new() };
    let row = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?));
    let Ok(rows) = statement.query_map([], row) else { return Vec::new() };
    let listed = rows.map_while(Result::ok).filter_map(|(id, name)| Some((peer_id(&id)?, Listing::named(&name)?)));
    listed.collect()
}
