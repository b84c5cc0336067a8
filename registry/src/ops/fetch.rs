//! Fetch: downloads and verifies a target, and writes it to disk as a tree.

mod destinations;
mod output;

use std::{path::PathBuf, sync::Arc, time::Instant};

use ggen_blockstore::{Arrivals, Cid, DAG_PB, RAW};

pub(crate) use self::destinations::Destinations;
use self::output::{Output, WriteError, Written};
use super::{
    download::Download,
    downloads::Downloads,
    failure,
    recent_sources::Sources,
    retrieval::{Found, Identified, Purpose, Retriever, not_a_tree},
    storage::Storage,
    store_quota::StoreQuota,
};
use crate::{
    ErrorKind, FailedAddress, Failure, FetchRequest, Fetched, Operation, ProviderReport, Reporter, Setting,
    error::hint, identity::PublisherId, interrupt::CommitPoint, trust::KnownBy,
};

/// Maximum number of damaged blocks of the store that one fetch replaces; `verify --repair` has no limit.
const MAX_REPLACED: usize = 64;

/// Releases the threads that wait for blocks when the fetch ends for any reason.
struct Ending(Arrivals);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Fetches targets to disk.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(super) storage: Storage,
    pub(super) downloads: Downloads,
    pub(super) retriever: Retriever,
    pub(super) quota: StoreQuota,
    pub(super) destinations: Arc<Destinations>,
    pub(super) sources: Arc<Sources>,
}

impl Fetch {
    /// Fetches a target and writes it. A new tree is written while it arrives, and moved to its destination once all of
    /// it is verified. Writing ends when `commit` is shut.
    pub(crate) async fn fetch(
        &self,
        request: FetchRequest,
        reporter: Arc<dyn Reporter>,
        commit: CommitPoint,
    ) -> Result<Fetched, Failure> {
        let least = request.min_reputation;
        let fetched = self.fetch_and_write(request, reporter, commit).await;
        self.quota.tidy().await;
        fetched.map_err(|failure| hinted_at_reputation(failure, least))
    }

    async fn fetch_and_write(
        &self,
        request: FetchRequest,
        reporter: Arc<dyn Reporter>,
        commit: CommitPoint,
    ) -> Result<Fetched, Failure> {
        let started = Instant::now();
        let target = failure::target(&request.target)?;
        output::check(&request.to, &target)?;
        let named = output::last_name(&target);
        let arrivals = Arrivals::new(self.storage.store.clone());
        let _ending = Ending(arrivals.clone());
        let mut download = self.downloads.open_into(Arc::new(arrivals.clone()), &request, reporter.clone()).await?;
        let identified = self.retriever.identify(&mut download, target, Purpose::Write, &reporter).await;
        let identified = identified.map_err(|failure| for_want_of_providers(failure, &download))?;
        refuse_other_codec(&identified.found.content)?;
        let limit = self.quota.package_bytes;
        let output = Output::of(&request.to, named, &identified, limit, reporter, commit);
        let output = Arc::new(output);
        let mut written = if output.is_new_tree() && !output.is_small() {
            self.bring_and_stage(&mut download, &identified, &arrivals, &output).await
        } else {
            self.bring_and_write(&mut download, &identified, &arrivals, &output).await
        };
        for _ in 0..MAX_REPLACED {
            match written {
                Err(WriteError::Damaged(cid, _)) if !download.is_offline() => {
                    let store = self.storage.store.clone();
                    self.storage.run(move || store.delete_many(&[cid]).map_err(failure::store)).await?;
                }
                _ => break,
            }
            written = self.bring_and_write(&mut download, &identified, &arrivals, &output).await;
        }
        let written = written.map_err(|error| for_want_of_providers(error.into(), &download))?;
        self.remember_source(&identified.found, &download);
        // The tree is written: a trust file that cannot be written is no reason to report a failed fetch.
        let first_use = self.remember_publisher(&identified.found).await.unwrap_or_else(|failure| {
            let failure = failure.in_one_line();
            tracing::warn!(target: crate::LOG_TARGET, failure, "the publisher is not remembered for its namespace");
            false
        });
        let fetched = report(&identified.found, output.path().to_owned(), written, &download, started);
        Ok(Fetched { first_use, ..fetched })
    }

    /// Writes a tree after all of its blocks have arrived.
    async fn bring_and_write(
        &self,
        download: &mut Download,
        identified: &Identified,
        arrivals: &Arrivals,
        output: &Arc<Output>,
    ) -> Result<Written, WriteError> {
        self.retriever.complete(download, identified).await?;
        arrivals.end();
        let (arrivals, output) = (arrivals.clone(), Arc::clone(output));
        let (store, destinations) = (self.storage.store.clone(), self.destinations.clone());
        let writing = self.storage.blocking.step(move || match output.is_new_tree() {
            true => output.stage(&arrivals)?.commit(&destinations),
            false => output.write(&*store, &destinations),
        });
        writing.await.map_err(failure::failed)?
    }

    /// Writes a new tree next to its destination while it arrives, and moves it there once all of it is verified.
    async fn bring_and_stage(
        &self,
        download: &mut Download,
        identified: &Identified,
        arrivals: &Arrivals,
        output: &Arc<Output>,
    ) -> Result<Written, WriteError> {
        let (arriving, output) = (arrivals.clone(), Arc::clone(output));
        let mut staging = tokio::task::spawn_blocking(move || output.stage(&arriving));
        let joined = |outcome: Result<_, tokio::task::JoinError>| outcome.map_err(failure::failed);
        let completing = self.retriever.complete(download, identified);
        tokio::pin!(completing);
        let staged = tokio::select! {
            completed = &mut completing => {
                arrivals.end();
                let staged = joined(staging.await);
                // An error of the download is the cause of an error in writing: return it first.
                completed?;
                staged??
            }
            staged = &mut staging => {
                let staged = joined(staged)??;
                completing.await?;
                staged
            }
        };
        let destinations = self.destinations.clone();
        self.storage.blocking.step(move || staged.commit(&destinations)).await.map_err(failure::failed)?
    }

    /// Trusts the publisher of a package that was found by its claim alone for the namespace from now on. Returns whether
    /// that is so.
    async fn remember_publisher(&self, found: &Found) -> Result<bool, Failure> {
        if let (Some(KnownBy::Claim), Some(publisher), Some((_, release))) =
            (found.known_by, found.publisher, &found.release)
        {
            return self.retriever.resolver.trust.note_first_use(&release.package, publisher).await;
        }
        Ok(false)
    }

    /// Remembers the peer that sent most of this package for further packages of the publisher, if this package was
    /// looked up in the DHT.
    fn remember_source(&self, found: &Found, download: &Download) {
        let most = download.so_far().sources.iter().max_by_key(|(_, bytes)| **bytes);
        if let (Some(publisher), Some(_), Some((peer, _))) = (found.publisher, &found.release, most)
            && download.was_looked_up()
        {
            self.sources.looked_up(publisher, *peer, Instant::now());
        }
    }
}

/// What is not here was to come from providers of which none can be reached.
fn for_want_of_providers(failure: Failure, download: &Download) -> Failure {
    if failure.kind != ErrorKind::NotFound || !download.is_offline() || download.unreached().is_empty() {
        return failure;
    }
    let unreached = download.unreached();
    let mut causes: Vec<_> = unreached.iter().map(one_line).collect();
    causes.push(format!("without them: {}", failure.in_one_line()));
    let kind = match unreached.iter().all(|failed| failed.kind == ErrorKind::TimedOut) {
        true => ErrorKind::TimedOut,
        false => ErrorKind::Failed,
    };
    let hint = unreached.iter().find_map(|failed| failed.hint.clone()).unwrap_or_else(|| {
        hint!["check that the address ends with `/p2p/<peer id>` and that the node runs, or remove ", Setting::Provider]
    });
    Failure { causes, ..Failure::new(kind, "none of the providers can be reached") }.hinted(hint)
}

fn one_line(FailedAddress { address, reason, .. }: &FailedAddress) -> String {
    format!("{address}: {reason}")
}

/// Fails for a codec that cannot be a file or directory, before the content is fetched.
fn refuse_other_codec(content: &Cid) -> Result<(), Failure> {
    match content.codec() {
        RAW | DAG_PB => Ok(()),
        _ => Err(Failure::new(ErrorKind::Verification, not_a_tree(content))),
    }
}

/// Adds a hint to a timeout if peers were excluded by their reputation.
fn hinted_at_reputation(failure: Failure, least: Option<f64>) -> Failure {
    match (failure.kind, least) {
        (ErrorKind::TimedOut, Some(least)) => failure.hinted(hint![
            format!("peers of a reputation below {least} were not asked: try a lower "),
            Setting::MinReputation,
            "; ",
            Operation::PeerList,
            " shows who has which"
        ]),
        _ => failure,
    }
}

fn report(found: &Found, path: PathBuf, written: Written, download: &Download, started: Instant) -> Fetched {
    let done = download.so_far();
    let mut providers: Vec<_> =
        done.sources.iter().map(|(peer, bytes)| ProviderReport { peer_id: peer.to_string(), bytes: *bytes }).collect();
    providers.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.peer_id.cmp(&b.peer_id)));
    let release = found.release.as_ref().map(|(_, release)| release);
    Fetched {
        cid: found.content.to_string(),
        package: release.map(|release| release.package.to_string()),
        version: release.map(|release| release.version.to_string()),
        publisher: found.publisher.as_ref().map(PublisherId::to_string),
        known_by: found.known_by,
        first_use: false,
        other_claimants: found.other_claimants.iter().map(PublisherId::to_string).collect(),
        yanked: found.yank.is_some(),
        yank_reason: found.yank.as_ref().and_then(|yank| yank.reason.clone()),
        path,
        files: written.exported.files,
        size_bytes: written.exported.size_bytes,
        files_kept: written.files_kept,
        files_removed: written.files_removed,
        overwritten: written.overwritten,
        untracked: written.untracked,
        more_untracked: written.more_untracked,
        unreached: download.unreached().iter().map(one_line).collect(),
        blocks_fetched: done.blocks,
        bytes_fetched: done.bytes,
        blocks_reused: done.reused,
        providers,
        seconds: started.elapsed().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests;
