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
    ErrorKind, Failure, Progress, PublishRequest, Published, Reporter,
    identity::{KeyPair, Signed},
    index::{Acceptance, Announcement, Claim, PublicationError, PublishOutcome, PublishRules, PublisherState, Refusal},
    keys::{DEFAULT_KEY, PublisherKeys},
    package::{PackageId, Release},
};

/// A release that is signed, stored and in the catalog.
struct Done {
    published: Published,
    signed: Signed<Release>,
    claim: Claim,
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
            let operations = Arc::clone(self);
            return failure::blocking(move || operations.dry_run(&request, version, &*reporter)).await;
        }
        refuse_unsupported(&request)?;
        let key = request.key.clone().unwrap_or_else(|| DEFAULT_KEY.to_owned());
        // Held by the work itself: whoever asked for it may go away while it goes on.
        let one_at_a_time = Arc::clone(&self.publishing).lock_owned().await;
        let operations = Arc::clone(self);
        let progress = reporter.clone();
        let done = failure::blocking(move || {
            let _one_at_a_time = one_at_a_time;
            operations.publish_here(&request, version, &*progress)
        });
        let done = done.await?;
        reporter.report(Progress::Announcing);
        let published = self.tell(done).await?;
        // Whoever is told of the release is shown the recovery key with it, and keeps it elsewhere.
        let keys = self.keys.clone();
        failure::blocking(move || Ok(keys.forget_recovery(&key)?)).await?;
        Ok(published)
    }

    /// Everything that needs no network.
    fn publish_here(
        &self,
        request: &PublishRequest,
        version: Option<Version>,
        reporter: &dyn Reporter,
    ) -> Result<Done, Failure> {
        let prepared = self.prepare(&request.path, reporter)?;
        let now = clock::now();
        let name = request.key.as_deref().unwrap_or(DEFAULT_KEY);
        let opened = self.keys.publisher_or_new(name, now)?;
        let (release, executables) = self.release(request, version, &prepared, &opened.keys)?;
        if let Some(block) = &executables {
            self.store.put(block).map_err(failure::store)?;
        }
        let keys = &opened.keys;
        let signers: [&KeyPair; 1] = [&keys.signing];
        let publisher = keys.chain.publisher();
        let known = self.catalog.publisher(&publisher).map_err(failure::failed)?;
        let head = known.and_then(|known| known.head);
        let state = PublisherState { chain: &keys.chain, keys: &signers, head: head.as_ref() };
        let rules = PublishRules { allow_lower_version: request.skip_verify };
        let package = release.package.clone();
        let outcome =
            crate::index::publish(state, release, rules, |cid| self.store.get(cid), now).map_err(publication_failed)?;
        let (signed, head, unchanged) = match outcome {
            PublishOutcome::Unchanged { release } => {
                let known = self.catalog.release(&release).map_err(failure::failed)?;
                let known = known.ok_or_else(|| failure::store(ggen_blockstore::Error::NotFound { cid: *release }))?;
                (known.release, head.expect("a version was published before"), true)
            }
            PublishOutcome::Published(publication) => {
                let signed = publication.release.clone().expect("publishing makes a release");
                self.store.put_many(&publication.blocks).map_err(failure::store)?;
                self.pin_release(&signed, executables.as_ref(), &publication.blocks)?;
                let kept = self.catalog.record_publication(&keys.chain, &publication, now).map_err(failure::failed)?;
                if let Acceptance::Refused(refusal) = kept {
                    return Err(signed_elsewhere(&refusal));
                }
                self.keys.keep_head(name, &publication.head)?;
                (signed, publication.head, false)
            }
        };
        let (claim, _) = self.claim(&keys.chain, &head, &package)?;
        let published = report(&prepared, &signed, unchanged, opened.recovery);
        Ok(Done { published, signed, claim })
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

    /// Tells the network: records and providers on the DHTs, news by gossip.
    async fn tell(self: &Arc<Self>, done: Done) -> Result<Published, Failure> {
        let Done { mut published, signed, claim } = done;
        let Some(node) = &self.node else { return Ok(published) };
        let record = signed.record();
        let roots = vec![record.content, record.manifest, *signed.cid()];
        node.new_blocks(roots).await.map_err(failure::stopped)?;
        self.provide(&signed).await?;
        self.publish_claims().await?;
        let news = Announcement::new(&self.config.packages_topic, &claim, clock::now());
        let data = news.and_then(|news| news.encode()).map_err(failure::failed)?;
        published.announced_to = node.announce(data).await.map_err(failure::stopped)? as u64;
        Ok(published)
    }
}

fn refuse_unsupported(request: &PublishRequest) -> Result<(), Failure> {
    match request.min_replicas {
        0 => Ok(()),
        _ => Err(usage("waiting for replicas is not supported by this version")),
    }
}

fn parse_version(text: &str) -> Result<Version, Failure> {
    Version::parse(text).map_err(|error| usage(format!("`{text}` is not a semantic version: {error}")))
}

/// The catalog knows a newer head of this publisher than the one that was built upon.
fn signed_elsewhere(refusal: &Refusal) -> Failure {
    Failure::from_error(ErrorKind::Verification, refusal)
        .while_doing("cannot publish: this publisher's keys have signed something else meanwhile")
        .hinted("connect to the machine that signed it and run the same command again")
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

fn report(prepared: &Prepared, release: &Signed<Release>, unchanged: bool, recovery_key: Option<String>) -> Published {
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
