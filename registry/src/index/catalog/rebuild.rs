//! Building a catalog from signed records.

use std::path::Path;

use crate::{
    database,
    identity::{Envelope, IdentityChain, RecordKind, Signed, Timestamp},
    index::{
        Catalog, CatalogError, LogEntry,
        catalog::{
            intake::{Intake, Standing as ChainStanding},
            quota::Standing,
        },
    },
    package::Release,
};

/// All signed records of one publisher, as a catalog stores them and from which another catalog can be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecords {
    /// The identity chain, encoded.
    pub chain: Vec<u8>,
    /// Envelope of the highest head, encoded.
    pub head: Option<Vec<u8>>,
    /// Envelope of its refresh, encoded.
    pub refresh: Option<Vec<u8>>,
    /// Envelopes of the releases, encoded, and whether each is yanked.
    pub releases: Vec<(Vec<u8>, bool)>,
    /// Envelopes of the log entries, encoded, oldest first, as far back as they are stored; only for publishers of this
    /// home. The head's CID verifies the last entry, and each entry's `prev` verifies the one before it.
    pub log: Vec<Vec<u8>>,
}

impl Catalog {
    /// Moves the file at `path` aside, if it exists, and creates a catalog from signed records. Records that do not
    /// verify are skipped; their number is returned.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn rebuild(
        path: &Path,
        records: impl IntoIterator<Item = StoredRecords>,
        now: Timestamp,
    ) -> Result<(Self, u64), CatalogError> {
        move_aside(path)?;
        let catalog = Self::open(path)?;
        // The marker is removed only now, so that a rebuild that fails is tried again.
        drop(std::fs::remove_file(super::note_of_damage(path)));
        let mut refused = 0;
        for records in records {
            refused += catalog.in_transaction(now, |intake| intake.take_stored(&records))?;
        }
        Ok((catalog, refused))
    }

    /// Adds the signed records of one publisher to a catalog that has lost them or is behind the publisher's own head.
    /// Returns how many did not verify.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is changed then.
    pub fn restore(&self, records: &StoredRecords, now: Timestamp) -> Result<u64, CatalogError> {
        self.in_transaction(now, |intake| intake.take_stored(records))
    }
}

impl Intake<'_> {
    /// Adds stored records. They were accepted before, so any document of the chain may authorise a release.
    fn take_stored(&self, records: &StoredRecords) -> Result<u64, CatalogError> {
        let Ok(chain) = IdentityChain::decode(&records.chain) else { return Ok(1 + records.releases.len() as u64) };
        if !matches!(self.take_chain(&chain)?, ChainStanding::Current) {
            return Ok(1);
        }
        let mut refused = self.take_stored_head(records, &chain)?;
        for (envelope, yanked) in &records.releases {
            match Signed::<Release>::decode(envelope) {
                Ok(release)
                    if release.record().publisher == chain.publisher()
                        && chain.authorise_historically(&release).is_ok() =>
                {
                    self.take_release(&release, *yanked, "rebuild")?;
                }
                _ => refused += 1,
            }
        }
        Ok(refused)
    }

    /// Adds the head and the log that it names.
    fn take_stored_head(&self, records: &StoredRecords, chain: &IdentityChain) -> Result<u64, CatalogError> {
        let Some(head) = &records.head else { return Ok(records.log.len() as u64) };
        let refresh = records.refresh.as_ref().map(|bytes| Envelope::decode(RecordKind::Refresh, bytes)).transpose();
        let head = Envelope::decode(RecordKind::Head, head).and_then(|head| Ok((head, refresh?)));
        let head = match head.map(|(head, refresh)| self.catalog.verify_stored(head, refresh, chain)) {
            Ok(Ok(head)) => head,
            _ => return Ok(1 + records.log.len() as u64),
        };
        self.take_head(chain, &head)?;
        let mut expected = Some(head.head().record().log);
        let mut taken = 0;
        for bytes in records.log.iter().rev() {
            let Ok(entry) = Signed::<LogEntry>::decode(bytes) else { break };
            if expected.is_none_or(|expected| expected.cid() != entry.cid()) {
                break;
            }
            self.take_log_entry(&entry)?;
            expected = entry.record().prev;
            taken += 1;
        }
        if taken > 0 {
            self.raise_standing(&chain.publisher(), Standing::Own)?;
        }
        Ok(records.log.len() as u64 - taken)
    }
}

/// Renames a damaged file out of the way.
fn move_aside(path: &Path) -> Result<(), CatalogError> {
    if path.exists() {
        database::set_aside(path)?;
    }
    Ok(())
}
