//! Read access.

use std::sync::PoisonError;

use ggen_blockstore::Cid;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};

use crate::{
    identity::{Envelope, IdentityChain, PublisherId, Record as _, RecordKind, Signed, Timestamp},
    index::{
        Catalog, CatalogCounts, CatalogError, Equivocation, Head, PublisherEntry, ReleaseEntry, StoredRecords,
        VerifiedHead,
    },
    package::{PackageId, Release},
};

/// Number of publishers cached as last read. When it is exceeded, the cache is emptied.
const MAX_REMEMBERED: usize = 16;

/// Columns that make a [`ReleaseEntry`].
const RELEASE: &str = "SELECT envelope, yanked, seen, source FROM releases";

type ReleaseRow = (Vec<u8>, bool, i64, String);
pub(super) type PublisherRow = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, i64);

impl Catalog {
    /// All releases of a package, of all publishers, in no particular order.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn releases(&self, package: &PackageId) -> Result<Vec<ReleaseEntry>, CatalogError> {
        self.read_releases(&format!("{RELEASE} WHERE package = ?1"), params![package.as_str()])
    }

    /// The release with this CID.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn release(&self, cid: &Cid) -> Result<Option<ReleaseEntry>, CatalogError> {
        let found = self.read_releases(&format!("{RELEASE} WHERE cid = ?1"), params![cid.to_bytes()])?;
        Ok(found.into_iter().next())
    }

    /// Releases that have this content.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn releases_of_content(&self, content: &Cid) -> Result<Vec<ReleaseEntry>, CatalogError> {
        self.read_releases(&format!("{RELEASE} WHERE content = ?1"), params![content.to_bytes()])
    }

    /// Publishers that have a release of a package.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn publishers_of(&self, package: &PackageId) -> Result<Vec<PublisherId>, CatalogError> {
        let sql = "SELECT DISTINCT publisher FROM releases WHERE package = ?1 ORDER BY publisher";
        let ids: Vec<Vec<u8>> = self.read_rows(sql, params![package.as_str()], |row| row.get(0))?;
        ids.iter().map(|id| self.publisher_id(id)).collect()
    }

    /// Publishers that have a release of a package in a namespace.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn publishers_in(&self, namespace: &str) -> Result<Vec<PublisherId>, CatalogError> {
        // `0` follows `/` in ASCII, so the range between the two contains every name that begins with the namespace.
        let sql = "SELECT DISTINCT publisher FROM releases WHERE package > ?1 || '/' AND package < ?1 || '0'
                   ORDER BY publisher";
        let ids: Vec<Vec<u8>> = self.read_rows(sql, params![namespace], |row| row.get(0))?;
        ids.iter().map(|id| self.publisher_id(id)).collect()
    }

    /// Publishers of this home that have a release of a package.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn own_publishers_of(&self, package: &PackageId) -> Result<Vec<PublisherId>, CatalogError> {
        let sql = "SELECT DISTINCT publisher FROM releases
                   WHERE package = ?1 AND publisher IN (SELECT publisher FROM log) ORDER BY publisher";
        let ids: Vec<Vec<u8>> = self.read_rows(sql, params![package.as_str()], |row| row.get(0))?;
        ids.iter().map(|id| self.publisher_id(id)).collect()
    }

    /// Publishers of this home: those with an entry in the log.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn own_publishers(&self) -> Result<Vec<PublisherId>, CatalogError> {
        let ids: Vec<Vec<u8>> =
            self.read_rows("SELECT DISTINCT publisher FROM log ORDER BY publisher", [], |row| row.get(0))?;
        ids.iter().map(|id| self.publisher_id(id)).collect()
    }

    /// Packages of a publisher, ordered by name.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn packages_of(&self, publisher: &PublisherId) -> Result<Vec<PackageId>, CatalogError> {
        let sql = "SELECT package FROM packages WHERE publisher = ?1 ORDER BY package";
        let names: Vec<String> = self.read_rows(sql, params![publisher.to_bytes()], |row| row.get(0))?;
        names.iter().map(|name| name.parse().map_err(|error| self.damaged(error))).collect()
    }

    /// The most recently seen release of a publisher.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn newest_release_of(&self, publisher: &PublisherId) -> Result<Option<Cid>, CatalogError> {
        let sql = "SELECT cid FROM releases WHERE publisher = ?1 ORDER BY seen DESC, rowid DESC LIMIT 1";
        let cids: Vec<Vec<u8>> = self.read_rows(sql, params![publisher.to_bytes()], |row| row.get(0))?;
        cids.first().map(|cid| cid.as_slice().try_into().map_err(|error| self.damaged(error))).transpose()
    }

    /// The stored state of a publisher.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn publisher(&self, publisher: &PublisherId) -> Result<Option<PublisherEntry>, CatalogError> {
        let sql = "SELECT chain, head, refresh, equivocation, first_seen FROM publishers WHERE id = ?1";
        let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        let rows: Vec<PublisherRow> = self.read_rows(sql, [publisher.to_bytes()], columns)?;
        rows.into_iter().next().map(|row| self.publisher_of(publisher, row)).transpose()
    }

    /// Decodes a row, or returns the cached entry if the row is unchanged.
    fn publisher_of(&self, publisher: &PublisherId, row: PublisherRow) -> Result<PublisherEntry, CatalogError> {
        let remembered = || self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, entry)) = remembered().get(publisher).filter(|(known, _)| *known == row) {
            return Ok(entry.clone());
        }
        let entry = self.publisher_entry(&row)?;
        let mut remembered = remembered();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(*publisher, (row, entry.clone()));
        Ok(entry)
    }

    /// All publishers, ordered by id.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn publishers(&self) -> Result<Vec<PublisherId>, CatalogError> {
        let ids: Vec<Vec<u8>> = self.read_rows("SELECT id FROM publishers ORDER BY id", [], |row| row.get(0))?;
        ids.iter().map(|id| self.publisher_id(id)).collect()
    }

    /// Counts of packages, releases and publishers.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn counts(&self) -> Result<CatalogCounts, CatalogError> {
        let sql = "SELECT (SELECT count(*) FROM packages), (SELECT count(*) FROM releases),
                          (SELECT count(*) FROM publishers),
                          (SELECT count(*) FROM packages WHERE publisher IN (SELECT publisher FROM log))";
        let count = |row: &Row<'_>, index| row.get::<_, i64>(index).map(i64::cast_unsigned);
        let counts = |row: &Row<'_>| {
            Ok(CatalogCounts {
                packages: count(row, 0)?,
                releases: count(row, 1)?,
                publishers: count(row, 2)?,
                published: count(row, 3)?,
            })
        };
        self.lock().query_row(sql, [], counts).map_err(self.failed("read"))
    }

    /// All signed records of a publisher, as [`Catalog::rebuild`] takes them.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn records_of(&self, publisher: &PublisherId) -> Result<Option<StoredRecords>, CatalogError> {
        let id = publisher.to_bytes();
        let sql = "SELECT chain, head, refresh FROM publishers WHERE id = ?1";
        let records = self
            .lock()
            .query_row(sql, [&id], |row| {
                let (chain, head, refresh) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(StoredRecords { chain, head, refresh, releases: Vec::new(), log: Vec::new() })
            })
            .optional()
            .map_err(self.failed("read"))?;
        let Some(mut records) = records else { return Ok(None) };
        let sql = "SELECT envelope, yanked FROM releases WHERE publisher = ?1";
        records.releases = self.read_rows(sql, params![id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let sql = "SELECT envelope FROM log WHERE publisher = ?1 ORDER BY seq";
        records.log = self.read_rows(sql, params![id], |row| row.get(0))?;
        Ok(Some(records))
    }

    /// The highest head seen of a publisher, as stored.
    pub(super) fn stored_head(
        &self,
        connection: &Connection,
        publisher: &PublisherId,
    ) -> Result<Option<Signed<Head>>, CatalogError> {
        let sql = "SELECT head FROM publishers WHERE id = ?1";
        let stored: Option<Option<Vec<u8>>> = connection
            .query_row(sql, [publisher.to_bytes()], |row| row.get(0))
            .optional()
            .map_err(self.failed("read"))?;
        stored
            .flatten()
            .map(|bytes| Signed::decode_with(&bytes, &*self.signatures).map_err(|error| self.damaged(error)))
            .transpose()
    }

    /// The refresh of that head, as stored.
    pub(super) fn stored_refresh(
        &self,
        connection: &Connection,
        publisher: &PublisherId,
    ) -> Result<Option<Envelope>, CatalogError> {
        let sql = "SELECT refresh FROM publishers WHERE id = ?1";
        let stored: Option<Option<Vec<u8>>> = connection
            .query_row(sql, [publisher.to_bytes()], |row| row.get(0))
            .optional()
            .map_err(self.failed("read"))?;
        let open = |bytes: Vec<u8>| Envelope::decode(RecordKind::Refresh, &bytes).map_err(|error| self.damaged(error));
        stored.flatten().map(open).transpose()
    }

    fn publisher_entry(&self, row: &PublisherRow) -> Result<PublisherEntry, CatalogError> {
        let (chain, head, refresh, equivocation, first_seen) = row;
        let chain = IdentityChain::decode_with(chain, &*self.signatures).map_err(|error| self.damaged(error))?;
        let open = |kind, bytes: &Vec<u8>| Envelope::decode(kind, bytes).map_err(|error| self.damaged(error));
        let refresh = refresh.as_ref().map(|bytes| open(RecordKind::Refresh, bytes)).transpose()?;
        let head = match head.as_ref().map(|bytes| open(RecordKind::Head, bytes)).transpose()? {
            Some(head) => Some(self.verify_stored(head, refresh, &chain)?),
            None => None,
        };
        let equivocation = equivocation
            .as_ref()
            .map(|bytes| Equivocation::decode(bytes).map_err(|error| self.damaged(error)))
            .transpose()?;
        let first_seen = Timestamp::from_unix(first_seen.cast_unsigned());
        Ok(PublisherEntry { chain, head, equivocation, first_seen })
    }

    /// Checks a stored head under the identity document it names, which later ones may have replaced.
    pub(super) fn verify_stored(
        &self,
        head: Envelope,
        refresh: Option<Envelope>,
        chain: &IdentityChain,
    ) -> Result<VerifiedHead, CatalogError> {
        let identity = Head::from_payload(head.payload()).map_err(|error| self.damaged(error))?.identity;
        let chain = chain.up_to(&identity).ok_or_else(|| self.damaged("a head names an unknown identity document"))?;
        VerifiedHead::verify_with(head, refresh, &chain, Timestamp::MAX, &*self.signatures)
            .map_err(|error| self.damaged(error))
    }

    fn read_releases(&self, sql: &str, params: impl Params) -> Result<Vec<ReleaseEntry>, CatalogError> {
        let rows: Vec<ReleaseRow> =
            self.read_rows(sql, params, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        rows.into_iter().map(|row| self.release_entry(row)).collect()
    }

    /// Reads a stored release.
    pub(super) fn open_stored(&self, envelope: &[u8]) -> Result<Signed<Release>, CatalogError> {
        Signed::decode_with(envelope, &*self.signatures).map_err(|error| self.damaged(error))
    }

    pub(super) fn release_entry(&self, row: ReleaseRow) -> Result<ReleaseEntry, CatalogError> {
        let (envelope, yanked, seen, source) = row;
        let release = self.open_stored(&envelope)?;
        Ok(ReleaseEntry { release, yanked, seen: Timestamp::from_unix(seen.cast_unsigned()), source })
    }

    pub(super) fn read_rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, CatalogError> {
        let connection = self.lock();
        let run = || -> rusqlite::Result<_> { connection.prepare_cached(sql)?.query_map(params, row)?.collect() };
        run().map_err(self.failed("read"))
    }
}
