//! The stages for a target: the steps of a fetch, up to the first one that fails.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ggen_blockstore::{Cid, DAG_CBOR};
use libp2p::PeerId;

use super::{count, join, stage_of};
use crate::{
    ErrorKind, Failure, Hint, Operation, Reporter, Setting, Stage,
    error::hint,
    identity::{Afresh, Record},
    index::{PublisherEntry, VersionEntry, check_clock},
    manifest::ManifestReader,
    node::{DialFailed, Handle},
    ops::{
        claim_lookup::Answers,
        clock,
        download::{Download, DownloadError, DownloadLimits},
        downloads::Downloads,
        failure,
        manifest_parts::{check_manifest, part},
        publisher_id::refuse_identity,
        resolve::{Resolver, Wanted, check_release, choose},
        retrieval::Retriever,
        storage::Storage,
    },
    package::{PackageId, Release, Target},
};

/// Maximum bytes of a package fetched to check that its blocks are available. Of a larger package, an evenly spread
/// sample of blocks is fetched.
const PROBE_BYTES: u64 = 64 << 20;

/// How long a connected provider may take to say whether it has the content.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What a target resolved to.
struct Subject {
    content: Cid,
    /// The CID of the release record, and the record, whose signature is not checked yet.
    release: Option<(Cid, Release)>,
    /// What the signature is checked against; `None` if the target is a CID.
    claimed: Option<Claimed>,
}

/// The publisher of a record, and the record as its catalog lists it.
struct Claimed {
    publisher: PublisherEntry,
    package: PackageId,
    entry: VersionEntry,
    payload: bytes::Bytes,
}

/// Which blocks were checked. Each was hashed on arrival.
enum LookedAt {
    /// All blocks of the manifest.
    All(Arc<ManifestReader>),
    /// All blocks below the content root; there is no manifest.
    Walked,
    /// A sample of `blocks` out of `of`.
    Sample { blocks: u64, of: u64 },
    /// The blocks within the first `bytes` bytes.
    Beginning { bytes: u64 },
}

/// The stages so far; `Err` ends them.
type Progress<T> = Result<T, Stage>;

/// Checks a target.
#[derive(Clone, Debug)]
pub(in crate::ops) struct TargetCheck {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) downloads: Downloads,
    pub(in crate::ops) resolver: Resolver,
    pub(in crate::ops) retriever: Retriever,
}

impl TargetCheck {
    /// Checks a target; without `node`, only in this home. If a stage fails, it is the last one. Without `node`, data
    /// that this home lacks is reported as unknown, not as a failure.
    pub(super) async fn check(
        &self,
        node: Option<&Handle>,
        target: Target,
        timeout: Duration,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Vec<Stage>, Failure> {
        let mut stages = Vec::new();
        let limits = DownloadLimits { idle_timeout: timeout, max_bytes: u64::MAX, least_reputation: 0.0 };
        let mut download = match node {
            Some(_) => self.downloads.online(limits, reporter).await?,
            None => self.downloads.offline(limits, reporter),
        };
        if let Err(failed) = self.walk_stages(node, target, timeout, &mut download, &mut stages).await {
            stages.push(if node.is_some() { failed } else { not_here(failed) });
        }
        Ok(stages)
    }

    async fn walk_stages(
        &self,
        node: Option<&Handle>,
        target: Target,
        timeout: Duration,
        download: &mut Download,
        stages: &mut Vec<Stage>,
    ) -> Progress<()> {
        let subject = match target {
            Target::Package { publisher, package, requirement } => {
                let meaning = self
                    .resolver
                    .trust
                    .meaning(publisher, &package)
                    .await
                    .map_err(|failure| stage_of("name", failure))?;
                let wanted = Wanted { meaning, package: &package, requirement: &requirement, yanked_too: false };
                self.check_name(download, &wanted, stages).await?
            }
            Target::Content { cid, .. } => {
                stages.push(Stage::fine("name", "not needed for a CID"));
                check_cid(download, cid, stages).await?
            }
            Target::Ipns { .. } => {
                return Err(stage_of("name", failure::usage("names under /ipns/ cannot be resolved by this version")));
            }
        };
        if let Some(node) = node {
            self.check_providers(node, &subject, timeout, download, stages).await?;
        }
        let looked_at = self.check_blocks(&subject, download, stages).await?;
        stages.push(self.check_truth(subject, looked_at).await?);
        Ok(())
    }

    /// Resolves a name to its publisher and the release record.
    async fn check_name(
        &self,
        download: &mut Download,
        wanted: &Wanted<'_>,
        stages: &mut Vec<Stage>,
    ) -> Progress<Subject> {
        let at_name = |failure| stage_of("name", failure);
        let answers = match download.is_offline() {
            true => Answers::default(),
            false => self
                .resolver
                .lookup
                .ask_the_dht(wanted.meaning.publisher.as_ref(), wanted.package, download.patience())
                .await
                .map_err(at_name)?,
        };
        let claimant = self.resolver.claimant(wanted, &answers, download.is_offline()).await;
        if let (Err(Failure { kind: ErrorKind::NotFound | ErrorKind::TimedOut, .. }), [_, ..]) =
            (&claimant, &answers.refused.reasons[..])
        {
            // Something is there, and it is a lie.
            stages.push(Stage::fine("name", "it is claimed"));
            let hint = answers.refused.hint();
            let reasons = join(answers.refused.reasons.into_iter());
            let detail = format!("what is recorded under the name does not hold: {reasons}");
            return Err(Stage::failed("verify", ErrorKind::Verification, detail).hinted(hint));
        }
        let publisher = claimant.map_err(at_name)?;
        let id = publisher.chain.publisher();
        stages.push(Stage::fine("name", format!("claimed by {id}")));
        check_signing_time(&publisher)?;
        let claim = answers.claims.into_iter().filter(|claim| claim.publisher() == id);
        let claim = claim.max_by_key(|claim| claim.head().order());
        let at_record = |failure| stage_of("record", failure);
        let versions =
            self.resolver.versions(download, &publisher, claim.as_ref(), wanted.package).await.map_err(at_record)?;
        let hearing = answers.hearing;
        let entry = choose(&versions, wanted).map_err(|failure| at_record(hearing.beside(failure)))?.clone();
        let cid = *entry.release.cid();
        download.search_under(&cid);
        let payload = download.block(cid).await.map_err(|error| at_record(failure::download(&cid, error)))?;
        let release = Release::from_payload(&payload).map_err(|error| at_record(failure::verification(error)))?;
        stages.push(Stage::fine("record", format!("version {}, release {cid}", entry.version)));
        let claimed = Claimed { publisher, package: wanted.package.clone(), entry, payload };
        Ok(Subject { content: release.content, release: Some((cid, release)), claimed: Some(claimed) })
    }

    /// Checks whether there are providers, and whether they can be dialled.
    async fn check_providers(
        &self,
        node: &Handle,
        subject: &Subject,
        timeout: Duration,
        download: &mut Download,
        stages: &mut Vec<Stage>,
    ) -> Progress<()> {
        let keys = [Some(subject.content), subject.release.as_ref().map(|(cid, _)| *cid)];
        let mut tried = providers(node, keys.into_iter().flatten(), timeout)
            .await
            .map_err(|stopped| stage_of("providers", failure::stopped(stopped)))?;
        note_silent(node, &mut tried, subject.content).await;
        if tried.is_empty() {
            // A connected peer may have it without a record in the DHT, and so may this node.
            download.block(subject.content).await.map_err(|error| no_provider(&subject.content, error))?;
            stages.push(Stage::fine("providers", "no provider is recorded, but a connected peer or this node has it"));
            stages.push(Stage::fine("dial", "no provider needs to be dialled"));
            return Ok(());
        }
        let reached = tried.values().filter(|outcome| outcome.is_ok()).count();
        stages.push(Stage::fine("providers", join(tried.keys().map(ToString::to_string))));
        let reasons =
            tried.iter().filter_map(|(peer, outcome)| outcome.as_ref().err().map(|failed| format!("{peer}: {failed}")));
        let reasons = join(reasons);
        let detail = format!("{reached} of {} providers reached", tried.len());
        let detail = if reasons.is_empty() { detail } else { format!("{detail}; {reasons}") };
        // A fetch still works if another connected peer has the content.
        if reached == 0 && download.block(subject.content).await.is_err() {
            return Err(Stage::failed("dial", ErrorKind::Failed, detail).hinted(hint![
                "they are gone, or behind a NAT: try again later, or name a peer that has it: ",
                Operation::Fetch.on("TARGET").with(Setting::Provider.to("ADDRESS"))
            ]));
        }
        stages.push(Stage::fine("dial", detail));
        Ok(())
    }

    /// Checks whether the blocks are available. Returns which of them were checked.
    async fn check_blocks(
        &self,
        subject: &Subject,
        download: &mut Download,
        stages: &mut Vec<Stage>,
    ) -> Progress<LookedAt> {
        download.search_under(&subject.content);
        let Some((_, release)) = &subject.release else {
            download.limit_bytes(PROBE_BYTES);
            return match download.dag(subject.content).await {
                Ok(()) => {
                    stages.push(Stage::fine("blocks", "all are available"));
                    Ok(LookedAt::Walked)
                }
                Err(DownloadError::OverLimit { limit }) => {
                    stages.push(Stage::fine("blocks", format!("the first {limit} bytes are available")));
                    Ok(LookedAt::Beginning { bytes: limit })
                }
                Err(error) => Err(missing(&subject.content, error, None)),
            };
        };
        let manifest =
            self.retriever.manifest(download, release, false).await.map_err(|failure| stage_of("blocks", failure))?;
        let manifest = Arc::new(manifest);
        let stride = manifest.content_bytes().div_ceil(PROBE_BYTES).max(1);
        let (store, reader) = (self.storage.store.clone(), Arc::clone(&manifest));
        let mut seen = 0_u64;
        let lists = (0..manifest.chunks().len()).map(move |index| {
            let entries = part(&*store, &reader, index)?;
            let sample = entries.into_iter().filter(|_| {
                seen += 1;
                (seen - 1).is_multiple_of(stride)
            });
            Ok(sample.map(|entry| (entry.cid, Some(u64::from(entry.size))).into()).collect())
        });
        let blocks = manifest.entries();
        let sample = blocks.div_ceil(stride);
        let looked_at = (stride > 1).then_some((sample, blocks));
        download.lists(lists).await.map_err(|error| missing(&subject.content, error, looked_at))?;
        if stride > 1 {
            stages.push(Stage::fine("blocks", format!("{sample} of {blocks}, spread evenly, are available")));
            return Ok(LookedAt::Sample { blocks: sample, of: blocks });
        }
        stages.push(Stage::fine("blocks", format!("all {blocks} are available")));
        Ok(LookedAt::All(manifest))
    }

    /// Checks the manifest, and the signature of the release.
    async fn check_truth(&self, subject: Subject, looked_at: LookedAt) -> Progress<Stage> {
        let mut found = vec![hashed(&looked_at)];
        let at_verify = |failure: Failure| {
            let hinted = failure.hint.is_some();
            let stage = stage_of("verify", failure);
            if hinted { stage } else { stage.hinted("do not use it, and report it to its publisher") }
        };
        if let LookedAt::All(manifest) = looked_at {
            let (store, content) = (self.storage.store.clone(), subject.content);
            let checked = self.storage.run(move || check_manifest(&*store, content, &manifest)).await;
            checked.map_err(at_verify)?;
            found.push("the manifest matches the content".to_owned());
        }
        match subject.claimed {
            Some(Claimed { publisher, package, entry, payload }) => {
                check_release(&publisher.chain, &package, &entry, &payload, &Afresh).map_err(at_verify)?;
                found.push(format!("signed by {}", publisher.chain.publisher()));
            }
            None => found.push("a CID has no signature: name the package to have its publisher checked".to_owned()),
        }
        Ok(Stage::fine("verify", found.join("; ")))
    }
}

/// Fails if peers with a correct clock reject the publisher's newest head. This home may have accepted it while its own
/// clock was wrong.
fn check_signing_time(publisher: &PublisherEntry) -> Progress<()> {
    let Some(error) = publisher.head.as_ref().and_then(|head| check_clock(head, clock::now()).err()) else {
        return Ok(());
    };
    let detail = format!("other peers refuse what this publisher says, and find no claim: {error}");
    Err(Stage::failed("record", ErrorKind::Verification, detail).hinted(hint![
        "set this machine's clock; if it is right and was not when that was signed, sign again as the publisher: \
         publish the next version, or yank one, with ",
        Setting::TrustClock
    ]))
}

/// Describes which blocks were found to match their hashes.
fn hashed(looked_at: &LookedAt) -> String {
    match looked_at {
        LookedAt::All(_) | LookedAt::Walked => "every block matches its hash".to_owned(),
        LookedAt::Sample { blocks, of } => {
            format!("{blocks} of {of} blocks checked, and they match their hashes; a fetch checks them all")
        }
        LookedAt::Beginning { bytes } => {
            format!("the blocks of the first {bytes} bytes match their hashes; a fetch checks them all")
        }
    }
}

/// Determines whether a CID is a release or content.
async fn check_cid(download: &mut Download, cid: Cid, stages: &mut Vec<Stage>) -> Progress<Subject> {
    download.search_under(&cid);
    if cid.codec() != DAG_CBOR {
        stages.push(Stage::fine("record", "content needs no record"));
        return Ok(Subject { content: cid, release: None, claimed: None });
    }
    let payload = download.block(cid).await.map_err(|error| match error {
        error @ (DownloadError::TimedOut(_) | DownloadError::NoPeerConnected { .. }) => no_provider(&cid, error),
        error => stage_of("record", failure::download(&cid, error)),
    })?;
    refuse_identity(&cid, &payload)
        .map_err(|failure| Stage { kind: Some(ErrorKind::Verification), ..stage_of("record", failure) })?;
    let release = Release::from_payload(&payload).map_err(|error| {
        let failure = Failure::from_error(ErrorKind::Verification, &error);
        stage_of("record", failure.while_doing(format!("{cid} is neither a release nor a file or directory")))
    })?;
    stages.push(Stage::fine("record", format!("a release of {} {}", release.package, release.version)));
    Ok(Subject { content: release.content, release: Some((cid, release)), claimed: None })
}

/// Returns the recorded providers of `cids`, with the outcomes of dialling them.
async fn providers(
    node: &Handle,
    cids: impl Iterator<Item = Cid>,
    timeout: Duration,
) -> Result<BTreeMap<PeerId, Result<(), DialFailed>>, crate::node::Stopped> {
    let mut found = BTreeMap::new();
    for cid in cids {
        let mut tried = node.try_providers(cid.hash().to_bytes()).await?;
        let all = async {
            while let Some(tried) = tried.recv().await {
                // Both DHTs may return the same peer, and two dials may end differently. A success counts.
                let known = found.entry(tried.peer).or_insert_with(|| tried.outcome.clone());
                if tried.outcome.is_ok() {
                    *known = Ok(());
                }
            }
        };
        if tokio::time::timeout(timeout, all).await.is_err() {
            tracing::debug!(target: crate::LOG_TARGET, %cid, "the providers take too long");
        }
    }
    Ok(found)
}

/// Marks the providers that are connected and do not answer, as one whose process is stopped.
async fn note_silent(node: &Handle, tried: &mut BTreeMap<PeerId, Result<(), DialFailed>>, content: Cid) {
    let reached: Vec<_> = tried.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(peer, _)| *peer).collect();
    let ask = |peer| async move {
        // Whether it has the content is seen later.
        let answer = tokio::time::timeout(ANSWERS_WITHIN, node.has_all(peer, vec![content])).await;
        answer.is_err().then_some(peer)
    };
    for peer in futures::future::join_all(reached.into_iter().map(ask)).await.into_iter().flatten() {
        tried.insert(peer, Err(DialFailed::for_reason("it is connected and does not answer")));
    }
}

/// Turns a failure into an unknown stage if this home lacks data and no peer could be queried for it.
fn not_here(failed: Stage) -> Stage {
    match failed.kind {
        Some(ErrorKind::NotFound | ErrorKind::TimedOut) => {
            Stage { ok: None, kind: None, hint: Some(not_here_hint(failed.hint.as_ref())), ..failed }
        }
        _ => failed,
    }
}

/// Keeps the suggestion of a similar known name in the hint.
fn not_here_hint(hint: Option<&Hint>) -> Hint {
    let near = hint.map_or("", Hint::first_text);
    let is_alternative = near.starts_with("did you mean") && near.ends_with("Otherwise ");
    let near = if is_alternative { near } else { "" };
    hint![near, "no peer could be asked: fix the problems above, then run the same command again"]
}

fn no_provider(cid: &Cid, error: DownloadError) -> Stage {
    match error {
        DownloadError::TimedOut(absence) => {
            let peers = count(absence.peers_asked as u64, "connected peer");
            let detail = match absence.silent {
                0 => format!("no provider of {cid} is recorded, and it is not on any of {peers}"),
                silent => format!("no provider of {cid} is recorded, and {silent} of {peers} did not answer"),
            };
            if absence.is_nowhere() && !absence.denied.is_empty() {
                return Stage::failed("providers", ErrorKind::TimedOut, detail).hinted(absence.hint());
            }
            Stage::failed("providers", ErrorKind::TimedOut, detail).hinted(hint![
                "its publisher may be gone: ask for a peer that has it and ",
                Operation::Fetch.on("TARGET").with(Setting::Provider.to("ADDRESS")),
                ", or try again in a minute if it is new"
            ])
        }
        error => stage_of("providers", failure::download(cid, error)),
    }
}

/// Blocks that did not arrive; `looked_at`: of a sample of so many blocks, out of so many.
fn missing(cid: &Cid, error: DownloadError, looked_at: Option<(u64, u64)>) -> Stage {
    let what = |missing: usize| match looked_at {
        Some((sample, of)) => format!("{missing} of the {sample} blocks looked at, out of {of} of {cid},"),
        None => format!("{} of {cid}", count(missing as u64, "block")),
    };
    match error {
        DownloadError::Offline { missing } if looked_at.is_some() => {
            let detail = format!("at least {} missing from this store", what(missing));
            Stage::failed("blocks", ErrorKind::NotFound, detail)
        }
        DownloadError::TimedOut(absence) => {
            let (missing, peers) = (what(absence.missing), count(absence.peers_asked as u64, "peer"));
            if absence.silent > 0 {
                let detail = format!("{missing} did not arrive: {} of {peers} did not answer", absence.silent);
                return Stage::failed("blocks", ErrorKind::TimedOut, detail).hinted(hint![
                    "a peer that does not answer may be stopped or cut off: try again later, or name another peer \
                     with ",
                    Operation::Fetch.on("TARGET").with(Setting::Provider.to("ADDRESS"))
                ]);
            }
            let detail = format!("{missing} missing on all of {peers}");
            if !absence.denied.is_empty() {
                return Stage::failed("blocks", ErrorKind::TimedOut, detail).hinted(absence.hint());
            }
            Stage::failed("blocks", ErrorKind::TimedOut, detail).hinted(hint![
                "the peers hold it in part: ask its publisher to start a node again, or name another peer with ",
                Operation::Fetch.on("TARGET").with(Setting::Provider.to("ADDRESS"))
            ])
        }
        error => stage_of("blocks", failure::download(cid, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::download::Absence;

    #[test]
    fn missing_blocks_are_counted_against_what_was_looked_at_and_silent_peers_do_not_hold_it_in_part() {
        let absence = Absence { missing: 40, peers_asked: 3, ..Absence::default() };
        let timed_out = |absence: &Absence| DownloadError::TimedOut(Box::new(absence.clone()));
        let cid = Cid::default();
        let sample = missing(&cid, timed_out(&absence), Some((103, 1030)));
        assert!(sample.detail.starts_with("40 of the 103 blocks looked at, out of 1030 of "), "{}", sample.detail);
        let silent = missing(&cid, timed_out(&Absence { silent: 3, ..absence }), None);
        assert!(silent.detail.ends_with("did not arrive: 3 of 3 peers did not answer"), "{}", silent.detail);
        assert!(!silent.hint.unwrap().to_string().contains("in part"));
        let offline = missing(&cid, DownloadError::Offline { missing: 40 }, Some((103, 1030)));
        assert!(
            offline.detail.starts_with("at least 40 of the 103 blocks looked at, out of 1030"),
            "{}",
            offline.detail
        );
    }

    #[test]
    fn a_sample_is_not_said_to_be_all() {
        for looked_at in [LookedAt::Sample { blocks: 3, of: 10 }, LookedAt::Beginning { bytes: 64 }] {
            let text = hashed(&looked_at);
            assert!(!text.contains("every") && text.contains("a fetch checks them all"), "{text}");
        }
        assert!(hashed(&LookedAt::Sample { blocks: 3, of: 10 }).starts_with("3 of 10 blocks checked"));
    }
}
