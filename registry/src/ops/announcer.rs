//! Builds this home's own claims from store and catalog, and announces them in the DHTs.

use std::{sync::Arc, time::Duration};

use ggen_blockstore::{Blockstore, Cid};

use super::{Operations, clock, failure};
use crate::{
    ErrorKind, Failure,
    identity::{Envelope, IdentityChain, KnownSignatures, PublisherId, RecordError, Signed, Timestamp},
    index::{
        Acceptance, Claim, ClaimSet, PublisherEntry, VerifiedHead, VersionEntry, Walk, package_key, publisher_key,
        qualified_key, refresh,
    },
    keys::OwnPublisher,
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

impl Operations {
    /// Builds the claim on the newest release of a package under `head`, with its catalog proof. Returns it with all
    /// versions of the package. If that fails and lost records of the publisher can be rebuilt, it tries once more.
    pub(super) fn claim(
        &self,
        chain: &IdentityChain,
        head: &VerifiedHead,
        package: &PackageId,
    ) -> Result<(Claim, Vec<VersionEntry>), Failure> {
        let made = || claim(&*self.store, self.catalog.signatures(), chain, head, package);
        match made() {
            Err(failure) if self.remake_own_records(&chain.publisher()).unwrap_or(0) == 0 => Err(failure),
            Err(_) => made(),
            made => made,
        }
    }

    fn stored_release(&self, entry: &VersionEntry) -> Result<Signed<Release>, Failure> {
        stored_release(&*self.store, self.catalog.signatures(), entry)
    }

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
            self.with_catalog(move |catalog| catalog.accept_claim(&claim, "publish", clock::now())).await?;
        }
        let (Some(node), Some(package)) = (&self.node, claim.package()) else { return Ok(()) };
        let publisher = claim.publisher();
        let signatures = &**self.catalog.signatures();
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
        let _one_at_a_time = self.mirror.telling.lock().await;
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
        let (store, catalog, name) = (self.store.clone(), Arc::clone(&self.catalog), package.clone());
        let own = failure::blocking(move || {
            let mut claims = Vec::new();
            for publisher in catalog.own_publishers_of(&name).map_err(failure::catalog)? {
                let known = catalog.publisher(&publisher).map_err(failure::catalog)?;
                let Some(PublisherEntry { chain, head: Some(head), .. }) = known else { continue };
                match claim(&*store, catalog.signatures(), &chain, &head.without_future_refresh(clock::now()), &name) {
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
        claims.extend(self.mirrored_claims(package).await?);
        Ok(claims)
    }

    /// Announces again everything this home has published.
    pub(crate) async fn provide_everything(self: &Arc<Self>) -> Result<(), Failure> {
        for (package, version) in self.publish_claims().await? {
            let operations = Arc::clone(self);
            let entry = version.clone();
            match failure::blocking(move || operations.stored_release(&entry)).await {
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
    pub(super) async fn publish_changed(
        self: &Arc<Self>,
        publisher: PublisherId,
        package: PackageId,
    ) -> Result<Claim, Failure> {
        // The lock excludes a concurrent publish: otherwise an older claim could replace a newer one.
        let _one_at_a_time = self.publishing.lock().await;
        let operations = Arc::clone(self);
        let claim = failure::blocking(move || {
            let known = operations.catalog.publisher(&publisher).map_err(failure::failed)?;
            let Some(PublisherEntry { chain, head: Some(head), .. }) = known else {
                return Err(Failure::new(ErrorKind::NotFound, format!("nothing is published by {publisher}")));
            };
            let (claim, _) = operations.claim(&chain, &head.without_future_refresh(clock::now()), &package)?;
            Ok(claim)
        });
        let claim = claim.await?;
        self.publish_claim(&claim).await?;
        if let Some(entry) = claim.entry() {
            self.provide_words(entry.release.record()).await?;
        }
        Ok(claim)
    }

    /// Announces the claims of all own packages under the current head, and their keywords. Returns every version of
    /// these packages.
    async fn publish_claims(self: &Arc<Self>) -> Result<Vec<(PackageId, VersionEntry)>, Failure> {
        // The lock excludes a concurrent publish: otherwise an older claim could replace a newer one.
        let _one_at_a_time = self.publishing.lock().await;
        let operations = Arc::clone(self);
        let packages = failure::blocking(move || operations.own_packages(clock::now())).await?;
        let mut versions = Vec::new();
        for OwnPackage { chain, head, package } in packages {
            let operations = Arc::clone(self);
            let name = package.clone();
            match failure::blocking(move || operations.claim(&chain, &head, &name)).await {
                Ok((claim, entries)) => {
                    self.publish_claim(&claim).await?;
                    if let Some(entry) = claim.entry() {
                        self.provide_words(entry.release.record()).await?;
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
    pub(crate) async fn keep_fresh(self: Arc<Self>, node: Handle) {
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
            let known = self.catalog.publisher(&publisher).map_err(failure::failed)?;
            let Some(PublisherEntry { chain, head: Some(head), .. }) = known else { continue };
            let head = self.refreshed(&own, &chain, head.without_future_refresh(now), now)?;
            for package in self.catalog.packages_of(&publisher).map_err(failure::failed)? {
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
        match self.catalog.accept_head(chain, &refreshed, now).map_err(failure::failed)? {
            Acceptance::Accepted | Acceptance::Known => Ok(refreshed),
            Acceptance::Refused(_) => Ok(head),
        }
    }
}

fn claim(
    store: &dyn Blockstore,
    signatures: &KnownSignatures,
    chain: &IdentityChain,
    head: &VerifiedHead,
    package: &PackageId,
) -> Result<(Claim, Vec<VersionEntry>), Failure> {
    let walk = Walk::new(&head.head().record().catalog, package);
    let found = walk.run(|cid| store.get(cid)).map_err(|error| failure::tree(&error))?;
    let newest = VersionEntry::newest(&found.entries)
        .ok_or_else(|| Failure::new(ErrorKind::NotFound, format!("`{package}` is not in the publisher's catalog")))?;
    let release = stored_release(store, signatures, newest)?;
    let claim = Claim::for_package_with(chain, head, &release, Some(&found), clock::now(), signatures);
    Ok((claim.map_err(failure::failed)?, found.entries))
}

fn stored_release(
    store: &dyn Blockstore,
    signatures: &KnownSignatures,
    entry: &VersionEntry,
) -> Result<Signed<Release>, Failure> {
    let cid: Cid = *entry.release.cid();
    let payload = store.get(&cid).map_err(failure::store)?;
    let payload = payload.ok_or_else(|| failure::store(ggen_blockstore::Error::NotFound { cid }))?;
    let envelope = Envelope::from_parts(payload.to_vec(), entry.signatures.clone());
    let opened: Result<_, RecordError> = envelope.open_with(signatures);
    opened.map_err(failure::verification)
}

fn claim_set(key: &[u8], claims: Vec<Claim>) -> Result<Vec<u8>, Failure> {
    let mut set = ClaimSet::new(key);
    claims.into_iter().try_for_each(|claim| set.insert(claim)).and_then(|()| set.encode()).map_err(failure::failed)
}
