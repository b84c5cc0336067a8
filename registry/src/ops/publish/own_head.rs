//! Before a step is signed, looks up newer heads that were signed with the same key, on another machine or before a
//! backup was restored. Two steps after one head would be an equivocation, after which peers accept neither.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ggen_blockstore::Cid;
use tokio::time::{Instant, timeout};

use super::{Signing, own_log::OwnLog};
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, Operation, Reporter,
    error::hint,
    identity::{IdentityChain, Record as _},
    index::{LogAction, LogEntry, VerifiedHead, publisher_key},
    keys::KeyStore,
    node::Handle,
    ops::{claim_lookup::ClaimLookup, downloads::Downloads, failure, resolve::walk, storage::Storage},
    package::PackageId,
};

/// Maximum time for responses of the DHT.
const ANSWERS: Duration = Duration::from_secs(5);
/// How long bootstrap nodes may take where no peer is connected: a publish waits for them, and those that have not answered
/// by then rarely do.
const ENTRANCE: Duration = Duration::from_secs(2);
/// How long all of it may take: bootstrap nodes come first.
const PATIENCE: Duration = Duration::from_secs(8);
/// Idle timeout for fetching a part of a catalog.
const CATALOG_PATIENCE: Duration = Duration::from_secs(10);

/// The last step that this home has signed.
pub(super) struct LastStep {
    package: PackageId,
    version: semver::Version,
    release: Cid,
    log_seq: u64,
}

/// Makes sure that this home knows the last step of its publishers before it signs the next one.
#[derive(Clone, Debug)]
pub(crate) struct OwnHead {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) keys: KeyStore,
    /// `None` in offline mode.
    pub(in crate::ops) node: Option<Handle>,
    pub(in crate::ops) lookup: ClaimLookup,
    pub(in crate::ops) downloads: Downloads,
    pub(in crate::ops) log: OwnLog,
}

impl OwnHead {
    /// Looks up the newest head of a key's publisher in the DHT and adds it to the catalog. Finding none in time is not
    /// an error.
    pub(in crate::ops) async fn hear_own_head(&self, key: &str) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let (keys, name) = (self.keys.clone(), key.to_owned());
        let Some(chain) = self.storage.run(move || Ok(keys.chain(&name)?)).await? else { return Ok(()) };
        let entered = timeout(ENTRANCE, self.lookup.wait_for_dht_peers()).await;
        if node.snapshot().await.map_err(failure::stopped)?.connected.is_empty() {
            tracing::debug!(target: crate::LOG_TARGET, ?entered, "no peer to ask for the own head");
            return Ok(());
        }
        let looking = self.lookup.claims_until(publisher_key(&chain.publisher()), Some(Instant::now() + ANSWERS));
        match timeout(PATIENCE, looking).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => {
                tracing::debug!(target: crate::LOG_TARGET, %failure, "own head not looked for")
            }
            Err(_) => tracing::debug!(target: crate::LOG_TARGET, "own head not found in time"),
        }
        Ok(())
    }

    /// Makes sure that a step for this version of a package follows everything that the publisher has signed, as far as
    /// that can be known, and that the store has the records that it needs.
    pub(in crate::ops) async fn catch_up(
        &self,
        signing: &Signing,
        chain: &IdentityChain,
        (package, version): (&PackageId, &semver::Version),
        reporter: Arc<dyn Reporter>,
    ) -> Result<(), Failure> {
        let (head_of, with, own) = (self.clone(), signing.clone(), chain.clone());
        let footing = self.storage.run(move || {
            let Some(head) = head_of.log.head_to_follow(&with, &own)? else { return Ok(None) };
            let last_step = head_of.last_step(&with, &own, &head)?;
            Ok(Some((head, last_step)))
        });
        let Some((head, last_step)) = footing.await? else { return Ok(()) };
        if let Some(last) = last_step {
            self.refuse_second_history(signing, &head, &last, reporter.clone()).await?;
        }
        if self.log.bring_own_records(&head, package, version).await? {
            return Ok(());
        }
        self.log.fetch_own_records(&head, package, version, reporter).await
    }

    /// Fails if the history of `head` lacks `last`, the last step that this home has signed.
    pub(super) async fn refuse_second_history(
        &self,
        signing: &Signing,
        head: &VerifiedHead,
        last: &LastStep,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(), Failure> {
        let request = FetchRequest {
            target: last.package.to_string(),
            to: FetchTo::Path(PathBuf::new()),
            timeout: CATALOG_PATIENCE,
            offline: self.node.is_none(),
            providers: Vec::new(),
            min_reputation: None,
        };
        self.log.bring_own_records(head, &last.package, &last.version).await?;
        let mut download = self.downloads.open(&request, reporter).await?;
        let entries = walk(&mut download, head.head().record().catalog, &last.package).await.map_err(|failure| {
            // The step itself may need none of it; but without it a second history would not be seen.
            let LastStep { package, version, .. } = last;
            let failure = failure.while_doing(format!(
                "cannot look whether `{package}@{version}`, which was signed here last, is in what others have"
            ));
            failure.hinted(hint![
                "connect to a node that has it with ",
                Operation::Bootstrap.on("ADDRESS"),
                ", and try again"
            ])
        })?;
        let is_in_it = entries.iter().any(|entry| *entry.release.cid() == last.release);
        if is_in_it { Ok(()) } else { Err(signed_on_another_machine(&signing.name, head, last)) }
    }

    /// Returns the last step that this home has signed, if `head` is newer.
    pub(super) fn last_step(
        &self,
        signing: &Signing,
        chain: &IdentityChain,
        head: &VerifiedHead,
    ) -> Result<Option<LastStep>, Failure> {
        // A kept head that is damaged or belongs to an earlier identity is ignored.
        let Ok(Some(kept)) = self.keys.head(&signing.name, chain) else { return Ok(None) };
        if kept.order() >= head.order() {
            return Ok(None);
        }
        let record = kept.head().record();
        let Some(payload) = self.storage.store.get(record.log.cid()).map_err(failure::store)? else { return Ok(None) };
        let entry = LogEntry::from_payload(&payload).map_err(failure::verification)?;
        Ok(match entry.action {
            LogAction::Release { package, version, release }
            | LogAction::Yank { package, version, release, .. }
            | LogAction::Unyank { package, version, release } => {
                Some(LastStep { package, version, release: *release.cid(), log_seq: record.log_seq })
            }
            _ => None,
        })
    }
}

fn signed_on_another_machine(key: &str, head: &VerifiedHead, last: &LastStep) -> Failure {
    let LastStep { package, version, log_seq, .. } = last;
    let theirs = head.order().log_seq;
    let message = format!(
        "the key `{key}` has signed two histories: one of {theirs} steps, which others have, lacks `{package}@{version}`, step \
         {log_seq} of this home"
    );
    Failure::new(ErrorKind::Verification, message).hinted(format!(
        "publish with this key on the other machine alone; to go on here from what others have, remove `keys/{key}.head` from the \
         home and publish `{package}` again under a version that is not taken"
    ))
}

#[cfg(test)]
mod tests;
