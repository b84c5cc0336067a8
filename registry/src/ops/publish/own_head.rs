//! Before a step is signed, looks up newer heads that were signed with the same key, on another machine or before a
//! backup was restored. Two steps after one head would be an equivocation, after which peers accept neither.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ggen_blockstore::Cid;
use tokio::time::{Instant, timeout};

use super::Signing;
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, Operation, Reporter,
    error::hint,
    identity::{IdentityChain, Record as _},
    index::{LogAction, LogEntry, VerifiedHead, publisher_key},
    ops::{Operations, failure, resolve::walk},
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

impl Operations {
    /// Looks up the newest head of a key's publisher in the DHT and adds it to the catalog. Finding none in time is not
    /// an error.
    pub(in crate::ops) async fn hear_own_head(&self, key: &str) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let (keys, name) = (self.keys.clone(), key.to_owned());
        let Some(chain) = self.storage.run(move || Ok(keys.chain(&name)?)).await? else { return Ok(()) };
        let lookup = self.claim_lookup();
        let entered = timeout(ENTRANCE, lookup.know_somebody()).await;
        if node.snapshot().await.map_err(failure::stopped)?.connected.is_empty() {
            tracing::debug!(target: crate::LOG_TARGET, ?entered, "no peer to ask for the own head");
            return Ok(());
        }
        let looking = lookup.claims_until(publisher_key(&chain.publisher()), Some(Instant::now() + ANSWERS));
        match timeout(PATIENCE, looking).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => {
                tracing::debug!(target: crate::LOG_TARGET, %failure, "own head not looked for")
            }
            Err(_) => tracing::debug!(target: crate::LOG_TARGET, "own head not found in time"),
        }
        Ok(())
    }

    /// Fails if the history of `head` lacks `last`, the last step that this home has signed.
    pub(super) async fn refuse_second_history(
        self: &Arc<Self>,
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
        self.bring_own_records(head, &last.package, &last.version).await?;
        let mut download = self.downloads().open(&request, reporter).await?;
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
