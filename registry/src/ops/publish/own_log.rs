//! The log that a step goes on from: one's own, which has to be here up to its end before anything is signed on top of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ggen_blockstore::{Block, Blockstore, Cid, Error};
use semver::Version;

use super::Signing;
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, RecoveryKeyReport, RecoveryKeyRequest, RecoveryNotice, Reporter,
    identity::{IdentityChain, PublisherId, RecordCid, Timestamp},
    index::{CatalogError, VerifiedHead, VersionEntry, Walk, check_clock},
    keys::{DEFAULT_KEY, KeyStoreError},
    ops::{
        Operations, failure,
        own_records::{OwnRecords, SignedHere, is_record},
        resolve::walk,
    },
    package::PackageId,
};

/// How long records of one's own are waited for when nothing new comes.
const PATIENCE: Duration = Duration::from_secs(30);

impl Operations {
    /// The head that a new step follows; none before the first. Refused is a step after one that is not the last that was
    /// signed here, as far as this home shows: it would begin a second history. So is one where two histories are known.
    pub(in crate::ops) fn head_to_follow(
        &self,
        signing: &Signing,
        chain: &IdentityChain,
    ) -> Result<Option<VerifiedHead>, Failure> {
        let known = self.catalog.publisher(&chain.publisher()).map_err(failure::catalog)?;
        if known.as_ref().is_some_and(|known| known.equivocation.is_some()) {
            let message = format!("the key `{}` has signed two histories: others accept neither", signing.name);
            return Err(Failure::new(ErrorKind::Verification, message)
                .hinted("publish with a new key, `--key NAME`, and with each key from one machine alone"));
        }
        let known = known.and_then(|known| known.head);
        match (self.keys.head(&signing.name, chain), &known) {
            (Ok(Some(kept)), known) if known.as_ref().is_none_or(|known| known.order() < kept.order()) => {
                return Err(not_all_here(&signing.name, kept.order().log_seq));
            }
            // Where nothing tells what was signed last, a first head could be a second history.
            (Err(error), None) => return Err(error.into()),
            (Err(error @ KeyStoreError::OtherHead { .. }), Some(_)) => return Err(error.into()),
            _ => {}
        }
        self.refuse_shorter_log(&signing.name, &chain.publisher(), known.as_ref())?;
        Ok(known)
    }

    /// Refuses to go on from `head` if records in the store are of a longer log. A head that the store has pinned is the
    /// last one: the next takes the pin away.
    fn refuse_shorter_log(
        &self,
        name: &str,
        publisher: &PublisherId,
        head: Option<&VerifiedHead>,
    ) -> Result<(), Failure> {
        if head.is_some_and(|head| is_record(&*self.store, head.head().cid())) {
            return Ok(());
        }
        let signed = SignedHere::of(&*self.store, publisher);
        if signed.log_seq > head.map_or(0, |head| head.order().log_seq) {
            return Err(not_all_here(name, signed.log_seq));
        }
        let has_published = || -> Result<bool, CatalogError> {
            let has_log = !self.catalog.log(publisher, 0, 1)?.is_empty();
            let has_release = self.catalog.newest_release_of(publisher)?.is_some();
            let is_only_publisher = self.catalog.own_publishers()?.is_empty();
            Ok(has_log || has_release || (signed.has_unreadable && is_only_publisher))
        };
        match head.is_none() && has_published().map_err(failure::catalog)? {
            true => Err(not_here(format!("`{name}` has published before, and its last head is not in this home"))),
            false => Ok(()),
        }
    }

    /// Refuses a step that others could not take: after a head of a later time than now.
    pub(in crate::ops) fn check_clock(
        &self,
        signing: &Signing,
        head: Option<&VerifiedHead>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(head) = head.filter(|_| !signing.trust_clock) else { return Ok(()) };
        check_clock(head, now).map_err(|error| {
            let failure = Failure::from_error(ErrorKind::Failed, &error);
            failure.while_doing(format!("the key `{}` signs nothing now", signing.name)).hinted(
                "set this machine's clock, or wait until then; if this clock is right and was not when that head was \
                 signed, give the same command `--trust-clock`: what follows counts by its number, not by its time",
            )
        })
    }

    /// Makes sure that a step about this version of a package goes on from all that the publisher signed, as far as it can be
    /// known, and that the records which it needs of that are here.
    pub(in crate::ops) async fn catch_up(
        self: &Arc<Self>,
        signing: &Signing,
        chain: &IdentityChain,
        (package, version): (&PackageId, &Version),
        reporter: Arc<dyn Reporter>,
    ) -> Result<(), Failure> {
        let (operations, with, own) = (Arc::clone(self), signing.clone(), chain.clone());
        let (name, wanted) = (package.clone(), version.clone());
        let footing = failure::blocking(move || {
            let Some(head) = operations.head_to_follow(&with, &own)? else { return Ok(None) };
            let last_step = operations.last_step(&with, &own, &head)?;
            let is_here = operations.has_own_records(&head, &name, &wanted)?;
            Ok(Some((head, last_step, is_here)))
        });
        let Some((head, last_step, is_here)) = footing.await? else { return Ok(()) };
        if let Some(last) = last_step {
            self.refuse_second_history(signing, &head, &last, reporter.clone()).await?;
        }
        match is_here {
            true => Ok(()),
            false => self.fetch_own_records(&head, package, version, reporter).await,
        }
    }

    /// Whether the publisher's own records on a package are here. Lost ones are made again, from what else this home has.
    /// `version` is one whose record is needed as well.
    fn has_own_records(&self, head: &VerifiedHead, package: &PackageId, version: &Version) -> Result<bool, Failure> {
        let record = head.head().record();
        let look = || lost(&*self.store, &record.catalog, package, |entries| needed(entries, version));
        let mut lost = look()?;
        if lost.is_some() && self.remake_own_records(&record.publisher)? > 0 {
            lost = look()?;
        }
        // A damaged block would be taken for one that is here.
        if let Some(cid) = lost {
            self.store.delete_many(&[cid]).map_err(failure::store)?;
        }
        Ok(lost.is_none())
    }

    /// Fetches the publisher's own records on a package: a head that came from peers, after a backup was restored, comes
    /// without the catalog that it names.
    async fn fetch_own_records(
        self: &Arc<Self>,
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
        let mut download = self.download(&request, reporter).await?;
        let failed = |failure: Failure| {
            let order = head.order();
            let failure = failure.while_doing(format!(
                "what was published last (entry {} of the log) is not all here, and cannot be fetched",
                order.log_seq
            ));
            failure.hinted("connect to a node that has it with `ggen marketplace p2p bootstrap ADDRESS`, and try again")
        };
        let root = head.head().record().catalog;
        let entries = walk(&mut download, root, package).await.map_err(failed)?;
        for cid in needed(&entries, version) {
            download.block(cid).await.map_err(|error| failed(failure::download(&cid, error)))?;
        }
        Ok(())
    }

    /// Makes lost records on a package again if its publisher is of this home: no peer need be asked for them.
    pub(in crate::ops) async fn mend_own_path(&self, head: &VerifiedHead, package: &PackageId) -> Result<(), Failure> {
        let (store, catalog, package) = (self.store.clone(), self.catalog.clone(), package.clone());
        let (publisher, root) = (head.head().record().publisher, head.head().record().catalog);
        failure::blocking(move || {
            if catalog.log(&publisher, 0, 1).map_err(failure::catalog)?.is_empty() {
                return Ok(());
            }
            let all = |entries: &[VersionEntry]| entries.iter().map(|entry| *entry.release.cid()).collect();
            if lost(&*store, &root, &package, all)?.is_some() {
                OwnRecords { store: &*store, catalog: &catalog, signing: None }.put_back_of(&publisher)?;
            }
            Ok(())
        })
        .await
    }

    /// Says that a recovery key waits to be saved, if one does.
    pub(super) fn recovery_notice(&self, name: &str, is_new: bool) -> Option<RecoveryNotice> {
        let file = self.keys.recovery_file(name).ok().flatten()?;
        Some(RecoveryNotice { key: name.to_owned(), file, is_new })
    }

    /// Shows a recovery key, or removes it once it is saved elsewhere.
    pub(crate) async fn recovery_key(&self, request: RecoveryKeyRequest) -> Result<RecoveryKeyReport, Failure> {
        let keys = self.keys.clone();
        let key = request.key.unwrap_or_else(|| DEFAULT_KEY.to_owned());
        failure::blocking(move || {
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
}

/// The records that a step needs besides the catalog's: of the version that it is about, and of the one that stands for
/// the package.
fn needed(entries: &[VersionEntry], version: &Version) -> Vec<Cid> {
    let same = entries.iter().find(|entry| entry.version == *version);
    same.into_iter().chain(VersionEntry::newest(entries)).map(|entry| *entry.release.cid()).collect()
}

/// The first block that is missing or damaged on the way to a package, or of the records that are `needed` of its versions.
fn lost(
    store: &dyn Blockstore,
    root: &RecordCid,
    package: &PackageId,
    needed: impl Fn(&[VersionEntry]) -> Vec<Cid>,
) -> Result<Option<Cid>, Failure> {
    let mut walk = Walk::new(root, package);
    while let Some(cid) = walk.wants() {
        let Some(data) = sound(store, &cid)? else { return Ok(Some(cid)) };
        walk.supply(&Block::verify(cid, data).map_err(failure::store)?).map_err(failure::verification)?;
    }
    let found = walk.finish().map_err(failure::verification)?;
    for cid in needed(&found.entries) {
        if sound(store, &cid)?.is_none() {
            return Ok(Some(cid));
        }
    }
    Ok(None)
}

fn sound(store: &dyn Blockstore, cid: &Cid) -> Result<Option<bytes::Bytes>, Failure> {
    match store.get(cid) {
        Err(Error::Corrupt { .. }) => Ok(None),
        read => read.map_err(failure::store),
    }
}

fn not_all_here(name: &str, log_seq: u64) -> Failure {
    not_here(format!("what `{name}` has published last (entry {log_seq} of its log) is not all here"))
}

fn not_here(what: String) -> Failure {
    let message = format!("{what}: to go on from less would be a second history");
    Failure::new(ErrorKind::Failed, message).hinted(
        "`ggen marketplace p2p verify --repair` fetches what is missing from peers that have it, then run the same command \
         again; where no peer has it, put a backup of this home back that does",
    )
}
