//! Resolves a name to a release: determines its publisher and the version, and verifies both.
//!
//! Claims are read from the DHT and from the catalog. Each is verified before it is used, and the catalog keeps the
//! highest head of every publisher. The publisher's catalog tree lists the versions, and the selected release carries
//! the publisher's signature.

mod choose;
mod subject;
mod unclaimed;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ggen_blockstore::{Block, Cid};
use libp2p::PeerId;

pub(super) use self::{choose::choose, subject::subject_of, unclaimed::Hearing};
use super::{
    claim_lookup::{Answers, ClaimLookup, RefusedClaims},
    clock,
    download::{Download, Subject},
    failure,
    own_records::mend_own_path,
    peers::{is_lie, provision},
    recent_sources::{Heard, Sources},
    storage::Storage,
    trust::{Meaning, Trust},
};
use crate::{
    Config, ErrorKind, Failure, Fault, Operation, Progress, Reporter,
    error::hint,
    identity::{Checks, Envelope, IdentityChain, PublisherId, RecordError, Signed},
    index::{Claim, ClaimQuestion, PublisherEntry, VerifiedHead, VersionEntry, Walk},
    node::{Handle, Protocol},
    package::{PackageId, Release, Requirement},
    peers::PeerBook,
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

/// Resolves names to releases.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(super) storage: Storage,
    pub(super) lookup: ClaimLookup,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
    pub(super) peers: Arc<PeerBook>,
    pub(super) sources: Arc<Sources>,
    pub(super) config: Arc<Config>,
    pub(super) trust: Trust,
}

impl Resolver {
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
        let release = release_of(&self.storage, download, &publisher.chain, wanted.package, chosen).await?;
        // Follow the publishers whose packages this home uses.
        let id = publisher.chain.publisher();
        self.storage.with_catalog(move |catalog| catalog.follow(&id, clock::now())).await?;
        let claimants = self.claimants(wanted.package, &[]).await?;
        let mut other_claimants = self.trust.contenders(wanted.package, claimants, &[]).await?;
        other_claimants.retain(|publisher| *publisher != id);
        Ok(Resolved { release, yank: Yank::of(chosen), other_claimants })
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
        self.storage
            .with_catalog(move |catalog| {
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
        let mut answers =
            self.lookup.ask_the_dht(wanted.meaning.publisher.as_ref(), wanted.package, download.patience()).await?;
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
                self.lookup.keep(vec![claim.clone()]).await?;
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
        let signatures = Arc::clone(self.storage.catalog.signatures());
        let verified = self.storage.run(move || Ok(Claim::verify_with(&answer, clock::now(), &*signatures))).await?;
        match verified {
            Ok(claim) if claim.publisher() == publisher && claim.package() == Some(package) => {
                self.lookup.keep(vec![claim.clone()]).await?;
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

    /// Returns all claimants of a name, in the catalog or among `claims`.
    pub(super) async fn claimants(&self, package: &PackageId, claims: &[Claim]) -> Result<Vec<PublisherId>, Failure> {
        let package = package.clone();
        let mut publishers = self.storage.with_catalog(move |catalog| catalog.publishers_of(&package)).await?;
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
            None => publishers = self.trust.contenders(package, publishers, &answers.claims).await?,
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
        let entry = self.storage.with_catalog(move |catalog| catalog.publisher(&publisher));
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
                mend_own_path(&self.storage, head, package).await?;
                walk(download, head.head().record().catalog, package).await
            }
        }
    }
}

/// Returns the yank of the release with this CID, as far as this home knows.
pub(super) async fn known_yank(storage: &Storage, release: Cid) -> Result<Option<Yank>, Failure> {
    let known = storage.with_catalog(move |catalog| match catalog.release(&release)? {
        Some(known) if known.yanked => {
            let record = known.release.into_record();
            let head = catalog.publisher(&record.publisher)?.and_then(|publisher| publisher.head);
            let claim = catalog.claim_with_yanks(&record.publisher, &record.package)?;
            Ok(Some((record, head, claim)))
        }
        _ => Ok(None),
    });
    let Some((record, head, claim)) = known.await? else { return Ok(None) };
    let store = storage.store.clone();
    storage
        .run(move || {
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

/// Fetches a release record and checks its signatures against the publisher's identity.
pub(super) async fn release_of(
    storage: &Storage,
    download: &mut Download,
    chain: &IdentityChain,
    package: &PackageId,
    entry: &VersionEntry,
) -> Result<Signed<Release>, Failure> {
    let cid: Cid = *entry.release.cid();
    let payload = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
    check_release(chain, package, entry, &payload, &**storage.catalog.signatures())
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

/// Timeout for the response of a remembered peer to a claim request.
const SOURCE_PATIENCE: Duration = Duration::from_secs(1);

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
