//! Checks that this home has its publisher's log up to the last entry before it signs the next one. Otherwise it would
//! equivocate, that is, sign a second history.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ggen_blockstore::Cid;
use semver::Version;
use tokio::time::{Instant, timeout};

use super::Signing;
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, Operation, RecoveryKeyReport, RecoveryKeyRequest, RecoveryNotice,
    Reporter, Setting,
    error::hint,
    identity::{IdentityChain, PublisherId, Timestamp},
    index::{CatalogError, VerifiedHead, VersionEntry, check_clock, qualified_key},
    keys::{DEFAULT_KEY, KeyStore, KeyStoreError},
    node::Handle,
    ops::{
        blocking_thread::Blocking,
        claim_lookup::ClaimLookup,
        downloads::Downloads,
        failure,
        own_records::{OwnRecords, SignedHere, is_record, lost},
        resolve::walk,
        storage::Storage,
    },
    package::PackageId,
};

/// How long a fetch of the publisher's own records waits without new data.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long answers of the DHT are waited for.
const ANSWERS: Duration = Duration::from_secs(5);
/// How long asking for a claim of one's own may take.
const CLAIM_PATIENCE: Duration = Duration::from_secs(8);

/// The log of this home's publishers: how far it is known, and its records.
#[derive(Clone, Debug)]
pub(crate) struct OwnLog {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) keys: KeyStore,
    /// `None` in offline mode.
    pub(in crate::ops) node: Option<Handle>,
    pub(in crate::ops) lookup: ClaimLookup,
    pub(in crate::ops) downloads: Downloads,
}

impl OwnLog {
    /// Returns the head that a new step follows; `None` before the first step.
    ///
    /// # Errors
    /// The known head is not the last one that this home has signed, as far as its data shows: a step would begin a
    /// second history. Or the publisher is known to have equivocated.
    pub(in crate::ops) fn head_to_follow(
        &self,
        signing: &Signing,
        chain: &IdentityChain,
    ) -> Result<Option<VerifiedHead>, Failure> {
        let known = self.storage.catalog.publisher(&chain.publisher()).map_err(failure::catalog)?;
        if known.as_ref().is_some_and(|known| known.equivocation.is_some()) {
            let message = format!("the key `{}` has signed two histories: others accept neither", signing.name);
            return Err(Failure::new(ErrorKind::Verification, message).hinted(hint![
                "publish with a new key, ",
                Setting::Key.to("NAME"),
                ", and with each key from one machine alone"
            ]));
        }
        let known = known.and_then(|known| known.head);
        match (self.keys.head(&signing.name, chain), &known) {
            (Ok(Some(kept)), known) if known.as_ref().is_none_or(|known| known.order() < kept.order()) => {
                return Err(not_all_here(&signing.name, kept.order().log_seq));
            }
            // Without any record of the last head, a first head could begin a second history.
            (Err(error), None) => return Err(error.into()),
            (Err(error @ KeyStoreError::OtherHead { .. }), Some(_)) => return Err(error.into()),
            _ => {}
        }
        self.refuse_shorter_log(&signing.name, &chain.publisher(), known.as_ref())?;
        Ok(known)
    }

    /// Fails if records in the store belong to a longer log than that of `head`. A head that is pinned is the last one,
    /// because its successor removes the pin.
    fn refuse_shorter_log(
        &self,
        name: &str,
        publisher: &PublisherId,
        head: Option<&VerifiedHead>,
    ) -> Result<(), Failure> {
        if head.is_some_and(|head| is_record(&*self.storage.store, head.head().cid())) {
            return Ok(());
        }
        let signed = SignedHere::of(&*self.storage.store, publisher);
        if signed.log_seq > head.map_or(0, |head| head.order().log_seq) {
            return Err(not_all_here(name, signed.log_seq));
        }
        let has_published = || -> Result<bool, CatalogError> {
            let has_log = !self.storage.catalog.log(publisher, 0, 1)?.is_empty();
            let has_release = self.storage.catalog.newest_release_of(publisher)?.is_some();
            let is_only_publisher = self.storage.catalog.own_publishers()?.is_empty();
            Ok(has_log || has_release || (signed.has_unreadable && is_only_publisher))
        };
        match head.is_none() && has_published().map_err(failure::catalog)? {
            true => Err(not_here(format!("`{name}` has published before, and its last head is not in this home"))),
            false => Ok(()),
        }
    }

    /// Whether the publisher's own records on a package are here, or come with the claim on it.
    pub(super) async fn bring_own_records(
        &self,
        head: &VerifiedHead,
        package: &PackageId,
        version: &Version,
    ) -> Result<bool, Failure> {
        let (log, of) = (self.clone(), head.clone());
        let (name, wanted) = (package.clone(), version.clone());
        let is_here = self.storage.run(move || log.has_own_records(&of, &name, &wanted)).await?;
        if is_here { Ok(true) } else { self.hear_own_records(head, package, version).await }
    }

    /// Asks the DHT for the claim on a package of one's own, which comes with the records that it rests on: peers keep claims
    /// of packages whose blocks they have not. Returns whether what is needed is here then.
    async fn hear_own_records(
        &self,
        head: &VerifiedHead,
        package: &PackageId,
        version: &Version,
    ) -> Result<bool, Failure> {
        if self.node.is_none() {
            return Ok(false);
        }
        let key = qualified_key(&head.head().record().publisher, package);
        let asking = self.lookup.claims_until(key, Some(Instant::now() + ANSWERS));
        if let Ok(Err(failure)) = timeout(CLAIM_PATIENCE, asking).await {
            tracing::debug!(target: crate::LOG_TARGET, %failure, "own claim not looked for");
        }
        let (log, head) = (self.clone(), head.clone());
        let (package, version) = (package.clone(), version.clone());
        self.storage.run(move || log.has_own_records(&head, &package, &version)).await
    }

    /// Returns whether the store has the publisher's own records on a package, including the record of `version`. Lost
    /// ones are rebuilt from other data of this home, if possible.
    fn has_own_records(&self, head: &VerifiedHead, package: &PackageId, version: &Version) -> Result<bool, Failure> {
        let record = head.head().record();
        let look = || lost(&*self.storage.store, &record.catalog, package, |entries| needed(entries, version));
        let mut lost = look()?;
        if lost.is_some() && OwnRecords::of(&self.storage).put_back_of(&record.publisher)? > 0 {
            lost = look()?;
        }
        // A damaged block would count as present.
        if let Some(cid) = lost {
            self.storage.store.delete_many(&[cid]).map_err(failure::store)?;
        }
        Ok(lost.is_none())
    }

    /// Fetches the publisher's own records on a package. They are missing when a backup was restored and peers then
    /// sent a newer head, which arrives without its catalog tree.
    pub(super) async fn fetch_own_records(
        &self,
        head: &VerifiedHead,
        package: &PackageId,
        version: &Version,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(), Failure> {
        let request = FetchRequest {
            target: package.to_string(),
            to: FetchTo::Path(PathBuf::new()),
            timeout: PATIENCE,
            offline: self.node.is_none(),
            providers: Vec::new(),
            min_reputation: None,
        };
        let mut download = self.downloads.open(&request, reporter).await?;
        let failed = |failure: Failure| {
            let order = head.order();
            let failure = failure.while_doing(format!(
                "what was published last (entry {} of the log) is not all here, and cannot be fetched",
                order.log_seq
            ));
            failure.hinted(hint![
                "connect to a node that has it with ",
                Operation::Bootstrap.on("ADDRESS"),
                ", and try again"
            ])
        };
        let root = head.head().record().catalog;
        let entries = walk(&mut download, root, package).await.map_err(failed)?;
        for cid in needed(&entries, version) {
            download.block(cid).await.map_err(|error| failed(failure::download(&cid, error)))?;
        }
        Ok(())
    }
}

/// Fails if the former head is dated later than now, because peers would reject the next one.
pub(crate) fn check_signing_clock(
    signing: &Signing,
    head: Option<&VerifiedHead>,
    now: Timestamp,
) -> Result<(), Failure> {
    let Some(head) = head.filter(|_| !signing.trust_clock) else { return Ok(()) };
    check_clock(head, now).map_err(|error| {
        let failure = Failure::from_error(ErrorKind::Failed, &error);
        failure.while_doing(format!("the key `{}` signs nothing now", signing.name)).hinted(hint![
            "set this machine's clock, or wait until then; if this clock is right and was not when that head was \
             signed, give the same command ",
            Setting::TrustClock,
            ": what follows counts by its number, not by its time"
        ])
    })
}

/// Returns a notice if there is a recovery key that the user has not saved yet.
pub(super) fn recovery_notice(keys: &KeyStore, name: &str, is_new: bool) -> Option<RecoveryNotice> {
    let file = keys.recovery_file(name).ok().flatten()?;
    Some(RecoveryNotice { key: name.to_owned(), file, is_new })
}

/// Returns a recovery key, or removes it if the request confirms that it is saved elsewhere.
pub(crate) async fn recovery_key(keys: &KeyStore, request: RecoveryKeyRequest) -> Result<RecoveryKeyReport, Failure> {
    let keys = keys.clone();
    let key = request.key.unwrap_or_else(|| DEFAULT_KEY.to_owned());
    Blocking::Pool
        .run(move || {
            if request.confirm {
                let file = keys.confirm_recovery(&key)?;
                return Ok(RecoveryKeyReport { key, file, pem: None, confirmed: true });
            }
            let pem = Some(keys.recovery(&key)?.to_pem());
            let file = keys.recovery_file(&key)?.unwrap_or_default();
            Ok(RecoveryKeyReport { key, file, pem, confirmed: false })
        })
        .await
}

/// Returns the release records that a step needs: of its own version, and of the newest version of the package.
fn needed(entries: &[VersionEntry], version: &Version) -> Vec<Cid> {
    let same = entries.iter().find(|entry| entry.version == *version);
    same.into_iter().chain(VersionEntry::newest(entries)).map(|entry| *entry.release.cid()).collect()
}

fn not_all_here(name: &str, log_seq: u64) -> Failure {
    not_here(format!("what `{name}` has published last (entry {log_seq} of its log) is not all here"))
}

fn not_here(what: String) -> Failure {
    let message = format!("{what}: to go on from less would be a second history");
    Failure::new(ErrorKind::Failed, message).hinted(hint![
        Operation::Verify.with(Setting::Repair),
        " fetches what is missing from peers that have it, then run the same command again; where no peer has it, put \
         a backup of this home back that does"
    ])
}
