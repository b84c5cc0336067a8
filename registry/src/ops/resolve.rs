//! From a name to a release: whose it is, which version, and the proof of both.
//!
//! Claims come from the catalog and from the DHT; each is verified before it is looked at, and the catalog keeps the
//! highest head of every publisher. Then the publisher's own Merkle map says which versions there are, and the release
//! that is chosen carries the publisher's signature.

use std::sync::Arc;

use ggen_blockstore::{Block, Cid};

use super::{Operations, clock, download::Download, failure};
use crate::{
    ErrorKind, Failure, Progress, Reporter,
    identity::{Envelope, PublisherId, Record, RecordError, Signed},
    index::{Claim, ClaimSet, Found, VersionEntry, Walk, package_key, qualified_key},
    package::{PackageId, Release, Requirement},
};

impl Operations {
    /// Finds the release that a name and a requirement mean.
    pub(super) async fn resolve(
        &self,
        download: &mut Download,
        offline: bool,
        publisher: Option<PublisherId>,
        package: &PackageId,
        requirement: &Requirement,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Release, Failure> {
        if !offline {
            reporter.report(Progress::Finding { peers_asked: download.peers_asked() as u64 });
            self.ask_the_dht(publisher.as_ref(), package).await?;
        }
        let claim = self.claimant(publisher, package).await?;
        if let Some(entry) = claim.entry() {
            // Whoever has the release is likely to have the publisher's records too.
            download.search_under(entry.release.cid());
        }
        let found = self.versions(download, &claim, package, requirement).await?;
        let chosen = choose(&found.entries, package, requirement)?;
        self.release_of(download, &claim, package, chosen).await
    }

    /// Looks the name up on the DHT and keeps what is true of the answers.
    async fn ask_the_dht(&self, publisher: Option<&PublisherId>, package: &PackageId) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let key = match publisher {
            Some(publisher) => qualified_key(publisher, package),
            None => package_key(package),
        };
        let mut values = node.find_record(key.clone()).await.map_err(failure::stopped)?;
        while let Some(value) = values.recv().await {
            let key = key.clone();
            self.catalog.with(move |catalog| accept_all(catalog, &key, &value)).await?;
        }
        Ok(())
    }

    /// The claim that counts: the named publisher's, or the only one there is.
    async fn claimant(&self, publisher: Option<PublisherId>, package: &PackageId) -> Result<Claim, Failure> {
        let name = package.clone();
        let mut claims = self.catalog.with(move |catalog| catalog.claims(&name).map_err(failure::failed)).await?;
        if let Some(publisher) = publisher {
            claims.retain(|claim| claim.publisher() == publisher);
        }
        match claims.len() {
            0 => Err(Failure::new(ErrorKind::NotFound, format!("nobody claims `{package}`")).hinted(
                "check the name, or connect to more peers with `ggen marketplace p2p bootstrap ADDRESS`",
            )),
            1 => Ok(claims.remove(0)),
            count => {
                let message = format!("`{package}` is claimed by {count} publishers, and none of them is pinned");
                let causes = claims.iter().map(|claim| format!("{}/{package}", claim.publisher())).collect();
                let failure = Failure { causes, ..Failure::new(ErrorKind::Verification, message) };
                Err(failure.hinted("name the publisher you mean: `<publisher>/ns/name`"))
            }
        }
    }

    /// The versions of a package: from the proof in the claim, or from the publisher's catalog, block by block.
    async fn versions(
        &self,
        download: &mut Download,
        claim: &Claim,
        package: &PackageId,
        requirement: &Requirement,
    ) -> Result<Found, Failure> {
        if let Some(found) = claim.entry().and_then(|entry| entry.found.as_ref())
            && (found.complete || choose(&found.entries, package, requirement).is_ok())
        {
            return Ok(found.clone());
        }
        let mut walk = Walk::new(&claim.head().head().record().catalog, package);
        while let Some(cid) = walk.wants() {
            let data = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
            let block = Block::verify(cid, data).map_err(failure::store)?;
            walk.supply(&block).map_err(failure::verification)?;
        }
        walk.finish().map_err(failure::verification)
    }

    /// Brings a release record and checks its signatures against the publisher's identity.
    async fn release_of(
        &self,
        download: &mut Download,
        claim: &Claim,
        package: &PackageId,
        entry: &VersionEntry,
    ) -> Result<Release, Failure> {
        let cid: Cid = *entry.release.cid();
        let payload = match claim.entry().filter(|known| *known.release.cid() == cid) {
            Some(known) => known.release.envelope().block().map_err(failure::verification)?.data().clone(),
            None => download.block(cid).await.map_err(|error| failure::download(&cid, error))?,
        };
        let envelope = Envelope::from_parts(payload.to_vec(), entry.signatures.clone());
        let opened: Result<Signed<Release>, RecordError> = envelope.open();
        let signed = opened.map_err(failure::verification)?;
        claim.chain().authorise_historically(&signed).map_err(failure::verification)?;
        let release = signed.into_record();
        if release.package != *package || release.version != entry.version {
            let message = format!("the release {cid} is of {}@{}", release.package, release.version);
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        Ok(release)
    }
}

fn accept_all(catalog: &mut crate::index::Catalog, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    let claims = match ClaimSet::verify(key, value, clock::now()) {
        Ok(claims) => claims,
        Err(error) => {
            tracing::info!(target: "ggen_marketplace::backend::p2p", %error, "a record of the DHT is not valid");
            return Ok(());
        }
    };
    for claim in claims.claims() {
        catalog.accept_claim(claim).map_err(failure::failed)?;
    }
    Ok(())
}

/// The newest version that fits and is not yanked; an exact requirement may name a yanked one.
fn choose<'a>(
    entries: &'a [VersionEntry],
    package: &PackageId,
    requirement: &Requirement,
) -> Result<&'a VersionEntry, Failure> {
    let candidates = entries.iter().filter(|entry| !entry.yanked || requirement.is_exact());
    requirement.newest(candidates, |entry| &entry.version).ok_or_else(|| {
        let newest = entries.iter().filter(|entry| !entry.yanked).next_back();
        let newest = newest.map_or("there is none that is not yanked".to_owned(), |entry| {
            format!("the newest is {}", entry.version)
        });
        Failure::new(ErrorKind::NotFound, format!("no version of `{package}` fits `{requirement}`: {newest}"))
    })
}
