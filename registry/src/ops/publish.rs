//! Publish: a directory or a tarball becomes blocks, a signed release, and news.
//!
//! The order matters for what survives a crash: blocks first, then records, then pins and a sync, then the catalog, and
//! only then the network. A publish that returned is on disk; one that died left unpinned blocks, which the next run
//! reuses.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ggen_blockstore::{
    Block, Blockstore, Cid, FileReader, ImportOptions, ImportProgress, Imported, Pin, PinMode, dfs_blocks,
    import_directory, import_tarball, list_directory, resolve,
};
use semver::Version;

use super::{Operations, clock, failure, failure::usage};
use crate::{
    ErrorKind, Failure, Progress, PublishRequest, Published, Reporter,
    identity::{KeyPair, Signed},
    index::{
        Announcement, Claim, ClaimSet, PublicationError, PublishOutcome, PublishRules, PublisherState, Walk,
        package_key, publisher_key, qualified_key,
    },
    keys::{DEFAULT_KEY, PublisherKeys},
    package::{Gpack, MAX_GPACK_BYTES, ManifestBuilder, ManifestSummary, PackageId, Release},
};

/// Name of the file that says what a package is.
const GPACK: &str = "gpack.toml";
/// Blocks of a manifest written at once.
const MANIFEST_BATCH: usize = 16;

/// A package that is in the store, and what it says of itself.
struct Prepared {
    imported: Imported,
    gpack: Gpack,
    manifest: ManifestSummary,
}

impl Operations {
    /// Publishes a package.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        request: PublishRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Published, Failure> {
        let version = request.version.as_deref().map(parse_version).transpose()?;
        if request.dry_run {
            return self.dry_run(request, version).await;
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
        if request.path.is_dir() {
            // What is wrong with the package is said before it is hashed.
            read_gpack_of(&request.path)?;
        }
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

    fn prepare(&self, path: &Path, reporter: &dyn Reporter) -> Result<Prepared, Failure> {
        let progress = |at: ImportProgress| {
            let (files, bytes, total_bytes) = (at.files, at.bytes, at.total_bytes);
            reporter.report(Progress::Importing { files, bytes, total_bytes });
        };
        let options = ImportOptions { progress: Some(&progress), ..ImportOptions::default() };
        let import = if path.is_dir() { import_directory } else { import_tarball };
        let imported = import(&*self.store, path, &options)
            .map_err(|error| failure::store(error).while_doing(format!("cannot import `{}`", path.display())))?;
        let gpack = self.read_gpack(imported.root, path)?;
        let manifest = self.write_manifest(imported.root)?;
        Ok(Prepared { imported, gpack, manifest })
    }

    /// What counts is the file that is in the package.
    fn read_gpack(&self, root: Cid, path: &Path) -> Result<Gpack, Failure> {
        let missing = || no_gpack(path);
        let file = resolve(&*self.store, root, GPACK).map_err(|_| missing())?;
        let mut text = Vec::new();
        let reader = FileReader::open(&*self.store, file).map_err(|_| missing())?;
        std::io::Read::read_to_end(&mut std::io::Read::take(reader, MAX_GPACK_BYTES as u64 + 1), &mut text)
            .map_err(failure::failed)?;
        parse_gpack(&path.join(GPACK), &text)
    }

    fn write_manifest(&self, root: Cid) -> Result<ManifestSummary, Failure> {
        let mut builder = ManifestBuilder::new();
        let mut batch = Vec::new();
        for visited in dfs_blocks(&*self.store, root) {
            let (cid, size) = visited.map_err(failure::store)?;
            batch.extend(builder.push(&cid, size).map_err(failure::failed)?);
            if batch.len() >= MANIFEST_BATCH {
                self.store.put_many(&batch).map_err(failure::store)?;
                batch.clear();
            }
        }
        let (last, summary) = builder.finish().map_err(failure::failed)?;
        batch.extend(last);
        self.store.put_many(&batch).map_err(failure::store)?;
        Ok(summary)
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
        head: &crate::index::VerifiedHead,
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

    async fn dry_run(self: &Arc<Self>, request: PublishRequest, version: Option<Version>) -> Result<Published, Failure> {
        let operations = Arc::clone(self);
        failure::blocking(move || operations.dry_run_here(&request, version)).await
    }
}

impl Operations {
    /// What would be published, and under which CID; nothing is stored or signed.
    fn dry_run_here(&self, request: &PublishRequest, version: Option<Version>) -> Result<Published, Failure> {
        let path = &request.path;
        let imported = import(&NullBlockstore::new(), path, &|_| {})?;
        let gpack = if path.is_dir() { Some(read_gpack_of(path)?) } else { None };
        let publisher = self.keys.publisher(request.key.as_deref().unwrap_or(DEFAULT_KEY))?;
        let publisher = publisher.map(|keys| keys.chain.publisher());
        let entries = imported.entries.iter().map(|entry| entry.path.clone()).collect();
        let namespace = request.namespace.clone().or_else(|| gpack.as_ref().and_then(|gpack| gpack.namespace.clone()));
        let namespace = namespace.or_else(|| self.config.namespace.clone());
        let namespace = namespace.or_else(|| publisher.as_ref().map(|publisher| publisher.short()));
        let name = gpack.as_ref().map(|gpack| gpack.name.clone());
        let version = version.or_else(|| gpack.as_ref().map(|gpack| gpack.version.clone()));
        Ok(Published {
            package: format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default()),
            version: version.map(|version| version.to_string()).unwrap_or_default(),
            cid: imported.root.to_string(),
            release: None,
            publisher: publisher.map(|publisher| publisher.to_string()),
            files: imported.files,
            size_bytes: imported.size_bytes,
            blocks: imported.blocks,
            new_blocks: 0,
            announced_to: 0,
            replicas: 0,
            unchanged: false,
            entries: Some(entries),
            recovery_key: None,
        })
    }
}
