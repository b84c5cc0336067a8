//! Builds this home's own claims from store and catalog, and announces them in the DHTs.

use std::{sync::Arc, time::Duration};

use ggen_blockstore::Cid;
use tokio::sync::Mutex;

use super::{
    Steps, clock, failure, keyword_provider::KeywordProvider, mirror::MirrorBook, own_records::OwnRecords,
    storage::Storage,
};
use crate::{
    Config, ErrorKind, Failure,
    identity::{Envelope, IdentityChain, PublisherId, RecordError, Signed, Timestamp},
    index::{
        Acceptance, Announcement, Claim, ClaimSet, PublisherEntry, VerifiedHead, VersionEntry, Walk, package_key,
        publisher_key, qualified_key, refresh,
    },
    keys::{KeyStore, OwnPublisher},
    node::Handle,
    package::{PackageId, Release},
};

/// How often everything this home has published is announced again.
const KEEP_FRESH_EVERY: Duration = Duration::from_secs(22 * 3600);
/// Age at which a head is refreshed. It expires after five times this age.
const REFRESH_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A package that was published from this home.
struct OwnPackage {
    chain: IdentityChain,
    head: VerifiedHead,
    package: PackageId,
}

/// Announces what this home has published, and the claims that it mirrors.
#[derive(Clone, Debug)]
pub(crate) struct Announcer {
    pub(super) storage: Storage,
    pub(super) keys: KeyStore,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
    pub(super) config: Arc<Config>,
    pub(super) keywords: KeywordProvider,
    pub(super) mirrored: MirrorBook,
    /// Held while a publish signs: otherwise an older claim could replace a newer one.
    pub(super) publishing: Arc<Mutex<Steps>>,
    /// Held while the DHT record under a package key is published, so that the last one published includes all changes.
    pub(super) naming: Arc<Mutex<()>>,
}

/// Builds the claim on the newest release of a package under `head`, with its catalog proof. Returns it with all
/// versions of the package. If that fails and lost records of the publisher can be rebuilt, it tries once more.
pub(super) fn claim(
    storage: &Storage,
    chain: &IdentityChain,
    head: &VerifiedHead,
    package: &PackageId,
) -> Result<(Claim, Vec<VersionEntry>), Failure> {
    let made = || stored_claim(storage, chain, head, package);
    match made() {
        Err(failure) if OwnRecords::of(storage).put_back_of(&chain.publisher()).unwrap_or(0) == 0 => Err(failure),
        Err(_) => made(),
        made => made,
    }
}

impl Announcer {
    /// Announces this node as a provider of the content root and of the record of a release. The cost is O(releases),
    /// not O(blocks).
    pub(super) async fn provide(&self, release: &Signed<Release>) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        for cid in [&release.record().content, release.cid()] {
            node.provide(cid.hash().to_bytes()).await.map_err(failure::stopped)?;
        }
        Ok(())
    }

    /// Stores a claim in the DHT under the package key and under the key of publisher and package, and the publisher's
    /// head under the publisher key.
    pub(super) async fn publish_claim(&self, claim: &Claim) -> Result<(), Failure> {
        if claim.versions().iter().any(|version| version.yanked) {
            // The catalog keeps the proof of the yank for peers that exchange catalogs.
            let claim = claim.clone();
            self.storage.with_catalog(move |catalog| catalog.accept_claim(&claim, "publish", clock::now())).await?;
        }
        let (Some(node), Some(package)) = (&self.node, claim.package()) else { return Ok(()) };
        let publisher = claim.publisher();
        let signatures = &**self.storage.catalog.signatures();
        let head = Claim::for_publisher_with(claim.chain(), claim.head(), clock::now(), signatures);
        let head = head.map_err(failure::failed)?;
        self.publish_name(package, Some(claim)).await?;
        for (key, claim) in [(qualified_key(&publisher, package), claim.clone()), (publisher_key(&publisher), head)] {
            let value = claim_set(&key, vec![claim])?;
            node.publish(key, value).await.map_err(failure::stopped)?;
        }
        Ok(())
    }

    /// Publishes the DHT record under a package key: this home's own claims, the claims it mirrors, and `fresh`, which
    /// need not be in the catalog yet. Without any claim, the record is withdrawn.
    pub(super) async fn publish_name(&self, package: &PackageId, fresh: Option<&Claim>) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let _one_at_a_time = self.naming.lock().await;
        let (key, mut claims) = (package_key(package), self.claims_to_tell(package).await?);
        claims.extend(fresh.cloned());
        match claims.is_empty() {
            true => node.unpublish(key).await.map_err(failure::stopped),
            false => {
                let value = claim_set(&key, claims)?;
                node.publish(key, value).await.map_err(failure::stopped)
            }
        }
    }

    /// Returns this home's own claims on a package, and those that it mirrors.
    pub(super) async fn claims_to_tell(&self, package: &PackageId) -> Result<Vec<Claim>, Failure> {
        let (storage, name) = (self.storage.clone(), package.clone());
        let own = self.storage.run(move || {
            let mut claims = Vec::new();
            for publisher in storage.catalog.own_publishers_of(&name).map_err(failure::catalog)? {
                let known = storage.catalog.publisher(&publisher).map_err(failure::catalog)?;
                let Some(PublisherEntry { chain, head: Some(head), .. }) = known else { continue };
                match stored_claim(&storage, &chain, &head.without_future_refresh(clock::now()), &name) {
                    Ok((claim, _)) => claims.push(claim),
                    Err(failure) => {
                        let package = &name;
                        tracing::warn!(target: crate::LOG_TARGET, %package, %failure, "not announced");
                    }
                }
            }
            Ok(claims)
        });
        let mut claims = own.await?;
        claims.extend(self.mirrored.claims_on(package).await?);
        Ok(claims)
    }

    /// Announces again everything this home has published.
    pub(crate) async fn provide_everything(&self) -> Result<(), Failure> {
        for (package, version) in self.publish_claims().await? {
            let (storage, entry) = (self.storage.clone(), version.clone());
            match self.storage.run(move || stored_release(&storage, &entry)).await {
                Ok(release) => self.provide(&release).await?,
                Err(failure) => {
                    let version = &version.version;
                    tracing::warn!(target: crate::LOG_TARGET, %package, %version, %failure, "not provided");
                }
            }
        }
        Ok(())
    }

    /// Announces what has changed of one package of this home: its claim, its publisher's head, and its keywords.
    /// Returns the claim.
    ///
    /// The claims of other packages stay as they are until the next periodic announcement: a claim under an older head
    /// still leads to the publisher, whose catalog is then read under the highest known head.
    pub(super) async fn publish_changed(&self, publisher: PublisherId, package: PackageId) -> Result<Claim, Failure> {
        let _one_at_a_time = self.publishing.lock().await;
        let storage = self.storage.clone();
        let claim = self.storage.run(move || {
            let known = storage.catalog.publisher(&publisher).map_err(failure::failed)?;
            let Some(PublisherEntry { chain, head: Some(head), .. }) = known else {
                return Err(Failure::new(ErrorKind::NotFound, format!("nothing is published by {publisher}")));
            };
            let (claim, _) = claim(&storage, &chain, &head.without_future_refresh(clock::now()), &package)?;
            Ok(claim)
        });
        let claim = claim.await?;
        self.publish_claim(&claim).await?;
        if let Some(entry) = claim.entry() {
            self.keywords.provide_words(entry.release.record()).await?;
        }
        Ok(claim)
    }

    /// Announces a claim: claim and head in the DHT, and the claim by gossip. Returns the number of peers that gossip
    /// was sent to.
    pub(super) async fn tell_claim(&self, claim: &Claim) -> Result<u64, Failure> {
        let Some(node) = &self.node else { return Ok(0) };
        let Some(package) = claim.package() else { return Ok(0) };
        let claim = self.publish_changed(claim.publisher(), package.clone()).await?;
        let news = Announcement::new(&self.config.packages_topic, &claim, clock::now());
        let data = news.and_then(|news| news.encode()).map_err(failure::failed)?;
        let subject = claim.publisher().to_bytes();
        Ok(node.announce(subject, data).await.map_err(failure::stopped)? as u64)
    }

    /// Announces the claims of all own packages under the current head, and their keywords. Returns every version of
    /// these packages.
    async fn publish_claims(&self) -> Result<Vec<(PackageId, VersionEntry)>, Failure> {
        let _one_at_a_time = self.publishing.lock().await;
        let announcer = self.clone();
        let packages = self.storage.run(move || announcer.own_packages(clock::now())).await?;
        let mut versions = Vec::new();
        for OwnPackage { chain, head, package } in packages {
            let (storage, name) = (self.storage.clone(), package.clone());
            match self.storage.run(move || claim(&storage, &chain, &head, &name)).await {
                Ok((claim, entries)) => {
                    self.publish_claim(&claim).await?;
                    if let Some(entry) = claim.entry() {
                        self.keywords.provide_words(entry.release.record()).await?;
                    }
                    versions.extend(entries.into_iter().map(|entry| (package.clone(), entry)));
                }
                Err(failure) => {
                    tracing::warn!(target: crate::LOG_TARGET, %package, %failure, "not announced");
                }
            }
        }
        Ok(versions)
    }

    /// Announces what this home has published and refreshes its heads, now and every [`KEEP_FRESH_EVERY`], until the
    /// node stops.
    pub(crate) async fn keep_fresh(self, node: Handle) {
        let mut interval = tokio::time::interval(KEEP_FRESH_EVERY);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = node.stopped() => return,
            }
            if let Err(failure) = self.provide_everything().await {
                tracing::warn!(target: crate::LOG_TARGET, %failure, "what was published is not announced");
            }
        }
    }

    /// Returns every package that was published from this home, with refreshed heads.
    fn own_packages(&self, now: Timestamp) -> Result<Vec<OwnPackage>, Failure> {
        let mut packages = Vec::new();
        for own in self.keys.publishers()? {
            let publisher = own.chain.publisher();
            let known = self.storage.catalog.publisher(&publisher).map_err(failure::failed)?;
            let Some(PublisherEntry { chain, head: Some(head), .. }) = known else { continue };
            let head = self.refreshed(&own, &chain, head.without_future_refresh(now), now)?;
            for package in self.storage.catalog.packages_of(&publisher).map_err(failure::failed)? {
                packages.push(OwnPackage { chain: chain.clone(), head: head.clone(), package });
            }
        }
        Ok(packages)
    }

    /// Refreshes a head that was issued longer than [`REFRESH_AFTER`] ago, so that the head of an inactive publisher
    /// does not expire. The timestamp key signs the refresh.
    fn refreshed(
        &self,
        own: &OwnPublisher,
        chain: &IdentityChain,
        head: VerifiedHead,
        now: Timestamp,
    ) -> Result<VerifiedHead, Failure> {
        if now < head.issued().plus(REFRESH_AFTER) {
            return Ok(head);
        }
        // Both keys are damaged. The head expires, which peers show as a warning.
        let Some(refresher) = &own.refresher else { return Ok(head) };
        let refreshed = refresh(&head, chain, refresher, now).map_err(failure::failed)?;
        match self.storage.catalog.accept_head(chain, &refreshed, now).map_err(failure::failed)? {
            Acceptance::Accepted | Acceptance::Known => Ok(refreshed),
            Acceptance::Refused(_) => Ok(head),
        }
    }
}

fn stored_claim(
    storage: &Storage,
    chain: &IdentityChain,
    head: &VerifiedHead,
    package: &PackageId,
) -> Result<(Claim, Vec<VersionEntry>), Failure> {
    let walk = Walk::new(&head.head().record().catalog, package);
    let found = walk.run(|cid| storage.store.get(cid)).map_err(|error| failure::tree(&error))?;
    let newest = VersionEntry::newest(&found.entries)
        .ok_or_else(|| Failure::new(ErrorKind::NotFound, format!("`{package}` is not in the publisher's catalog")))?;
    let release = stored_release(storage, newest)?;
    let claim =
        Claim::for_package_with(chain, head, &release, Some(&found), clock::now(), &**storage.catalog.signatures());
    Ok((claim.map_err(failure::failed)?, found.entries))
}

fn stored_release(storage: &Storage, entry: &VersionEntry) -> Result<Signed<Release>, Failure> {
    let cid: Cid = *entry.release.cid();
    let payload = storage.store.get(&cid).map_err(failure::store)?;
    let payload = payload.ok_or_else(|| failure::store(ggen_blockstore::Error::NotFound { cid }))?;
    let envelope = Envelope::from_parts(payload.to_vec(), entry.signatures.clone());
    let opened: Result<_, RecordError> = envelope.open_with(&**storage.catalog.signatures());
    opened.map_err(failure::verification)
}

fn claim_set(key: &[u8], claims: Vec<Claim>) -> Result<Vec<u8>, Failure> {
    let mut set = ClaimSet::new(key);
    claims.into_iter().try_for_each(|claim| set.insert(claim)).and_then(|()| set.encode()).map_err(failure::failed)
}
