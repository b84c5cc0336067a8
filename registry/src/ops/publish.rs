//! Publish: a directory or a tarball becomes blocks, a signed release, and news.
//!
//! The order matters for what survives a crash: blocks first, then records, then pins and a sync, then the catalog, and
//! only then the network. A publish that returned is on disk; one that died left unpinned blocks, which the next run
//! reuses.

mod dry_run;
mod prepare;

use std::sync::Arc;

use ggen_blockstore::{Block, Cid, Pin, PinMode};
use semver::Version;

use self::prepare::Prepared;
use super::{Operations, clock, failure, failure::usage};
use crate::{
    Failure, Progress, PublishRequest, Published, Reporter,
    identity::{KeyPair, Signed},
    index::{
        Announcement, Claim, ClaimSet, PublicationError, PublishOutcome, PublishRules, PublisherState, VerifiedHead,
        Walk, package_key, publisher_key, qualified_key,
    },
    keys::{DEFAULT_KEY, PublisherKeys},
    package::{PackageId, Release},
};

impl Operations {
    /// Publishes a package.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        request: PublishRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Published, Failure> {
        let version = request.version.as_deref().map(parse_version).transpose()?;
        if request.dry_run {
            let operations = Arc::clone(self);
            return failure::blocking(move || operations.dry_run(&request, version, &*reporter)).await;
        }
        let _one_at_a_time = self.publishing.lock().await;
        let operations = Arc::clone(self);
        let progress = reporter.clone();
        let (published, claim) =
            failure::blocking(move || operations.publish_here(&request, version, &*progress)).await?;
        reporter.report(Progress::Announcing);
        self.tell(published, claim).await
    }

    /// Everything that needs no network.
    fn publish_here(
        &self,
        request: &PublishRequest,
        version: Option<Version>,
        reporter: &dyn Reporter,
    ) -> Result<(Published, Claim), Failure> {
        let prepared = self.prepare(&request.path, reporter)?;
        let now = clock::now();
        let opened = self.keys.publisher_or_new(request.key.as_deref().unwrap_or(DEFAULT_KEY), now)?;
        let (release, executables) = self.release(request, version, &prepared, &opened.keys)?;
        if let Some(block) = &executables {
            self.store.put(block).map_err(failure::store)?;
        }
        let keys = &opened.keys;
        let signers: [&KeyPair; 1] = [&keys.signing];
        let mut catalog = self.catalog.lock();
        let head = catalog.head(&keys.chain.publisher()).map_err(failure::failed)?;
        let state = PublisherState { chain: &keys.chain, keys: &signers, head: head.as_ref() };
        let rules = PublishRules { allow_lower_version: request.skip_verify };
        let outcome = crate::index::publish(state, release.clone(), rules, |cid| self.store.get(cid), now)
            .map_err(publication_failed)?;
        let (claim, unchanged) = match outcome {
            PublishOutcome::Unchanged { .. } => {
                let known = catalog.claim(&keys.chain.publisher(), &release.package).map_err(failure::failed)?;
                let claim = known.ok_or_else(|| missing_claim(&release.package))?;
                (claim, true)
            }
            PublishOutcome::Published(publication) => {
                self.store.put_many(&publication.blocks).map_err(failure::store)?;
                let signed = publication.release.as_ref().expect("publishing makes a release");
                self.pin_release(signed, executables.as_ref(), &publication.blocks)?;
                let claim = self.claim(keys, &publication.head, signed)?;
                catalog.accept_publication(&publication, &claim).map_err(failure::failed)?;
                (claim, false)
            }
        };
        drop(catalog);
        let published = report(&prepared, &claim, unchanged, opened.recovery);
        Ok((published, claim))
    }

    fn release(
        &self,
        request: &PublishRequest,
        version: Option<Version>,
        prepared: &Prepared,
        keys: &PublisherKeys,
    ) -> Result<(Release, Option<Block>), Failure> {
        let Prepared { imported, gpack, manifest } = prepared;
        let publisher = keys.chain.publisher();
        let short = publisher.short();
        let named = request.namespace.as_deref().or(gpack.namespace.as_deref()).or(self.config.namespace.as_deref());
        let package = PackageId::try_new(named.unwrap_or(&short), &gpack.name).map_err(usage)?;
        let mut release = Release {
            package,
            version: version.unwrap_or_else(|| gpack.version.clone()),
            content: imported.root,
            manifest: manifest.root,
            manifest_bytes: manifest.manifest_bytes,
            blocks: manifest.entries,
            size: imported.size_bytes,
            files: imported.files,
            executables: Vec::new(),
            executables_block: None,
            metadata: gpack.metadata.clone(),
            dependencies: gpack.dependencies.clone(),
            publisher,
            predecessor: None,
            created: clock::now(),
        };
        let block = release.set_executables(imported.executables.clone()).map_err(failure::failed)?;
        Ok((release, block))
    }

    /// Pins what must not be collected, then makes all of it durable.
    fn pin_release(
        &self,
        release: &Signed<Release>,
        executables: Option<&Block>,
        records: &[Block],
    ) -> Result<(), Failure> {
        let record = release.record();
        let label = format!("release/{}@{}", record.package, record.version);
        let pin = |label: &str, cid: Cid, mode| {
            self.store.pin(Pin { label: label.to_owned(), cid, mode }).map_err(failure::store)
        };
        for block in records {
            pin("record", *block.cid(), PinMode::Direct)?;
        }
        if let Some(block) = executables {
            pin(&label, *block.cid(), PinMode::Direct)?;
        }
        pin(&label, *release.cid(), PinMode::Recursive)?;
        self.store.sync().map_err(failure::store)
    }

    /// The claim that goes out: the release, and the proof that the head stands for it.
    fn claim(
        &self,
        keys: &PublisherKeys,
        head: &VerifiedHead,
        release: &Signed<Release>,
    ) -> Result<Claim, Failure> {
        let walk = Walk::new(&head.head().record().catalog, &release.record().package);
        let found = walk.run(|cid| self.store.get(cid)).map_err(failure::failed)?;
        Claim::for_package(&keys.chain, head, release, Some(&found), clock::now()).map_err(failure::failed)
    }

    /// Tells the network: records and providers on the DHTs, news by gossip.
    async fn tell(&self, mut published: Published, claim: Claim) -> Result<Published, Failure> {
        let Some(node) = &self.node else { return Ok(published) };
        self.provide(&claim).await?;
        let topic = self.config.packages_topic.clone();
        let data = Announcement::new(&topic, &claim, clock::now()).and_then(|news| news.encode());
        let reached = node.announce(data.map_err(failure::failed)?).await.map_err(failure::stopped)?;
        published.announced_to = reached as u64;
        Ok(published)
    }

    /// Keeps a release of one's own findable: content and release are provided, its claim stands under the package and
    /// under the publisher. O(releases), not O(blocks).
    pub(super) async fn provide(&self, claim: &Claim) -> Result<(), Failure> {
        let (Some(node), Some(entry)) = (&self.node, claim.entry()) else { return Ok(()) };
        let release = entry.release.record();
        let publisher = claim.publisher();
        for cid in [release.content, *entry.release.cid()] {
            node.provide(cid.hash().to_bytes()).await.map_err(failure::stopped)?;
        }
        for key in [package_key(&release.package), qualified_key(&publisher, &release.package)] {
            let value = claim_set(&key, claim.clone())?;
            node.publish(key, value).await.map_err(failure::stopped)?;
        }
        let key = publisher_key(&publisher);
        let head = Claim::for_publisher(claim.chain(), claim.head(), clock::now()).map_err(failure::failed)?;
        let value = claim_set(&key, head)?;
        node.publish(key, value).await.map_err(failure::stopped)
    }
}

fn parse_version(text: &str) -> Result<Version, Failure> {
    Version::parse(text).map_err(|error| usage(format!("`{text}` is not a semantic version: {error}")))
}

fn publication_failed(error: PublicationError) -> Failure {
    let failure = failure::failed(&error);
    match &error {
        PublicationError::VersionTaken { .. } => {
            failure.hinted("a published version never changes: raise the version in gpack.toml, or give `--version`")
        }
        PublicationError::LowerVersion { .. } => failure.hinted("`--skip-verify` publishes it all the same"),
        _ => failure,
    }
}

fn claim_set(key: &[u8], claim: Claim) -> Result<Vec<u8>, Failure> {
    let mut set = ClaimSet::new(key);
    set.insert(claim).and_then(|()| set.encode()).map_err(failure::failed)
}

fn report(prepared: &Prepared, claim: &Claim, unchanged: bool, recovery_key: Option<String>) -> Published {
    let release = claim.entry().map(|entry| &entry.release).expect("the claim was made for a release");
    let record = release.record();
    Published {
        package: record.package.to_string(),
        version: record.version.to_string(),
        cid: record.content.to_string(),
        release: Some(release.cid().to_string()),
        publisher: Some(record.publisher.to_string()),
        files: record.files,
        size_bytes: record.size,
        blocks: record.blocks,
        new_blocks: prepared.imported.put.new_blocks,
        announced_to: 0,
        replicas: 0,
        unchanged,
        entries: None,
        recovery_key,
    }
}
