//! Publish: a directory or a tarball becomes blocks, a signed release, and news.
//!
//! The order matters for what survives a crash: blocks first, then records, then pins and a sync, then the catalog, and
//! only then the network. A publish that returned is on disk; one that died left unpinned blocks, which the next run
//! reuses, and pins that tell what it was about (`journal`).

mod content;
mod draft;
mod dry_run;
mod imports;
mod journal;
mod prepare;
mod replicas;
mod sieve;

use std::sync::Arc;

use ggen_blockstore::{Block, Cid, Pin, PinMode};
use semver::Version;

use self::draft::Draft;
use self::journal::{RECORD, release_label};
use self::replicas::Replicas;
pub(crate) use self::{
    imports::Imports,
    journal::{Step, Steps},
};
use super::{Operations, clock, failure, failure::usage};
use crate::{
    ErrorKind, Failure, Progress, PublishRequest, Published, Reporter,
    identity::{KeyPair, Signed},
    index::{
        Acceptance, Announcement, Claim, Publication, PublicationError, PublishOutcome, PublishRules, PublisherState,
        Refusal,
    },
    keys::DEFAULT_KEY,
    package::Release,
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
        if request.min_replicas > 0 && self.node.is_none() {
            return Err(usage("nobody can be asked for replicas offline"));
        }
        let replicas = Replicas { wanted: request.min_replicas, patience: request.timeout };
        let rules = PublishRules { allow_lower_version: request.skip_verify };
        let (key, progress) = (request.key.clone(), reporter.clone());
        let draft = move |operations: &Self| {
            let mut draft = operations.prepare(&request.path, &*progress)?;
            draft.namespace = request.namespace.or(draft.namespace).or_else(|| operations.config.namespace.clone());
            draft.version = version.unwrap_or(draft.version);
            Ok(draft)
        };
        self.publish_draft(key, rules, replicas, reporter, draft).await
    }

    /// Signs a release and tells the network. `draft` runs on a thread that may block.
    async fn publish_draft(
        self: &Arc<Self>,
        key: Option<String>,
        rules: PublishRules,
        replicas: Replicas,
        reporter: Arc<dyn Reporter>,
        draft: impl FnOnce(&Self) -> Result<Draft, Failure> + Send + 'static,
    ) -> Result<Published, Failure> {
        let key = key.unwrap_or_else(|| DEFAULT_KEY.to_owned());
        // Held by the work itself: whoever asked for it may go away while it goes on.
        let one_at_a_time = Arc::clone(&self.publishing).lock_owned().await;
        let (operations, name) = (Arc::clone(self), key.clone());
        let done = failure::blocking(move || {
            let mut steps = one_at_a_time;
            let draft = draft(&operations)?;
            operations.make_room_beside(draft.content.new_blocks)?;
            operations.publish_here(&mut steps, &draft, &name, rules)
        });
        let done = match done.await {
            Ok(done) => done,
            Err(failure) => {
                // What it brought is cache now, and may be more than there is room for.
                self.tidy().await;
                return Err(failure);
            }
        };
        reporter.report(Progress::Announcing);
        let release = done.signed.clone();
        let mut published = self.tell(done).await?;
        published.replicas = self.wait_for_replicas(&release, replicas, &*reporter).await?;
        // Whoever is told of the release is shown the recovery key with it, and keeps it elsewhere.
        let keys = self.keys.clone();
        failure::blocking(move || Ok(keys.forget_recovery(&key)?)).await?;
        Ok(published)
    }

    /// Everything that needs no network.
    fn publish_here(&self, steps: &mut Steps, draft: &Draft, name: &str, rules: PublishRules) -> Result<Done, Failure> {
        let now = clock::now();
        let opened = self.keys.publisher_or_new(name, now)?;
        let keys = &opened.keys;
        let (release, executables) = draft.release(keys, now)?;
        if let Some(block) = &executables {
            self.store.put(block).map_err(failure::store)?;
        }
        let signers: [&KeyPair; 1] = [&keys.signing];
        let publisher = keys.chain.publisher();
        let known = self.catalog.publisher(&publisher).map_err(failure::failed)?;
        let head = known.and_then(|known| known.head);
        let state = PublisherState { chain: &keys.chain, keys: &signers, head: head.as_ref() };
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
                let (chain, former) = (&keys.chain, head.as_ref());
                let step = Step { chain, former, publication: &publication, package: &package };
                self.keep_publication(steps, name, &step, executables.as_ref())?;
                (signed, publication.head, false)
            }
        };
        let (claim, _) = self.claim(&keys.chain, &head, &package)?;
        if !unchanged {
            self.news.tell_all(&claim);
        }
        let published = report(draft, &signed, unchanged, opened.recovery);
        Ok(Done { published, signed, claim })
    }

    /// Keeps a signed step: its blocks, pinned and durable, then the catalog, then the head beside the key. What it
    /// replaces is kept no longer.
    pub(super) fn keep_publication(
        &self,
        steps: &mut Steps,
        name: &str,
        step: &Step<'_>,
        executables: Option<&Block>,
    ) -> Result<(), Failure> {
        if steps.is_open {
            self.mend_steps()?;
        }
        steps.is_open = true;
        let Step { chain, publication, .. } = step;
        self.store.put_many(&publication.blocks).map_err(failure::store)?;
        let traces = self.begin_step(step)?;
        self.pin_records(publication, executables)?;
        let kept = self.catalog.record_publication(chain, publication, clock::now()).map_err(failure::failed)?;
        let refusal = match kept {
            Acceptance::Refused(refusal) => Some(refusal),
            Acceptance::Accepted | Acceptance::Known => None,
        };
        if refusal.is_none() {
            self.keys.keep_head(name, &publication.head)?;
        }
        self.end_step(publication.head.head().cid(), &traces, refusal.is_none())?;
        steps.is_open = false;
        refusal.map_or(Ok(()), |refusal| Err(signed_elsewhere(&refusal)))
    }

    /// Pins what must not be collected, then makes all of it durable.
    fn pin_records(&self, publication: &Publication, executables: Option<&Block>) -> Result<(), Failure> {
        let pin = |label: &str, cid: Cid, mode| {
            self.store.pin(Pin { label: label.to_owned(), cid, mode }).map_err(failure::store)
        };
        for block in &publication.blocks {
            pin(RECORD, *block.cid(), PinMode::Direct)?;
        }
        if let Some(release) = &publication.release {
            let label = release_label(release.record());
            if let Some(block) = executables {
                pin(&label, *block.cid(), PinMode::Direct)?;
            }
            pin(&label, *release.cid(), PinMode::Recursive)?;
        }
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
        published.announced_to = self.tell_claim(&claim).await?;
        let (package, version, to) = (&published.package, &published.version, published.announced_to);
        tracing::debug!(target: "ggen_marketplace::backend::p2p", package, version, to, "published");
        Ok(published)
    }

    /// Tells the network what has changed: the claim and the head on the DHT, the claim by gossip. Returns how many peers it
    /// went to.
    pub(super) async fn tell_claim(self: &Arc<Self>, claim: &Claim) -> Result<u64, Failure> {
        let Some(node) = &self.node else { return Ok(0) };
        let Some(package) = claim.package() else { return Ok(0) };
        let claim = self.publish_changed(claim.publisher(), package.clone()).await?;
        let news = Announcement::new(&self.config.packages_topic, &claim, clock::now());
        let data = news.and_then(|news| news.encode()).map_err(failure::failed)?;
        let subject = claim.publisher().to_bytes();
        Ok(node.announce(subject, data).await.map_err(failure::stopped)? as u64)
    }
}

fn parse_version(text: &str) -> Result<Version, Failure> {
    Version::parse(text).map_err(|error| {
        usage(format!("`{text}` is not a semantic version: {error}")).hinted("a version has three numbers: `1.2.0`")
    })
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

fn report(draft: &Draft, release: &Signed<Release>, unchanged: bool, recovery_key: Option<String>) -> Published {
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
        new_blocks: draft.content.new_blocks,
        announced_to: 0,
        replicas: 0,
        unchanged,
        entries: None,
        recovery_key,
    }
}
