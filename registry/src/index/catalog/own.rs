//! Records published from this home.

use rusqlite::params;

use crate::{
    identity::{IdentityChain, PublisherId, Signed, Timestamp},
    index::{
        Acceptance, Catalog, CatalogError, LogAction, LogEntry, Publication, VersionEntry,
        catalog::{intake::Intake, quota::Standing},
    },
};

impl Catalog {
    /// Stores what this home has signed in one publication: log entry, head and release. Call it after the blocks are
    /// stored and before anything is announced.
    ///
    /// # Errors
    /// [`CatalogError`] if the database fails; nothing is changed then.
    pub fn record_publication(
        &self,
        chain: &IdentityChain,
        publication: &Publication,
        now: Timestamp,
    ) -> Result<Acceptance, CatalogError> {
        self.in_transaction(now, |intake| {
            let accepted = intake.take_chain_and_head(chain, &publication.head)?;
            if let Acceptance::Refused(refusal) = accepted {
                return Ok(Acceptance::Refused(refusal));
            }
            intake.take_log_entry(&publication.log)?;
            intake.raise_standing(&chain.publisher(), Standing::Own)?;
            let outcome = match &publication.release {
                Some(release) => intake.take_release(release, false, "publish")?,
                None => accepted,
            };
            intake.follow_log(chain, publication)?;
            Ok(outcome)
        })
    }

    /// The log entries of a publisher of this home, oldest first, from `seq` on, at most `limit`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn log(&self, publisher: &PublisherId, seq: u64, limit: usize) -> Result<Vec<Signed<LogEntry>>, CatalogError> {
        let connection = self.lock();
        let run = || -> rusqlite::Result<Vec<Vec<u8>>> {
            let sql = "SELECT envelope FROM log WHERE publisher = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
            let params = params![publisher.to_bytes(), seq.cast_signed(), limit.cast_signed() as i64];
            connection.prepare_cached(sql)?.query_map(params, |row| row.get(0))?.collect()
        };
        let envelopes = run().map_err(self.failed("read"))?;
        envelopes.iter().map(|bytes| Signed::decode(bytes).map_err(|error| self.damaged(error))).collect()
    }
}

impl Intake<'_> {
    /// Stores a log entry that a verified head names, directly or through later entries.
    pub(super) fn take_log_entry(&self, entry: &Signed<LogEntry>) -> Result<(), CatalogError> {
        let record = entry.record();
        let sql = "INSERT OR REPLACE INTO log (publisher, seq, cid, envelope) VALUES (?1, ?2, ?3, ?4)";
        let (publisher, cid) = (record.publisher.to_bytes(), entry.cid().to_bytes());
        self.write(sql, params![publisher, record.seq.cast_signed(), cid, entry.encode()?])?;
        Ok(())
    }

    /// Applies a log entry to the releases.
    fn follow_log(&self, chain: &IdentityChain, publication: &Publication) -> Result<(), CatalogError> {
        let (package, version, release, yanked) = match &publication.log.record().action {
            LogAction::Yank { package, version, release, .. } => (package, version, release, true),
            LogAction::Unyank { package, version, release } => (package, version, release, false),
            LogAction::Release { .. } | LogAction::Advisory { .. } | LogAction::Rotation { .. } => return Ok(()),
        };
        self.set_proven(&chain.publisher(), package, publication.head.order(), None)?;
        let (version, reason, signatures) = (version.clone(), None, Vec::new());
        let flag = VersionEntry { version, release: *release, yanked, reason, signatures };
        self.take_flags(&chain.publisher(), package, &[flag])
    }
}
