//! Resolves a name to a release: determines its publisher and the version, and verifies both.
//!
//! Claims are read from the DHT and from the catalog. Each is verified before it is used, and the catalog keeps the
//! highest head of every publisher. The publisher's catalog tree lists the versions, and the selected release carries
//! the publisher's signature.

mod choose;
mod subject;
mod unclaimed;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Cid};
use libp2p::PeerId;

pub(super) use self::{choose::choose, subject::subject_of, unclaimed::Hearing};
use super::{
    Operations, clock,
    download::{Download, Subject},
    failure,
    own_records::mend_own_path,
    peers::{is_lie, provision},
    recent_sources::Heard,
    trust::Meaning,
};
use crate::{
    BootstrapRequest, ErrorKind, Failure, Fault, Operation, Progress, Reporter,
    error::hint,
    identity::{Checks, Envelope, IdentityChain, PublisherId, RecordError, Signed},
    index::{
        Claim, ClaimError, ClaimQuestion, ClaimSet, HeadError, PublisherEntry, VerifiedHead, VersionEntry, Walk,
        package_key, qualified_key,
    },
    node::{FindingRecord, FoundRecord, Protocol},
    package::{PackageId, Release, Requirement},
};

/// A name, as the user typed it.
pub(super) struct Wanted<'a> {
    /// The publisher to which the search is limited: the one in the name, or the one that the name means to this home.
    pub(super) meaning: Meaning,
    pub(super) package: &'a PackageId,
    pub(super) requirement: &'a Requirement,
    /// Whether the newest matching version is accepted if all matching versions are yanked: to show or keep it, not to
    /// use it.
    pub(super) yanked_too: bool,
}

/// The yank of a version.
#[derive(Clone, Debug)]
pub(super) struct Yank {
    pub(super) reason: Option<String>,
}

impl Yank {
    fn of(entry: &VersionEntry) -> Option<Self> {
        entry.yanked.then(|| Self { reason: entry.reason.clone() })
    }
}

/// The publisher of a name, and its versions.
pub(super) struct Located {
    pub(super) publisher: PublisherEntry,
    /// Lowest first.
    pub(super) versions: Vec<VersionEntry>,
    /// Invalid claims that were found under the name.
    pub(super) refused: RefusedClaims,
    pub(super) hearing: Hearing,
}

/// The release that a name and a requirement select.
pub(super) struct Resolved {
    pub(super) release: Signed<Release>,
    pub(super) yank: Option<Yank>,
    /// Other publishers that are known to claim the name, with a version that is not yanked.
    pub(super) other_claimants: Vec<PublisherId>,
}

impl Operations {
    /// Returns the release that a name and a requirement select.
    pub(super) async fn resolve(
        &self,
        download: &mut Download,
        wanted: &Wanted<'_>,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Resolved, Failure> {
        let Located { publisher, versions, refused, hearing } = self.locate(download, wanted, reporter).await?;
        let chosen = choose(&versions, wanted).map_err(|failure| hearing.beside(refused.beside(failure)))?;
        let signed = publisher.head.as_ref().map(VerifiedHead::issued);
        download.name(subject_of(&publisher.chain.publisher(), wanted.package, &chosen.version, signed));
        download.search_under(chosen.release.cid());
        download.compare_with(nearest(&versions, chosen));
        let release = self.release_of(download, &publisher.chain, wanted.package, chosen).await?;
        // Follow the publishers whose packages this home uses.
        let id = publisher.chain.publisher();
        self.with_catalog(move |catalog| catalog.follow(&id, clock::now())).await?;
        let claimants = self.claimants(wanted.package, &[]).await?;
        let mut other_claimants = self.trust().contenders(wanted.package, claimants, &[]).await?;
        other_claimants.retain(|publisher| *publisher != id);
        Ok(Resolved { release, yank: Yank::of(chosen), other_claimants })
    }

    /// Returns the yank of the release with this CID, as far as this home knows.
    pub(super) async fn known_yank(&self, release: Cid) -> Result<Option<Yank>, Failure> {
        let known = self.with_catalog(move |catalog| match catalog.release(&release)? {
            Some(known) if known.yanked => {
                let record = known.release.into_record();
                let head = catalog.publisher(&record.publisher)?.and_then(|publisher| publisher.head);
                let claim = catalog.claim_with_yanks(&record.publisher, &record.package)?;
                Ok(Some((record, head, claim)))
            }
            _ => Ok(None),
        });
        let Some((record, head, claim)) = known.await? else { return Ok(None) };
        let store = self.store.clone();
        failure::blocking(move || {
            // The catalog tree may be incomplete in the store. A missing or damaged node hides only the reason, and the
            // claim that proved the yank may contain it.
            let tree = head.map(|head| Walk::new(&head.head().record().catalog, &record.package));
            let found = tree.and_then(|walk| walk.run(|cid| store.get(cid)).ok());
            let mut entries = found.map(|found| found.entries).unwrap_or_default();
            entries.extend(claim.iter().flat_map(|claim| claim.versions().iter().cloned()));
            let yanked = entries.into_iter().find(|entry| entry.yanked && *entry.release.cid() == release);
            Ok(Some(Yank { reason: yanked.and_then(|entry| entry.reason) }))
        })
        .await
    }

    /// Returns the publisher of a name, and its versions.
    pub(super) async fn locate(
        &self,
        download: &mut Download,
        wanted: &Wanted<'_>,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Located, Failure> {
        reporter.report(Progress::Finding { peers_asked: download.peers_asked() as u64 });
        let answers = self.claims_on(download, wanted).await?;
        let claimant = self.claimant(wanted, &answers, download.is_offline()).await;
        let Answers { claims, refused, hearing, .. } = answers;
        let publisher = claimant.map_err(|failure| refused.instead_of(failure, wanted.package))?;
        let id = publisher.chain.publisher();
        let claim = claims.into_iter().filter(|claim| claim.publisher() == id).max_by_key(|claim| claim.head().order());
        if let Some(entry) = claim.as_ref().and_then(Claim::entry) {
            // Providers of the release are likely to have the publisher's records too.
            download.search_under(entry.release.cid());
        }
        let name = match proven(&publisher, claim.as_ref()) {
            Some(_) => wanted.package.to_string(),
            // The publisher's records have to be fetched first, which may fail.
            None => Box::pin(self.newest_known(id, wanted)).await?,
        };
        let signed = publisher.head.as_ref().map(VerifiedHead::issued);
        download.name(Subject { name, provision: Some(provision(&id, wanted.package)), signed });
        let versions = self.versions(download, &publisher, claim.as_ref(), wanted.package).await?;
        Ok(Located { publisher, versions, refused, hearing })
    }

    /// Returns the name with the newest matching version in the local catalog. It is for messages only, because the
    /// publisher may have a newer one.
    async fn newest_known(&self, publisher: PublisherId, wanted: &Wanted<'_>) -> Result<String, Failure> {
        let (package, requirement) = (wanted.package.clone(), wanted.requirement.clone());
        self.with_catalog(move |catalog| {
            let releases = catalog.releases(&package)?;
            let records = releases.iter().map(|entry| entry.release.record());
            let theirs = records.filter(|record| record.publisher == publisher);
            let newest = requirement.newest(theirs, |record| &record.version);
            Ok(newest.map_or_else(|| package.to_string(), |record| format!("{package}@{}", record.version)))
        })
        .await
    }

    /// Looks up the claims on a name. Peers that sent invalid claims are recorded.
    pub(super) async fn claims_on(&self, download: &mut Download, wanted: &Wanted<'_>) -> Result<Answers, Failure> {
        if download.is_offline() {
            return Ok(Answers::default());
        }
        // A name without a publisher may have other claimants, which only the DHT knows.
        if let Some(publisher) = wanted.meaning.publisher
            && let Some(claim) = self.claim_of(download, publisher, wanted).await?
        {
            return Ok(Answers { claims: vec![claim], ..Answers::default() });
        }
        download.on_lookup();
        let mut answers = self.ask_the_dht(wanted, download.patience()).await?;
        answers.liars.drain(..).for_each(|liar| download.blame(liar, Fault::InvalidRecord));
        Ok(answers)
    }

    /// Returns the newest claim of a publisher that is available without the DHT. It is either the response of a
    /// remembered peer or the last announced claim, whichever has the newer head. `None` if it has no matching version.
    async fn claim_of(
        &self,
        download: &mut Download,
        publisher: PublisherId,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Claim>, Failure> {
        let now = Instant::now();
        let asked = self.claim_of_source(download, publisher, wanted.package, now).await?;
        let heard = self.sources.heard_of(&publisher, wanted.package, now);
        let claim = match heard.filter(|heard| heard.is_newer_than(asked.as_ref())) {
            Some(Heard { claim, peer, .. }) => {
                download.ask_first(peer).await.map_err(failure::stopped)?;
                self.keep(vec![claim.clone()]).await?;
                Some(claim)
            }
            None => asked,
        };
        Ok(claim.filter(|claim| choose(claim.versions(), wanted).is_ok()))
    }

    /// Requests the claim from the peer that recently served the publisher's records, if there is one.
    async fn claim_of_source(
        &self,
        download: &mut Download,
        publisher: PublisherId,
        package: &PackageId,
        now: Instant,
    ) -> Result<Option<Claim>, Failure> {
        let Some(peer) = self.sources.of(&publisher, now) else { return Ok(None) };
        download.ask_first(peer).await.map_err(failure::stopped)?;
        let claim = self.ask_source(download, peer, publisher, package).await?;
        if claim.is_none() {
            self.sources.forget(&publisher);
        }
        Ok(claim)
    }

    /// Requests a claim from a peer that recently served records of the publisher. On `None`, the caller uses the DHT.
    async fn ask_source(
        &self,
        download: &mut Download,
        peer: PeerId,
        publisher: PublisherId,
        package: &PackageId,
    ) -> Result<Option<Claim>, Failure> {
        let Some(node) = &self.node else { return Ok(None) };
        let question = ClaimQuestion::new(&self.config.packages_topic, publisher, package.clone());
        let question = question.encode().map_err(failure::failed)?;
        let answer = tokio::time::timeout(SOURCE_PATIENCE, node.ask(peer, Protocol::Claim, question)).await;
        let answer = match answer {
            Ok(Ok(answer)) if !answer.is_empty() => answer,
            _ => return Ok(None),
        };
        let signatures = Arc::clone(self.catalog.signatures());
        let verified = failure::blocking(move || Ok(Claim::verify_with(&answer, clock::now(), &*signatures))).await?;
        match verified {
            Ok(claim) if claim.publisher() == publisher && claim.package() == Some(package) => {
                self.keep(vec![claim.clone()]).await?;
                Ok(Some(claim))
            }
            Ok(_) => {
                download.blame(peer, Fault::InvalidRecord);
                Ok(None)
            }
            Err(error) => {
                if is_lie(&error) {
                    download.blame(peer, Fault::InvalidRecord);
                }
                Ok(None)
            }
        }
    }

    /// Waits for the bootstrap nodes if the ggen routing table is empty, because a node that has just started may not
    /// have reached them yet. Otherwise a lookup would fail without having queried a peer.
    pub(super) async fn know_somebody(&self) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let nodes: Vec<_> = self.config.bootstrap_nodes.iter().map(ToString::to_string).collect();
        if !nodes.is_empty() && node.snapshot().await.map_err(failure::stopped)?.ggen_routing_peers == 0 {
            let timeout = self.config.timeouts.dial();
            // The node itself retries those that cannot be reached.
            let report = self.bootstrap(BootstrapRequest { nodes, timeout }).await?;
            if self.config.rendezvous && report.routing_table_peers == 0 && !report.connected.is_empty() {
                // Plain IPFS nodes do not serve the ggen DHT. The rendezvous through them finds nodes that do.
                let _nobody_came = tokio::time::timeout(timeout, node.acquainted()).await;
            }
        }
        Ok(())
    }

    /// Looks the name up on the DHT, keeps what is true of the answers that come in time, and returns it.
    pub(super) async fn ask_the_dht(&self, wanted: &Wanted<'_>, within: Duration) -> Result<Answers, Failure> {
        let key = match &wanted.meaning.publisher {
            Some(publisher) => qualified_key(publisher, wanted.package),
            None => package_key(wanted.package),
        };
        let answers = self.claims_until(key, Some(tokio::time::Instant::from(clock::after(within)))).await?;
        Ok(match answers.hearing {
            Hearing::Unfinished(_) => Answers { hearing: Hearing::Unfinished(within), ..answers },
            _ => answers,
        })
    }

    /// Looks up a key of claims in the DHT, keeps the valid claims, and returns them.
    pub(super) async fn claims_under(&self, key: Vec<u8>) -> Result<Answers, Failure> {
        self.claims_until(key, None).await
    }

    /// As [`Self::claims_under`], with the responses that arrive until `until`.
    pub(super) async fn claims_until(
        &self,
        key: Vec<u8>,
        until: Option<tokio::time::Instant>,
    ) -> Result<Answers, Failure> {
        let Some(node) = &self.node else { return Ok(Answers::default()) };
        let begun = tokio::time::Instant::now();
        match until {
            Some(until) => tokio::time::timeout_at(until, self.know_somebody()).await.unwrap_or(Ok(()))?,
            None => self.know_somebody().await?,
        }
        let mut set = ClaimSet::new(&key);
        let mut values = node.find_record(key.clone()).await.map_err(failure::stopped)?;
        let mut seen = HashMap::new();
        let (mut refused, mut liars) = (RefusedClaims::default(), Vec::new());
        let next = async |values: &mut FindingRecord| match until {
            Some(until) => tokio::time::timeout_at(until, values.recv()).await.ok().flatten(),
            None => values.recv().await,
        };
        while let Some(FoundRecord { value, from }) = next(&mut values).await {
            // Most peers give the same answer.
            let lie = match seen.get(&value) {
                Some(lie) => *lie,
                None => {
                    let (key, answer) = (key.clone(), value.clone());
                    let signatures = Arc::clone(self.catalog.signatures());
                    let merging = failure::blocking(move || Ok(merge_valid(set, &key, &answer, &*signatures)));
                    let (merged, error) = merging.await?;
                    set = merged;
                    let lie = error.as_ref().is_some_and(is_lie);
                    error.iter().for_each(|error| refused.add(error));
                    seen.insert(value, lie);
                    lie
                }
            };
            if lie {
                liars.extend(from.filter(|_| liars.len() < MAX_REFUSED));
            }
        }
        let claims: Vec<Claim> = set.claims().cloned().collect();
        self.keep(claims.clone()).await?;
        let hearing = match node.snapshot().await.map_err(failure::stopped)?.connected.is_empty() {
            // That no peer is connected is said where it matters.
            true => Hearing::Heard,
            false => Hearing::of(values.walked(), begun.elapsed()),
        };
        Ok(Answers { claims, refused, liars, hearing })
    }

    /// Adds claims to the catalog, and stores their releases and proof blocks as cache, so that the next lookup of the
    /// package needs no peer for its records.
    async fn keep(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        let (catalog, store, news) = (Arc::clone(&self.catalog), self.store.clone(), self.news.clone());
        failure::blocking(move || {
            let proofs = claims.iter().filter_map(|claim| claim.entry()?.found.as_ref()).flat_map(|found| &found.proof);
            let blocks: Result<Vec<_>, _> = proofs.map(|data| Block::dag_cbor(data.clone())).collect();
            let mut blocks = blocks.map_err(failure::store)?;
            for release in claims.iter().filter_map(|claim| Some(&claim.entry()?.release)) {
                blocks.push(release.envelope().block().map_err(failure::failed)?);
            }
            store.put_many(&blocks).map_err(failure::store)?;
            let accepted = catalog
                .accept_claims(claims.iter().map(|claim| (claim, "dht")), clock::now())
                .map_err(failure::failed)?;
            claims.iter().zip(&accepted).for_each(|(claim, accepted)| news.tell(claim, accepted));
            Ok(())
        })
        .await
    }

    /// Returns all claimants of a name, in the catalog or among `claims`.
    pub(super) async fn claimants(&self, package: &PackageId, claims: &[Claim]) -> Result<Vec<PublisherId>, Failure> {
        let package = package.clone();
        let mut publishers = self.with_catalog(move |catalog| catalog.publishers_of(&package)).await?;
        for claim in claims.iter().map(Claim::publisher) {
            if !publishers.contains(&claim) {
                publishers.push(claim);
            }
        }
        Ok(publishers)
    }

    /// Returns the publisher of a name: the one in `wanted`, or the only claimant. `offline` states that no peer was
    /// queried, for the message of an error.
    pub(super) async fn claimant(
        &self,
        wanted: &Wanted<'_>,
        answers: &Answers,
        offline: bool,
    ) -> Result<PublisherEntry, Failure> {
        let mut publishers = self.claimants(wanted.package, &answers.claims).await?;
        let package = wanted.package;
        match &wanted.meaning.publisher {
            Some(meant) => publishers.retain(|publisher| publisher == meant),
            None => publishers = self.trust().contenders(package, publishers, &answers.claims).await?,
        }
        let publisher = match publishers.len() {
            1 => publishers.remove(0),
            0 => {
                let failure = self.unclaimed(package, answers.hearing, offline).await?;
                return Err(wanted.meaning.explain(failure, package));
            }
            count => {
                let message = format!("`{package}` is claimed by {count} publishers");
                let causes = publishers.iter().map(|publisher| format!("{publisher}/{package}")).collect();
                let failure = Failure { causes, ..Failure::new(ErrorKind::Verification, message) };
                return Err(failure.hinted(hint![
                    format!("name the publisher you mean, as `PUBLISHER/{package}`; "),
                    Operation::TrustAdd.on(format!("{} PUBLISHER", package.namespace())),
                    " trusts it for all of the namespace"
                ]));
            }
        };
        let entry = self.with_catalog(move |catalog| catalog.publisher(&publisher));
        let entry = entry.await?.ok_or_else(|| {
            Failure::new(ErrorKind::Verification, format!("what is claimed of the publisher {publisher} was refused"))
        })?;
        if entry.equivocation.is_some() {
            let message = format!("the publisher {publisher} has signed two histories: nothing of it is trusted");
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        Ok(entry)
    }

    /// The versions of a package by the highest head seen: no older catalog will do, or withholding the new one would
    /// bring back what was yanked. The claim that came with that very head may have the answer in it.
    pub(super) async fn versions(
        &self,
        download: &mut Download,
        publisher: &PublisherEntry,
        claim: Option<&Claim>,
        package: &PackageId,
    ) -> Result<Vec<VersionEntry>, Failure> {
        let Some(head) = &publisher.head else {
            let message = format!("no head of the publisher {} is known", publisher.chain.publisher());
            return Err(Failure::new(ErrorKind::NotFound, message));
        };
        match proven(publisher, claim) {
            Some(versions) => Ok(versions.to_vec()),
            None => {
                mend_own_path(&self.storage(), head, package).await?;
                walk(download, head.head().record().catalog, package).await
            }
        }
    }

    /// Fetches a release record and checks its signatures against the publisher's identity.
    pub(super) async fn release_of(
        &self,
        download: &mut Download,
        chain: &IdentityChain,
        package: &PackageId,
        entry: &VersionEntry,
    ) -> Result<Signed<Release>, Failure> {
        let cid: Cid = *entry.release.cid();
        let payload = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        check_release(chain, package, entry, &payload, &**self.catalog.signatures())
    }
}

/// Checks the signatures of a release record with `checks` and against the publisher's identity, and that package,
/// version and publisher match the publisher's catalog.
pub(super) fn check_release(
    chain: &IdentityChain,
    package: &PackageId,
    entry: &VersionEntry,
    payload: &[u8],
    checks: &dyn Checks,
) -> Result<Signed<Release>, Failure> {
    let opened: Result<Signed<Release>, RecordError> =
        Envelope::from_parts(payload.to_vec(), entry.signatures.clone()).open_with(checks);
    let signed = opened.map_err(failure::verification)?;
    chain.authorise_historically(&signed).map_err(failure::verification)?;
    let release = signed.record();
    let is_theirs = release.publisher == chain.publisher();
    if release.package != *package || release.version != entry.version || !is_theirs {
        let message = format!(
            "the release {} is of {}/{}@{}, not what its publisher's catalog says",
            entry.release.cid(),
            release.publisher,
            release.package,
            release.version
        );
        return Err(Failure::new(ErrorKind::Verification, message));
    }
    Ok(signed)
}

/// The claims in the DHT under a name.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Valid claims.
    pub(super) claims: Vec<Claim>,
    /// Invalid claims.
    pub(super) refused: RefusedClaims,
    /// Peers that sent values which no honest peer sends.
    pub(super) liars: Vec<PeerId>,
    pub(super) hearing: Hearing,
}

/// Invalid claims that were found.
#[derive(Debug, Default)]
pub(super) struct RefusedClaims {
    /// The reason for each.
    pub(super) reasons: Vec<String>,
    /// Whether some are dated in the future, which may be due to this machine's clock.
    pub(super) by_the_clock: bool,
}

impl RefusedClaims {
    fn add(&mut self, error: &ClaimError) {
        self.by_the_clock |= matches!(error, ClaimError::Head(HeadError::Future { .. }));
        if self.reasons.len() < MAX_REFUSED {
            self.reasons.push(Failure::from_error(ErrorKind::Verification, error).in_one_line());
        }
    }

    /// Returns what the user can do.
    pub(super) fn hint(&self) -> &'static str {
        match self.by_the_clock {
            true => "check this machine's clock (`date -u`); if it is right, the publisher's was wrong when it signed",
            false => "a peer offers a forged record; ask the publisher for a CID, and fetch that",
        }
    }

    /// Replaces a `NotFound` failure if invalid claims were found.
    fn instead_of(&self, failure: Failure, package: &PackageId) -> Failure {
        let found_none = matches!(failure.kind, ErrorKind::NotFound | ErrorKind::TimedOut);
        if !found_none || self.reasons.is_empty() {
            return failure;
        }
        let message = format!("`{package}` is claimed, but no claim that was found can be believed");
        Failure { causes: self.reasons.clone(), ..Failure::new(ErrorKind::Verification, message) }.hinted(self.hint())
    }

    /// Adds the reasons to the failure of a missing version, which may be in an invalid claim.
    pub(super) fn beside(&self, mut failure: Failure) -> Failure {
        if !self.reasons.is_empty() {
            failure.causes.extend(self.reasons.iter().map(|reason| format!("a claim was refused: {reason}")));
            failure.hint.get_or_insert_with(|| self.hint().into());
        }
        failure
    }
}

/// Timeout for the response of a remembered peer to a claim request.
const SOURCE_PATIENCE: Duration = Duration::from_secs(1);

/// Maximum number of reasons for invalid values, and of peers that sent them.
const MAX_REFUSED: usize = 16;

/// Returns the set merged with the claims of `value`, or the unchanged set and the error.
fn merge_valid(set: ClaimSet, key: &[u8], value: &[u8], checks: &dyn Checks) -> (ClaimSet, Option<ClaimError>) {
    let mut merged = set.clone();
    match ClaimSet::verify_with(key, value, clock::now(), checks).and_then(|other| merged.merge(other)) {
        Ok(()) => (merged, None),
        Err(error) => {
            tracing::info!(target: crate::LOG_TARGET, %error, "a record of the DHT is not valid");
            (set, Some(error))
        }
    }
}

/// Returns the versions that a claim proves to be complete under the highest known head.
fn proven<'a>(publisher: &PublisherEntry, claim: Option<&'a Claim>) -> Option<&'a [VersionEntry]> {
    let head = publisher.head.as_ref()?;
    let claim = claim.filter(|claim| claim.head().head().cid() == head.head().cid())?;
    let found = claim.entry()?.found.as_ref().filter(|found| found.complete)?;
    Some(&found.entries)
}

/// Looks a package up in a publisher's catalog, block by block.
pub(super) async fn walk(
    download: &mut Download,
    root: crate::identity::RecordCid,
    package: &PackageId,
) -> Result<Vec<VersionEntry>, Failure> {
    let mut walk = Walk::new(&root, package);
    while let Some(cid) = walk.wants() {
        let data = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        let block = Block::verify(cid, data).map_err(failure::store)?;
        walk.supply(&block).map_err(failure::verification)?;
    }
    Ok(walk.finish().map_err(failure::verification)?.entries)
}

/// Returns the other releases: lower versions first, then higher ones, each starting with the nearest.
fn nearest(entries: &[VersionEntry], chosen: &VersionEntry) -> Vec<Cid> {
    let at = entries.iter().position(|entry| entry.release == chosen.release).unwrap_or(entries.len());
    let (lower, higher) = entries.split_at(at);
    lower.iter().rev().chain(higher.iter().skip(1)).map(|entry| *entry.release.cid()).collect()
}

#[cfg(test)]
mod tests;
