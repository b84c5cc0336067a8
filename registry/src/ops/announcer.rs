//! Claims of one's own: made from what the store and the catalog hold, told to the DHTs.

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

/// How often everything published is announced again.
const KEEP_FRESH_EVERY: Duration = Duration::from_secs(22 * 3600);
/// Age at which a head is said again; it expires after five times as long.
const REFRESH_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A package that was published from this home.
struct OwnPackage {
    chain: IdentityChain,
    head: VerifiedHead,
    package: PackageId,
}

impl Operations {
    /// The claim that a head stands for the newest release of a package, with its proof, and all versions.
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

    /// Keeps the DAGs of a release findable: its content and its record are provided. O(releases), not O(blocks).
    pub(super) async fn provide(&self, release: &Signed<Release>) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        for cid in [&release.record().content, release.cid()] {
            node.provide(cid.hash().to_bytes()).await.map_err(failure::stopped)?;
        }
        Ok(())
    }

    /// Keeps a name findable: its claim stands under the package, alone and with its publisher, and the head under the
    /// publisher.
    pub(super) async fn publish_claim(&self, claim: &Claim) -> Result<(), Failure> {
        if claim.versions().iter().any(|version| version.yanked) {
            // The proof of it is kept for those who compare catalogs.
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

    /// Tells what stands under a bare name: this home's own claims, those it mirrors, and `fresh`, which may be told
    /// before it is kept. Without any, the name is told no longer.
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

    /// The claims on a package of this home's own, and those that it mirrors.
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

    /// Announces again what this home has published: after a start, and every [`KEEP_FRESH_EVERY`] from then on.
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

    /// Tells what has changed of one package of this home's: its claim, and its publisher's head. The claims of other
    /// packages stay as they are until they are told again: one under an older head still leads to the publisher, whose
    /// catalog is then read under the highest head known. Returns the claim.
    pub(super) async fn publish_changed(
        self: &Arc<Self>,
        publisher: PublisherId,
        package: PackageId,
    ) -> Result<Claim, Failure> {
        // Not beside a publish, or older claims could follow newer ones.
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

    /// Tells the claims of all own packages under the head of today, and their words. Returns every version there is.
    async fn publish_claims(self: &Arc<Self>) -> Result<Vec<(PackageId, VersionEntry)>, Failure> {
        // Not beside a publish, or older claims could follow newer ones.
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

    /// Keeps what this home has published alive in the DHTs, and its heads from expiring, until the node stops.
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

    /// Every package that was published from this home.
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

    /// A head that was issued long ago is said again, by the timestamp key alone: publishing nothing is no reason to
    /// expire.
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
        // Both keys damaged: the head expires, which is a warning to others and no more.
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
