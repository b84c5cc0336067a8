//! The searchable fields of a package, derived from its releases whenever one of them changes.

use rusqlite::params;
use semver::Version;

use crate::{
    identity::{PublisherId, Signed},
    index::{
        CatalogError,
        catalog::{intake::Intake, words},
    },
    package::{PackageId, Release, Requirement},
};

impl Intake<'_> {
    /// Derives the searchable fields of a package from its releases.
    pub(super) fn derive_package(&self, publisher: &PublisherId, package: &PackageId) -> Result<(), CatalogError> {
        let keys = params![publisher.to_bytes(), package.as_str()];
        let id: Option<i64> =
            self.read("SELECT id FROM packages WHERE publisher = ?1 AND package = ?2", keys, |row| row.get(0))?;
        if let Some(id) = id {
            words::remove(&self.transaction, id).map_err(self.catalog.failed("write"))?;
            self.write("DELETE FROM tags WHERE package = ?1", params![id])?;
        }
        let Some(latest) = self.latest(publisher, package)? else {
            self.write("DELETE FROM packages WHERE publisher = ?1 AND package = ?2", keys)?;
            return Ok(());
        };
        let metadata = &latest.record().metadata;
        let category = metadata.category.as_deref().unwrap_or_default().to_lowercase();
        let id: i64 = self
            .read(
                "INSERT INTO packages (publisher, package, name, category, latest) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET category = ?4, latest = ?5 RETURNING id",
                params![publisher.to_bytes(), package.as_str(), package.name(), category, latest.cid().to_bytes()],
                |row| row.get(0),
            )?
            .ok_or_else(|| self.catalog.damaged("a package has no row"))?;
        for tag in &metadata.tags {
            self.write("INSERT OR IGNORE INTO tags (package, tag) VALUES (?1, ?2)", params![id, tag.to_lowercase()])?;
        }
        words::insert(&self.transaction, id, latest.record()).map_err(self.catalog.failed("write"))?;
        Ok(())
    }

    /// The release that a search shows: the latest that is not yanked, else the latest. A pre-release is shown only if
    /// no stable version was ever published.
    fn latest(&self, publisher: &PublisherId, package: &PackageId) -> Result<Option<Signed<Release>>, CatalogError> {
        let mut statement = self
            .transaction
            .prepare_cached("SELECT cid, version, yanked FROM releases WHERE publisher = ?1 AND package = ?2")
            .map_err(self.catalog.failed("read"))?;
        let rows = statement
            .query_map(params![publisher.to_bytes(), package.as_str()], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
            })
            .map_err(self.catalog.failed("read"))?;
        let mut candidates = Vec::new();
        for row in rows {
            let (cid, version, yanked) = row.map_err(self.catalog.failed("read"))?;
            let version: Version = version.parse().map_err(|error| self.catalog.damaged(error))?;
            candidates.push((cid, version, yanked));
        }
        let fitting = Requirement::Latest.fitting(&candidates, |candidate| &candidate.1);
        let available = fitting.iter().copied().filter(|(_, _, yanked)| !yanked);
        let latest = Requirement::Latest
            .newest(available, |candidate| &candidate.1)
            .or_else(|| Requirement::Latest.newest(fitting.iter().copied(), |candidate| &candidate.1));
        let Some((cid, ..)) = latest else { return Ok(None) };
        let envelope: Option<Vec<u8>> =
            self.read("SELECT envelope FROM releases WHERE cid = ?1", params![cid], |row| row.get(0))?;
        envelope.map(|envelope| self.open_release(&envelope)).transpose()
    }
}
