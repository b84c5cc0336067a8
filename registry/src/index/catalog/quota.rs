//! Limits on the records of publishers that this home does not follow. Publishers that this home owns, follows or has
//! fetched from are exempt.

use rusqlite::params;

use crate::{
    identity::{PublisherId, Timestamp},
    index::{Catalog, CatalogError, catalog::intake::Intake},
    package::PackageId,
};

/// Releases kept of a publisher that nobody here follows.
const MAX_UNFOLLOWED_RELEASES: i64 = 1024;
/// Publishers kept that nobody here follows.
const MAX_UNFOLLOWED: i64 = 1024;
/// Bytes of releases kept of all of them together.
const MAX_UNFOLLOWED_BYTES: i64 = 64 << 20;
/// A publisher is forgotten only if there is nothing to follow it by; so many are looked at in one go.
const MAX_FORGOTTEN_AT_ONCE: usize = 64;

/// Relation of a publisher to this home. 0 means that only its records were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Fetched from, mirrored or pinned.
    Followed = 1,
    /// Published from this home.
    Own = 2,
}

impl Catalog {
    /// Follows a publisher: its records are not removed to make room, and the node asks other nodes for its new
    /// records.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn follow(&self, publisher: &PublisherId, now: Timestamp) -> Result<(), CatalogError> {
        // Avoids a write transaction when nothing changes.
        match self.is_followed(publisher)? {
            true => Ok(()),
            false => self.in_transaction(now, |intake| intake.raise_standing(publisher, Standing::Followed)),
        }
    }

    /// Returns whether a publisher is followed or belongs to this home.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn is_followed(&self, publisher: &PublisherId) -> Result<bool, CatalogError> {
        let sql = "SELECT standing > 0 FROM publishers WHERE id = ?1";
        let found: Vec<bool> = self.read_rows(sql, [publisher.to_bytes()], |row| row.get(0))?;
        Ok(found.first().copied().unwrap_or(false))
    }
}

impl Intake<'_> {
    /// Raises a publisher's standing; it never falls.
    pub(super) fn raise_standing(&self, publisher: &PublisherId, standing: Standing) -> Result<(), CatalogError> {
        let sql = "UPDATE publishers SET standing = max(standing, ?2) WHERE id = ?1";
        self.write(sql, params![publisher.to_bytes(), standing as i64])?;
        Ok(())
    }

    /// Enforces the limits after a new record of a publisher. When the totals are exceeded, the unfollowed publisher
    /// that was quiet for longest is removed as a whole.
    pub(super) fn keep_quota(&self, publisher: &PublisherId) -> Result<(), CatalogError> {
        let id = publisher.to_bytes();
        self.write("UPDATE publishers SET seen = ?2 WHERE id = ?1", params![id, self.now.as_unix().cast_signed()])?;
        let of_unfollowed: Option<i64> =
            self.read("SELECT releases FROM publishers WHERE id = ?1 AND standing = 0", params![id], |row| row.get(0))?;
        let Some(releases) = of_unfollowed else { return Ok(()) };
        if releases > MAX_UNFOLLOWED_RELEASES {
            self.forget_oldest(publisher, releases - MAX_UNFOLLOWED_RELEASES)?;
        }
        for _ in 0..MAX_FORGOTTEN_AT_ONCE {
            let (number, bytes): (i64, i64) = self
                .read(
                    "SELECT count(*), coalesce(sum(bytes), 0) FROM publishers WHERE standing = 0",
                    params![],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?
                .unwrap_or_default();
            if number <= MAX_UNFOLLOWED && bytes <= MAX_UNFOLLOWED_BYTES {
                break;
            }
            let sql = "SELECT id FROM publishers WHERE standing = 0 AND id <> ?1 AND equivocation IS NULL
                       ORDER BY seen, id LIMIT 1";
            let Some(quiet) = self.read(sql, params![id], |row| row.get::<_, Vec<u8>>(0))? else { break };
            self.forget(&quiet)?;
        }
        Ok(())
    }

    /// Removes the `number` releases of a publisher that were seen first.
    fn forget_oldest(&self, publisher: &PublisherId, number: i64) -> Result<(), CatalogError> {
        let sql = "SELECT cid FROM releases WHERE publisher = ?1 ORDER BY seen, rowid LIMIT ?2";
        for cid in self.read_all(sql, params![publisher.to_bytes(), number])? {
            let package: Option<String> =
                self.read("SELECT package FROM releases WHERE cid = ?1", params![cid], |row| row.get(0))?;
            self.write("DELETE FROM releases WHERE cid = ?1", params![cid])?;
            let package: Option<PackageId> = package.and_then(|package| package.parse().ok());
            if let Some(package) = package {
                self.derive_package(publisher, &package)?;
            }
        }
        Ok(())
    }

    /// Removes a publisher with all its records.
    fn forget(&self, id: &[u8]) -> Result<(), CatalogError> {
        for (table, key) in [("words", "rowid"), ("trigrams", "rowid"), ("tags", "package")] {
            let sql = format!("DELETE FROM {table} WHERE {key} IN (SELECT id FROM packages WHERE publisher = ?1)");
            self.write(&sql, params![id])?;
        }
        for table in ["packages", "proofs", "releases"] {
            self.write(&format!("DELETE FROM {table} WHERE publisher = ?1"), params![id])?;
        }
        self.write("DELETE FROM publishers WHERE id = ?1", params![id])?;
        Ok(())
    }
}
