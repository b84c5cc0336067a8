//! Claims of one's own: made from what the store and the catalog hold, told to the DHTs.

use ggen_blockstore::Cid;

use super::{Operations, clock, failure};
use crate::{
    ErrorKind, Failure,
    identity::{Envelope, IdentityChain, RecordError, Signed},
    index::{
        Claim, ClaimSet, PublisherEntry, VerifiedHead, VersionEntry, Walk, package_key, publisher_key, qualified_key,
    },
    package::{PackageId, Release},
};

impl Operations {
    /// The claim that a head stands for the newest release of a package, with its proof.
    pub(super) fn claim(
        &self,
        chain: &IdentityChain,
        head: &VerifiedHead,
        package: &PackageId,
    ) -> Result<Claim, Failure> {
        let walk = Walk::new(&head.head().record().catalog, package);
        let found = walk.run(|cid| self.store.get(cid)).map_err(failure::failed)?;
        let newest = found.entries.iter().rev().find(|entry| !entry.yanked).or(found.entries.last());
        let newest = newest.ok_or_else(|| {
            Failure::new(ErrorKind::NotFound, format!("`{package}` is not in the publisher's catalog"))
        })?;
        let release = self.stored_release(newest)?;
        Claim::for_package(chain, head, &release, Some(&found), clock::now()).map_err(failure::failed)
    }

    fn stored_release(&self, entry: &VersionEntry) -> Result<Signed<Release>, Failure> {
        let cid: Cid = *entry.release.cid();
        let payload = self.store.get(&cid).map_err(failure::store)?;
        let payload = payload.ok_or_else(|| failure::store(ggen_blockstore::Error::NotFound { cid }))?;
        let opened: Result<_, RecordError> = Envelope::from_parts(payload.to_vec(), entry.signatures.clone()).open();
        opened.map_err(failure::verification)
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
        let (Some(node), Some(package)) = (&self.node, claim.package()) else { return Ok(()) };
        let publisher = claim.publisher();
        let head = Claim::for_publisher(claim.chain(), claim.head(), clock::now()).map_err(failure::failed)?;
        for (key, claim) in [
            (package_key(package), claim.clone()),
            (qualified_key(&publisher, package), claim.clone()),
            (publisher_key(&publisher), head),
        ] {
            let value = claim_set(&key, claim)?;
            node.publish(key, value).await.map_err(failure::stopped)?;
        }
        Ok(())
    }

    /// Announces again what this home has published: after a start, and from then on when it is due.
    pub(crate) async fn provide_everything(&self) -> Result<(), Failure> {
        let keys = self.list_keys().await?;
        let publishers = keys.iter().filter_map(|key| key.publisher.as_ref()?.parse().ok()).collect::<Vec<_>>();
        for publisher in publishers {
            let known = self.with_catalog(move |catalog| {
                let Some(entry) = catalog.publisher(&publisher)? else { return Ok(None) };
                Ok(Some((entry, catalog.packages_of(&publisher)?)))
            });
            let Some((PublisherEntry { chain, head: Some(head), .. }, packages)) = known.await? else { continue };
            for package in packages {
                // The walk reads a handful of small blocks that are all here.
                match self.claim(&chain, &head, &package) {
                    Ok(claim) => self.provide_package(&claim).await?,
                    Err(failure) => {
                        tracing::warn!(target: "ggen_marketplace::backend::p2p", %package, %failure, "not announced");
                    }
                }
            }
        }
        Ok(())
    }

    async fn provide_package(&self, claim: &Claim) -> Result<(), Failure> {
        self.publish_claim(claim).await?;
        for entry in claim.versions() {
            self.provide(&self.stored_release(entry)?).await?;
        }
        Ok(())
    }
}

fn claim_set(key: &[u8], claim: Claim) -> Result<Vec<u8>, Failure> {
    let mut set = ClaimSet::new(key);
    set.insert(claim).and_then(|()| set.encode()).map_err(failure::failed)
}
