//! Info: collects everything that is known of a target.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ggen_blockstore::{Cid, DAG_CBOR};

use super::{
    claim_lookup::Answers,
    download::Download,
    downloads::Downloads,
    failure::{self, usage},
    publisher_id::{refuse_identity, refuse_publisher},
    resolve::{Located, Resolver, Wanted, known_yank, release_of},
    storage::Storage,
    trust::Meaning,
};
use crate::{
    ClaimInfo, ContentProvider, ErrorKind, Failure, FetchRequest, FetchTo, InfoRequest, Operation, PackageInfo,
    Progress, RecordInfo, ReleaseInfo, Reporter,
    error::hint,
    identity::{PublisherId, Record, Timestamp},
    index::{PublisherEntry, VersionEntry},
    node::Handle,
    package::{Metadata, PackageId, Release, Target},
};

/// Maximum number of providers listed.
const MAX_PROVIDERS: usize = 64;
/// Maximum time for the provider lookup: on the public DHT, the last responses take very long.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(10);

/// A release, and what is known of it beyond its record.
struct Chosen {
    release: Release,
    cid: Cid,
    yanked: bool,
    yank_reason: Option<String>,
    /// The publisher whose signature was checked.
    publisher: Option<PublisherId>,
}

/// Collects what is known of a target.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(super) storage: Storage,
    pub(super) downloads: Downloads,
    pub(super) resolver: Resolver,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
}

impl Info {
    /// Returns what is known of a target.
    pub(crate) async fn info(&self, request: InfoRequest, reporter: Arc<dyn Reporter>) -> Result<PackageInfo, Failure> {
        let target = failure::target(&request.target)?;
        let mut download = self.downloads.open(&as_fetch(&request), reporter.clone()).await?;
        let mut info = match target {
            Target::Package { publisher, package, requirement } => {
                let (package, requirement) = (&package, &requirement);
                let meaning = self.resolver.trust.meaning(publisher, package).await?;
                let wanted = Wanted { meaning, package, requirement, yanked_too: true };
                self.package_info(&mut download, &wanted, &request, &reporter).await?
            }
            Target::Content { cid, path } => {
                if !path.is_empty() {
                    return Err(usage("info takes a package, a release or a content CID, without a path"));
                }
                self.cid_info(&mut download, cid).await?
            }
            Target::Ipns { .. } => return Err(usage("names under /ipns/ cannot be resolved by this version")),
        };
        let content: Cid = info.cid.parse().map_err(failure::failed)?;
        info.here = self.storage.store.has(&content).map_err(failure::store)?;
        if request.providers && !request.offline {
            reporter.report(Progress::Finding { peers_asked: download.peers_asked() as u64 });
            info.providers = self.providers(&content, request.timeout.min(PROVIDER_PATIENCE)).await?;
        }
        if !info.here && info.release.is_none() && info.providers.is_empty() && request.providers {
            return Err(nobody_has(&content, request.offline));
        }
        Ok(info)
    }

    /// Returns whether any publisher is found that claims a package.
    pub(crate) async fn is_claimed(
        &self,
        package: &PackageId,
        timeout: Duration,
        reporter: Arc<dyn Reporter>,
    ) -> Result<bool, Failure> {
        let request = InfoRequest { target: String::new(), versions: false, providers: false, timeout, offline: false };
        let mut download = self.downloads.open(&as_fetch(&request), reporter).await?;
        let requirement = &crate::package::Requirement::Latest;
        let wanted = Wanted { meaning: Meaning::OPEN, package, requirement, yanked_too: true };
        let answers = self.resolver.claims_on(&mut download, &wanted).await?;
        if !self.resolver.claimants(package, &answers.claims).await?.is_empty() {
            return Ok(true);
        }
        // Peers that did not answer have not said that it is not claimed.
        let failure = self.resolver.unclaimed(package, answers.hearing, download.is_offline()).await?;
        if failure.kind == ErrorKind::TimedOut { Err(failure) } else { Ok(false) }
    }

    async fn package_info(
        &self,
        download: &mut Download,
        wanted: &Wanted<'_>,
        request: &InfoRequest,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<PackageInfo, Failure> {
        let (Located { publisher, versions, refused, hearing }, incomplete) =
            match self.resolver.locate(download, wanted, reporter).await {
                Ok(located) => (located, None),
                Err(failure) => self.located_here(wanted, failure).await?,
            };
        let id = publisher.chain.publisher();
        let chosen =
            super::resolve::choose(&versions, wanted).map_err(|failure| hearing.beside(refused.beside(failure)))?;
        let mut records = self.known_records(wanted.package).await?;
        let release = match records.get(chosen.release.cid()) {
            Some(record) if incomplete.is_some() => record.clone(),
            _ => release_of(&self.storage, download, &publisher.chain, wanted.package, chosen).await?.into_record(),
        };
        if request.versions {
            for entry in &versions {
                if !records.contains_key(entry.release.cid()) {
                    let release = release_of(&self.storage, download, &publisher.chain, wanted.package, entry).await?;
                    records.insert(*entry.release.cid(), release.into_record());
                }
            }
        }
        let releases = versions.iter().map(|entry| release_info(entry, &records)).collect();
        let cid = *chosen.release.cid();
        let (yanked, yank_reason) = (chosen.yanked, chosen.reason.clone());
        let chosen = Chosen { release, cid, yanked, yank_reason, publisher: Some(id) };
        let claims = self.claim_infos(wanted.package).await?;
        let known_by = Some(wanted.meaning.known_by);
        Ok(PackageInfo { known_by, releases, claims, incomplete, ..of_release(chosen) })
    }

    /// What the catalog has of a package whose publisher's own list of versions could not be had, and why that is. It may lack
    /// versions and yanks: enough to show, not to fetch by.
    async fn located_here(&self, wanted: &Wanted<'_>, failure: Failure) -> Result<(Located, Option<String>), Failure> {
        if !matches!(failure.kind, ErrorKind::TimedOut | ErrorKind::NotFound) {
            return Err(failure);
        }
        let Ok(publisher) = self.resolver.claimant(wanted, &Answers::default(), true).await else {
            return Err(failure);
        };
        let (id, package) = (publisher.chain.publisher(), wanted.package.clone());
        let known = self.storage.with_catalog(move |catalog| catalog.releases(&package)).await?;
        let theirs = known.into_iter().filter(|known| known.release.record().publisher == id);
        let mut versions: Vec<_> = theirs.filter_map(|known| known.as_version()).collect();
        versions.sort_by(|a, b| a.version.cmp(&b.version));
        if super::resolve::choose(&versions, wanted).is_err() {
            return Err(failure);
        }
        let Answers { refused, hearing, .. } = Answers::default();
        let located = Located { publisher, versions, refused, hearing };
        Ok((located, Some(failure.in_one_line())))
    }

    /// Returns what is known of a release CID or a content CID. Releases in the catalog have a verified publisher; a
    /// release record that is fetched by its CID does not.
    async fn cid_info(&self, download: &mut Download, cid: Cid) -> Result<PackageInfo, Failure> {
        let known = self.storage.with_catalog(move |catalog| match cid.codec() {
            DAG_CBOR => Ok(catalog.release(&cid)?.into_iter().collect()),
            _ => catalog.releases_of_content(&cid),
        });
        // Any publisher can sign a release of existing content. The one that this home saw first is the most credible.
        if let Some(known) = known.await?.into_iter().min_by_key(|known| known.seen) {
            let (cid, record) = (*known.release.cid(), known.release.into_record());
            let package = record.package.clone();
            let publisher = Some(record.publisher);
            let yank = known_yank(&self.storage, cid).await?;
            let (yanked, yank_reason) = (yank.is_some(), yank.and_then(|yank| yank.reason));
            let chosen = Chosen { release: record, cid, yanked, yank_reason, publisher };
            let claims = self.claim_infos(&package).await?;
            return Ok(PackageInfo { claims, ..of_release(chosen) });
        }
        if cid.codec() != DAG_CBOR {
            return Ok(nameless(cid));
        }
        refuse_publisher(&self.storage, &cid).await?;
        download.search_under(&cid);
        let block = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        refuse_identity(&cid, &block)?;
        let release = Release::from_payload(&block).map_err(|error| {
            Failure::from_error(ErrorKind::Verification, &error).while_doing(format!("{cid} is not a release"))
        })?;
        Ok(of_release(Chosen { release, cid, yanked: false, yank_reason: None, publisher: None }))
    }

    /// Returns the releases of a package in the catalog, by CID.
    async fn known_records(&self, package: &PackageId) -> Result<HashMap<Cid, Release>, Failure> {
        let package = package.clone();
        let known = self.storage.with_catalog(move |catalog| catalog.releases(&package)).await?;
        Ok(known.into_iter().map(|entry| (*entry.release.cid(), entry.release.into_record())).collect())
    }

    /// Returns all claims on a package in the catalog.
    async fn claim_infos(&self, package: &PackageId) -> Result<Vec<ClaimInfo>, Failure> {
        let package = package.clone();
        self.storage
            .with_catalog(move |catalog| {
                let mut claims = Vec::new();
                for publisher in catalog.publishers_of(&package)? {
                    claims.extend(catalog.publisher(&publisher)?.map(|entry| claim_info(&entry)));
                }
                Ok(claims)
            })
            .await
    }

    async fn providers(&self, content: &Cid, patience: Duration) -> Result<Vec<ContentProvider>, Failure> {
        let Some(node) = &self.node else { return Ok(Vec::new()) };
        let mut found = node.find_providers(content.hash().to_bytes()).await.map_err(failure::stopped)?;
        let mut peers = Vec::new();
        let look = async {
            while let Some(peer) = found.recv().await {
                if !peers.contains(&peer) {
                    peers.push(peer);
                }
                if peers.len() >= MAX_PROVIDERS {
                    return;
                }
            }
        };
        // On a timeout, return the providers found so far.
        let _in_time = tokio::time::timeout(patience, look).await;
        let connected = node.snapshot().await.map_err(failure::stopped)?.connected;
        let provider = |peer| ContentProvider { connected: connected.contains(&peer), peer_id: peer.to_string() };
        Ok(peers.into_iter().map(provider).collect())
    }
}

/// The failure for content that is neither in the store nor has a provider.
fn nobody_has(content: &Cid, offline: bool) -> Failure {
    match offline {
        true => {
            Failure::new(ErrorKind::NotFound, format!("{content} is not in this store")).hinted(failure::online_hint())
        }
        false => Failure::new(ErrorKind::TimedOut, format!("no provider of {content} was found"))
            .hinted(hint!["connect to more peers with ", Operation::Bootstrap.on("ADDRESS")]),
    }
}

/// Returns a fetch request with the same sources.
fn as_fetch(request: &InfoRequest) -> FetchRequest {
    FetchRequest {
        target: request.target.clone(),
        to: FetchTo::Path(std::path::PathBuf::new()),
        timeout: request.timeout,
        offline: request.offline,
        providers: Vec::new(),
        min_reputation: None,
    }
}

fn of_release(chosen: Chosen) -> PackageInfo {
    let Chosen { release, cid, yanked, yank_reason, publisher } = chosen;
    let entry = ReleaseInfo {
        version: release.version.to_string(),
        release: cid.to_string(),
        yanked,
        yank_reason: yank_reason.clone(),
        record: Some(record_info(&release)),
    };
    PackageInfo {
        package: Some(release.package.to_string()),
        version: Some(entry.version.clone()),
        release: Some(entry.release.clone()),
        publisher: publisher.as_ref().map(PublisherId::to_string),
        known_by: None,
        cid: release.content.to_string(),
        yanked,
        yank_reason,
        size_bytes: Some(release.size),
        files: Some(release.files),
        blocks: Some(release.blocks),
        published: Some(release.created.to_string()),
        metadata: release.metadata,
        dependencies: release.dependencies,
        executables: release.executables,
        releases: vec![entry],
        claims: Vec::new(),
        providers: Vec::new(),
        here: false,
        incomplete: None,
    }
}

/// Content that no release names.
fn nameless(cid: Cid) -> PackageInfo {
    PackageInfo {
        package: None,
        version: None,
        release: None,
        publisher: None,
        known_by: None,
        cid: cid.to_string(),
        yanked: false,
        yank_reason: None,
        metadata: Metadata::default(),
        size_bytes: None,
        files: None,
        blocks: None,
        published: None,
        dependencies: Vec::new(),
        executables: Vec::new(),
        releases: Vec::new(),
        claims: Vec::new(),
        providers: Vec::new(),
        here: false,
        incomplete: None,
    }
}

fn release_info(entry: &VersionEntry, records: &HashMap<Cid, Release>) -> ReleaseInfo {
    ReleaseInfo {
        version: entry.version.to_string(),
        release: entry.release.cid().to_string(),
        yanked: entry.yanked,
        yank_reason: entry.reason.clone(),
        record: records.get(entry.release.cid()).map(record_info),
    }
}

fn record_info(release: &Release) -> RecordInfo {
    RecordInfo {
        cid: release.content.to_string(),
        size_bytes: release.size,
        files: release.files,
        blocks: release.blocks,
        published: release.created.to_string(),
        metadata: release.metadata.clone(),
        dependencies: release.dependencies.clone(),
        executables: release.executables.clone(),
    }
}

fn claim_info(entry: &PublisherEntry) -> ClaimInfo {
    let head = entry.head.as_ref();
    let text = |time: Timestamp| time.to_string();
    ClaimInfo {
        publisher: entry.chain.publisher().to_string(),
        log_length: head.map(|head| head.head().record().log_seq),
        issued: head.map(|head| text(head.issued())),
        expires: head.map(|head| text(head.expires())),
        first_seen: text(entry.first_seen),
        equivocation: entry.equivocation.is_some(),
    }
}
