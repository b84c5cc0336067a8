//! From a name to a release: whose it is, which version, and the proof of both.
//!
//! Claims come from the DHT and from the catalog; each is verified before it is looked at, and the catalog keeps the
//! highest head of every publisher. Then the publisher's own Merkle map says which versions there are, and the release
//! that is chosen carries the publisher's signature.

use std::{collections::HashSet, sync::Arc};

use ggen_blockstore::{Block, Cid};

use super::{Operations, clock, download::Download, failure};
use crate::{
    BootstrapRequest, ErrorKind, Failure, Progress, Reporter,
    identity::{Envelope, IdentityChain, PublisherId, RecordError, Signed},
    index::{Claim, ClaimSet, PublisherEntry, VersionEntry, Walk, package_key, qualified_key},
    package::{PackageId, Release, Requirement},
};

/// A name, as the user typed it.
pub(super) struct Wanted<'a> {
    pub(super) publisher: Option<PublisherId>,
    pub(super) package: &'a PackageId,
    pub(super) requirement: &'a Requirement,
}

impl Operations {
    /// Finds the release that a name and a requirement mean.
    pub(super) async fn resolve(
        &self,
        download: &mut Download,
        wanted: &Wanted<'_>,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Release, Failure> {
        reporter.report(Progress::Finding { peers_asked: download.peers_asked() as u64 });
        let claims = if download.is_offline() { Vec::new() } else { self.ask_the_dht(wanted).await? };
        let publisher = self.claimant(wanted, &claims).await?;
        let id = publisher.chain.publisher();
        let claim = claims.into_iter().filter(|claim| claim.publisher() == id).max_by_key(|claim| claim.head().order());
        if let Some(entry) = claim.as_ref().and_then(Claim::entry) {
            // Whoever has the release is likely to have the publisher's records too.
            download.search_under(entry.release.cid());
        }
        let versions = self.versions(download, &publisher, claim.as_ref(), wanted.package).await?;
        let chosen = choose(&versions, wanted)?;
        download.search_under(chosen.release.cid());
        self.release_of(download, &publisher.chain, wanted.package, chosen).await
    }

    /// A node that has only just started may not have reached its bootstrap nodes yet: they are awaited, so that nobody
    /// is not the answer before somebody was asked.
    async fn know_somebody(&self) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let nodes: Vec<_> = self.config.bootstrap_nodes.iter().map(ToString::to_string).collect();
        if !nodes.is_empty() && node.snapshot().await.map_err(failure::stopped)?.ggen_routing_peers == 0 {
            let timeout = self.config.timeouts.dial();
            // Those that cannot be reached are tried again by the node itself.
            let _unreached = self.bootstrap(BootstrapRequest { nodes, timeout }).await?;
        }
        Ok(())
    }

    /// Looks the name up on the DHT, keeps what is true of the answers, and returns it.
    async fn ask_the_dht(&self, wanted: &Wanted<'_>) -> Result<Vec<Claim>, Failure> {
        let Some(node) = &self.node else { return Ok(Vec::new()) };
        self.know_somebody().await?;
        let key = match &wanted.publisher {
            Some(publisher) => qualified_key(publisher, wanted.package),
            None => package_key(wanted.package),
        };
        let mut set = ClaimSet::new(&key);
        let mut values = node.find_record(key.clone()).await.map_err(failure::stopped)?;
        let mut seen = HashSet::new();
        while let Some(value) = values.recv().await {
            // Most peers give the same answer.
            if seen.insert(value.clone()) {
                let key = key.clone();
                set = failure::blocking(move || Ok(merge_valid(set, &key, &value))).await?;
            }
        }
        let claims: Vec<Claim> = set.claims().cloned().collect();
        self.keep(claims.clone()).await?;
        Ok(claims)
    }

    /// Claims go into the catalog, and the blocks that prove them into the store, as cache: the next walk through that
    /// publisher's catalog needs no network.
    async fn keep(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        let (catalog, store) = (Arc::clone(&self.catalog), self.store.clone());
        failure::blocking(move || {
            let proofs = claims.iter().filter_map(|claim| claim.entry()?.found.as_ref()).flat_map(|found| &found.proof);
            let blocks: Result<Vec<_>, _> = proofs.map(|data| Block::dag_cbor(data.clone())).collect();
            store.put_many(&blocks.map_err(failure::store)?).map_err(failure::store)?;
            catalog.accept_claims(&claims, "dht", clock::now()).map_err(failure::failed)?;
            Ok(())
        })
        .await
    }

    /// The publisher that counts: the one that was named, or the only one that claims the name.
    async fn claimant(&self, wanted: &Wanted<'_>, claims: &[Claim]) -> Result<PublisherEntry, Failure> {
        let package = wanted.package.clone();
        let mut publishers = self.with_catalog(move |catalog| catalog.publishers_of(&package)).await?;
        for claim in claims.iter().map(Claim::publisher) {
            if !publishers.contains(&claim) {
                publishers.push(claim);
            }
        }
        if let Some(named) = &wanted.publisher {
            publishers.retain(|publisher| publisher == named);
        }
        let package = wanted.package;
        let publisher = match publishers.len() {
            1 => publishers.remove(0),
            0 => {
                let failure = Failure::new(ErrorKind::NotFound, format!("nobody claims `{package}`"));
                return Err(failure
                    .hinted("check the name, or connect to more peers with `ggen marketplace p2p bootstrap ADDRESS`"));
            }
            count => {
                let message = format!("`{package}` is claimed by {count} publishers");
                let causes = publishers.iter().map(|publisher| format!("{publisher}/{package}")).collect();
                let failure = Failure { causes, ..Failure::new(ErrorKind::Verification, message) };
                return Err(failure.hinted("name the publisher you mean: `<publisher>/ns/name`"));
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
    async fn versions(
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
        let proven = claim.filter(|claim| claim.head().head().cid() == head.head().cid());
        match proven.and_then(|claim| claim.entry()?.found.as_ref()) {
            Some(found) if found.complete => Ok(found.entries.clone()),
            _ => walk(download, head.head().record().catalog, package).await,
        }
    }

    /// Brings a release record and checks its signatures against the publisher's identity.
    async fn release_of(
        &self,
        download: &mut Download,
        chain: &IdentityChain,
        package: &PackageId,
        entry: &VersionEntry,
    ) -> Result<Release, Failure> {
        let cid: Cid = *entry.release.cid();
        let payload = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        let opened: Result<Signed<Release>, RecordError> =
            Envelope::from_parts(payload.to_vec(), entry.signatures.clone()).open();
        let signed = opened.map_err(failure::verification)?;
        chain.authorise_historically(&signed).map_err(failure::verification)?;
        let release = signed.into_record();
        let is_theirs = release.publisher == chain.publisher();
        if release.package != *package || release.version != entry.version || !is_theirs {
            let message = format!(
                "the release {cid} is of {}/{}@{}, not what its publisher's catalog says",
                release.publisher, release.package, release.version
            );
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        Ok(release)
    }
}

fn merge_valid(set: ClaimSet, key: &[u8], value: &[u8]) -> ClaimSet {
    let mut merged = set.clone();
    match ClaimSet::verify(key, value, clock::now()).and_then(|other| merged.merge(other)) {
        Ok(()) => merged,
        Err(error) => {
            tracing::info!(target: "ggen_marketplace::backend::p2p", %error, "a record of the DHT is not valid");
            set
        }
    }
}

/// Looks a package up in a publisher's catalog, block by block.
async fn walk(
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

/// The newest version that fits and is not yanked; an exact requirement may name a yanked one.
fn choose<'a>(entries: &'a [VersionEntry], wanted: &Wanted<'_>) -> Result<&'a VersionEntry, Failure> {
    let Wanted { package, requirement, .. } = wanted;
    let candidates = entries.iter().filter(|entry| !entry.yanked || requirement.is_exact());
    requirement.newest(candidates, |entry| &entry.version).ok_or_else(|| {
        let newest = match entries.iter().rfind(|entry| !entry.yanked) {
            Some(entry) => format!("the newest is {}", entry.version),
            None => "none is left that is not yanked".to_owned(),
        };
        let message = format!("no version of `{package}` fits `{requirement}`: {newest}");
        Failure::new(ErrorKind::NotFound, message)
    })
}
