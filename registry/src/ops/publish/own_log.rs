//! The log that a step goes on from: one's own, which has to be here up to its end before anything is signed on top of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ggen_blockstore::Cid;
use semver::Version;

use super::Signing;
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, RecoveryKeyReport, RecoveryKeyRequest, RecoveryNotice, Reporter,
    identity::{IdentityChain, Timestamp},
    index::{HeadOrder, TreeError, VerifiedHead, VersionEntry, Walk, check_clock},
    keys::DEFAULT_KEY,
    ops::{Operations, clock, failure, resolve::walk},
    package::PackageId,
};

/// How long records of one's own are waited for when nothing new comes.
const PATIENCE: Duration = Duration::from_secs(30);

impl Operations {
    /// The head that a new step follows; none before the first. Refused is a step that others could not take: after a
    /// head of a later time than now, and after one that is not the last that was signed here.
    pub(in crate::ops) fn head_to_follow(
        &self,
        signing: &Signing,
        chain: &IdentityChain,
        now: Timestamp,
    ) -> Result<Option<VerifiedHead>, Failure> {
        let known = self.catalog.publisher(&chain.publisher()).map_err(failure::catalog)?.and_then(|known| known.head);
        match (self.keys.head(&signing.name, chain), &known) {
            (Ok(Some(kept)), known) if known.as_ref().is_none_or(|known| known.order() < kept.order()) => {
                return Err(not_all_here(&signing.name, kept.order()));
            }
            // Where nothing tells what was signed last, a first head could be a second history.
            (Err(error), None) => return Err(error.into()),
            _ => {}
        }
        if let Some(head) = known.as_ref().filter(|_| !signing.trust_clock) {
            check_clock(head, now).map_err(|error| {
                let failure = Failure::from_error(ErrorKind::Failed, &error);
                failure.while_doing(format!("the key `{}` signs nothing now", signing.name)).hinted(
                    "set this machine's clock, or wait until then; if this clock is right and was not when that head was \
                     signed, give the same command `--trust-clock`: what follows counts by its number, not by its time",
                )
            })?;
        }
        Ok(known)
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
        let head = failure::blocking(move || operations.head_to_follow(&with, &own, clock::now())).await?;
        let Some(head) = head else { return Ok(()) };
        self.refuse_second_history(signing, chain, &head, reporter.clone()).await?;
        self.bring_own_records(&head, package, version, reporter).await
    }

    /// Fetches what is missing here of one's own records on a package: a head that came from others, after a backup was
    /// restored, comes without the catalog that it stands for. `version` is one whose record is needed as well.
    async fn bring_own_records(
        self: &Arc<Self>,
        head: &VerifiedHead,
        package: &PackageId,
        version: &Version,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(), Failure> {
        let (operations, name, root) = (Arc::clone(self), package.clone(), head.head().record().catalog);
        let wanted = version.clone();
        let is_here = failure::blocking(move || {
            let found = match Walk::new(&root, &name).run(|cid| operations.store.get(cid)) {
                Ok(found) => found,
                Err(TreeError::Missing { .. }) => return Ok(false),
                Err(error) => return Err(failure::failed(error)),
            };
            for cid in needed(&found.entries, &wanted) {
                if !operations.store.has(&cid).map_err(failure::store)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        if is_here.await? {
            return Ok(());
        }
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
        let entries = walk(&mut download, root, package).await.map_err(failed)?;
        for cid in needed(&entries, version) {
            download.block(cid).await.map_err(|error| failed(failure::download(&cid, error)))?;
        }
        Ok(())
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

/// The records that a step needs besides the catalog's: of the version that it is about, and of the one that speaks for
/// the package.
fn needed(entries: &[VersionEntry], version: &Version) -> Vec<Cid> {
    let same = entries.iter().find(|entry| entry.version == *version);
    same.into_iter().chain(VersionEntry::newest(entries)).map(|entry| *entry.release.cid()).collect()
}

fn not_all_here(name: &str, order: HeadOrder) -> Failure {
    let message = format!(
        "what `{name}` has published last (entry {} of its log) is not all here: to go on from less would be a second history",
        order.log_seq
    );
    Failure::new(ErrorKind::Failed, message)
        .hinted("`ggen marketplace p2p verify --repair` fetches what is missing; then run the same command again")
}
