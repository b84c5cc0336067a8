//! Names in the databases of a home, for shell completion.
//!
//! They are read without the lock of the home, beside a running node. Nothing is created or changed. Read failures
//! yield no names, because shell completion has no place to show an error.

use std::path::{Path, PathBuf};

use libp2p::PeerId;
use rusqlite::{Connection, OpenFlags, params};

/// The names in the databases of a home.
#[derive(Clone, Debug)]
pub struct KnownNames {
    home: PathBuf,
}

impl KnownNames {
    /// The names of this home directory. It need not exist.
    pub fn of(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    /// Packages (`ns/name`) that begin with `prefix`, in alphabetical order, at most `limit`.
    pub fn packages(&self, prefix: &str, limit: usize) -> Vec<String> {
        let sql =
            "SELECT DISTINCT package FROM packages WHERE substr(package, 1, length(?1)) = ?1 ORDER BY package LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = |connection: Connection| {
            connection.prepare(sql)?.query_map(params![prefix, limit], |row| row.get(0))?.collect()
        };
        open(&self.home.join("catalog.db")).and_then(read).unwrap_or_default()
    }

    /// Peer ids that begin with `prefix`, most recently seen first, at most `limit`.
    pub fn peers(&self, prefix: &str, limit: usize) -> Vec<String> {
        let read = |connection: Connection| {
            let mut statement = connection.prepare("SELECT id FROM peers ORDER BY last_seen DESC")?;
            let ids = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            let ids = ids.filter_map(|id| Some(PeerId::from_bytes(&id.ok()?).ok()?.to_string()));
            Ok(ids.filter(|id| id.starts_with(prefix)).take(limit).collect())
        };
        open(&self.home.join("peers.db")).and_then(read).unwrap_or_default()
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_that_is_not_there_knows_no_name_and_is_not_made() {
        let place = tempfile::tempdir().unwrap();
        let names = KnownNames::of(place.path().join("home"));
        assert!(names.packages("", 10).is_empty() && names.peers("", 10).is_empty());
        assert!(!place.path().join("home").exists());
    }
}
