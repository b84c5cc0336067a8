//! The announcements of a mirror: it republishes the publishers' own claims on what it holds, and pins the blocks that
//! prove them.

use std::collections::{BTreeMap, BTreeSet};

use ggen_blockstore::{Block, Cid, Pin, PinMode};

use super::{
    MirrorState,
    followed::{Followed, Publishers},
    mirror_book, warn,
};
use crate::{
    Failure,
    identity::PublisherId,
    index::{Claim, VersionEntry, Walk},
    mirror::{Book, reconcile::proof_label},
    node::Handle,
    ops::{
        announcer::{Announcer, claim},
        clock,
        download::Download,
        failure,
        resolve::{release_of, walk},
        storage::Storage,
    },
    package::PackageId,
};

/// Claims read, verified and kept in memory at a time.
const CLAIMS_AT_ONCE: usize = 64;

/// Announces what a mirror holds.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Teller {
    pub(in crate::ops) mirror: MirrorState,
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) publishers: Publishers,
    pub(in crate::ops) announcer: Announcer,
    /// `None` in offline mode.
    pub(in crate::ops) node: Option<Handle>,
}

impl Teller {
    /// For those of `packages` with held releases, pins the blocks that prove them, and republishes the publisher's
    /// claims that have changed.
    pub(super) async fn tell_of(&self, followed: &Followed, packages: &BTreeSet<PackageId>) -> Result<(), Failure> {
        let publisher = followed.entry.chain.publisher();
        let held = self.mirror.book.with(move |book| book.held_packages(&publisher)).await?;
        let packages: Vec<_> = packages.intersection(&held).cloned().collect();
        if packages.is_empty() {
            return Ok(());
        }
        // The blocks may have been evicted as cache. They are fetched again, and the download's lease keeps them until
        // they are pinned.
        let mut download = self.publishers.following(followed).await?;
        let mut failed = None;
        for packages in packages.chunks(CLAIMS_AT_ONCE) {
            let mut here = Vec::new();
            for package in packages {
                match self.bring_proof(&mut download, followed, package).await {
                    Ok(()) => here.push(package.clone()),
                    Err(failure) => {
                        failed.get_or_insert(failure);
                        // A new download, because the failed one still has open wants.
                        download = self.publishers.following(followed).await?;
                    }
                }
            }
            if let Err(failure) = self.tell_batch(followed, here).await {
                failed.get_or_insert(failure);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn bring_proof(
        &self,
        download: &mut Download,
        followed: &Followed,
        package: &PackageId,
    ) -> Result<(), Failure> {
        let versions = walk(download, followed.head.head().record().catalog, package).await?;
        if let Some(newest) = VersionEntry::newest(&versions) {
            release_of(&self.storage, download, &followed.entry.chain, package, newest).await?;
        }
        Ok(())
    }

    async fn tell_batch(&self, followed: &Followed, packages: Vec<PackageId>) -> Result<(), Failure> {
        // The lock excludes a concurrent withdrawal, after which nothing may be announced.
        let _settling = self.mirror.settling.lock().await;
        let teller = self.clone();
        let (chain, head) = (followed.entry.chain.clone(), followed.head.clone());
        let claims = self.storage.run(move || {
            let publisher = chain.publisher();
            let held = teller.mirror.book.held_packages(&publisher).map_err(failure::failed)?;
            let (mut changed, mut failed) = (Vec::new(), None);
            for package in packages.iter().filter(|package| held.contains(package)) {
                let claim = match claim(&teller.storage, &chain, &head, package) {
                    Ok((claim, _)) => claim,
                    Err(failure) => {
                        failed.get_or_insert(failure);
                        continue;
                    }
                };
                let told = teller.mirror.book.claim_of(&publisher, package).map_err(failure::failed)?;
                if told.as_deref() != Some(claim.encoded()) {
                    changed.push(claim);
                }
            }
            teller.pin_proofs(&publisher, &changed)?;
            changed.iter().try_for_each(|claim| teller.mirror.book.keep_claim(claim)).map_err(failure::failed)?;
            Ok((changed, failed))
        });
        let (claims, failed) = claims.await?;
        for claim in &claims {
            self.announcer.publish_claim(claim).await?;
            self.stand_for(claim).await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Announces this node under the keywords of a mirrored release, and follows its publisher in the catalog, so that
    /// catalog exchanges request its new records.
    async fn stand_for(&self, claim: &Claim) -> Result<(), Failure> {
        let publisher = claim.publisher();
        self.storage.with_catalog(move |catalog| catalog.follow(&publisher, clock::now())).await?;
        match claim.entry() {
            Some(entry) => self.announcer.keywords.provide_words(entry.release.record()).await,
            None => Ok(()),
        }
    }

    /// Pins the records of the newest releases and the paths in the catalog tree to their packages, and unpins the
    /// previous paths.
    fn pin_proofs(&self, publisher: &PublisherId, claims: &[Claim]) -> Result<(), Failure> {
        if claims.is_empty() {
            return Ok(());
        }
        let mut proofs = BTreeMap::new();
        for claim in claims {
            let Some(package) = claim.package() else { continue };
            let label = proof_label(publisher, package);
            let cids = self.proof_of(claim, package)?;
            for cid in &cids {
                let pin = Pin { label: label.clone(), cid: *cid, mode: PinMode::Direct };
                self.storage.store.pin(pin).map_err(failure::store)?;
            }
            proofs.insert(label, cids);
        }
        for pin in self.storage.store.pins() {
            if proofs.get(&pin.label).is_some_and(|cids| !cids.contains(&pin.cid)) {
                self.storage.store.unpin(&pin.label, &pin.cid).map_err(failure::store)?;
            }
        }
        self.storage.store.sync().map_err(failure::store)
    }

    fn proof_of(&self, claim: &Claim, package: &PackageId) -> Result<BTreeSet<Cid>, Failure> {
        let root = claim.head().head().record().catalog;
        let found = Walk::new(&root, package).run(|cid| self.storage.store.get(cid)).map_err(failure::failed)?;
        let mut cids = BTreeSet::new();
        for data in found.proof {
            cids.insert(*Block::dag_cbor(data).map_err(failure::store)?.cid());
        }
        cids.extend(claim.entry().map(|entry| *entry.release.cid()));
        Ok(cids)
    }

    /// Announces everything held and republishes every claim. It is called after a start; from then on the node repeats
    /// the announcements.
    pub(super) async fn tell_again(&self) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let mut place = 0;
        loop {
            let claims = self.mirror.book.with(move |book| book.claims_after(place, CLAIMS_AT_ONCE)).await?;
            let Some((last, _)) = claims.last() else { break };
            place = *last;
            for claim in mirror_book::verified(claims.into_iter().map(|(_, claim)| claim).collect()).await? {
                if let Err(failure) = self.announcer.publish_claim(&claim).await {
                    warn(&failure, "a claim is not told again");
                }
                self.stand_for(&claim).await?;
            }
        }
        for release in self.mirror.book.with(Book::releases).await?.into_iter().filter(|release| release.held) {
            for cid in [release.content, release.release] {
                node.provide(cid.hash().to_bytes()).await.map_err(failure::stopped)?;
            }
        }
        Ok(())
    }
}
