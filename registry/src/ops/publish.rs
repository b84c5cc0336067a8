//! Publish: turns a directory or a tarball into blocks and a signed release, and announces it.
//!
//! The order of writes makes a publish safe against crashes: blocks first, then records, then pins and a sync, then the
//! catalog, and only then the network. A publish that returned is on disk. One that a crash interrupted left unpinned
//! blocks, which the next run reuses, and the pins of its journal entry (`journal`).

mod content;
mod draft;
mod dry_run;
mod gpack_file;
mod ignore_pattern;
mod imports;
mod input;
mod intake;
mod journal;
mod links;
mod lost_keys;
mod named_files;
mod own_head;
mod own_log;
mod prepare;
mod replicas;
mod secrets;
mod sieve;
mod warnings;

use std::sync::Arc;

use ggen_blockstore::{Block, Cid, Pin, PinMode};
use semver::Version;
use tokio::sync::Mutex;

use self::draft::Draft;
use self::input::Tarball;
pub(super) use self::journal::release_label;
use self::own_log::recovery_notice;
use self::replicas::{Replicas, wait_for_replicas};
pub(crate) use self::{
    dry_run::DryRun,
    imports::Imports,
    journal::{ADDED as STEP_ADDED, Journal, RECORD, Step, Steps},
    lost_keys::LostKeys,
    own_head::OwnHead,
    own_log::{OwnLog, check_signing_clock, recovery_key},
    prepare::Importer,
};
use super::{
    CatalogEvents,
    announcer::{Announcer, claim},
    clock,
    downloads::Downloads,
    failure,
    failure::usage,
    storage::Storage,
    store_quota::StoreQuota,
};
use crate::{
    Caller, Config, ErrorKind, Failure, Hint, Interrupt, Operation, Progress, PublishRequest, Published, Reporter,
    Setting,
    error::hint,
    identity::{KeyPair, Signed},
    index::{Acceptance, Claim, Publication, PublicationError, PublishOutcome, PublisherState, Refusal},
    interrupt::{CommitPoint, interrupted},
    keys::{DEFAULT_KEY, KeyStore},
    node::Handle,
    package::{PackageId, Release},
};

/// A release that is signed, stored and in the catalog.
struct Done {
    published: Published,
    signed: Signed<Release>,
    /// The claim to announce, or the error of building it, which occurred after the commit point.
    claim: Result<Claim, Failure>,
    unchanged: bool,
}

/// The signing key of an operation, and its commit point.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    /// The name of the key.
    pub(super) name: String,
    /// See [`PublishRequest::trust_clock`].
    pub(super) trust_clock: bool,
    /// Passed when the catalog is about to get the new head.
    pub(super) commit: CommitPoint,
}

impl Signing {
    pub(super) fn new(key: Option<String>, trust_clock: bool) -> Self {
        let name = key.unwrap_or_else(|| DEFAULT_KEY.to_owned());
        Self { name, trust_clock, commit: CommitPoint::default() }
    }
}

/// Stores the steps of the log of this home's publishers.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    pub(super) keys: KeyStore,
    pub(super) journal: Journal,
}

impl LogWriter {
    /// Stores a signed publication: its blocks, pinned and synced, then the catalog, then the head next to the key.
    /// Afterwards unpins the records that it replaces.
    ///
    /// The write to the catalog is the commit point. An error means that it was not reached and nothing is published.
    /// Failures after it are returned as warnings.
    pub(super) fn keep_publication(
        &self,
        steps: &mut Steps,
        signing: &Signing,
        step: &Step<'_>,
        executables: Option<&Block>,
    ) -> Result<Vec<String>, Failure> {
        if steps.is_open {
            self.journal.recover_steps()?;
        }
        steps.is_open = true;
        let Step { chain, publication, .. } = step;
        let head = &publication.head;
        self.journal.storage.store.put_many(&publication.blocks).map_err(failure::store)?;
        let traces = self.journal.begin_step(step)?;
        self.pin_records(publication, executables)?;
        let refusal = match signing.commit.pass() {
            true => match self
                .journal
                .storage
                .catalog
                .record_publication(chain, publication, clock::now())
                .map_err(failure::failed)?
            {
                Acceptance::Accepted | Acceptance::Known => None,
                Acceptance::Refused(refusal) => Some(signed_elsewhere(&refusal)),
            },
            false => Some(interrupted()),
        };
        if let Some(failure) = refusal {
            self.journal.end_step(head.head().cid(), &traces, false)?;
            steps.is_open = false;
            return Err(failure);
        }
        let mut warnings = Vec::new();
        if let Err(error) = self.keys.keep_head(&signing.name, head) {
            let failure =
                Failure::from(error).while_doing("the new head is not kept beside the key until the next start");
            warnings.push(failure.in_one_line());
        }
        match self.journal.end_step(head.head().cid(), &traces, true) {
            Ok(()) => steps.is_open = false,
            Err(failure) => {
                let failure = failure.while_doing("what the release replaces is kept until the next one");
                warnings.push(failure.in_one_line());
            }
        }
        Ok(warnings)
    }

    /// Pins the records and the release, and syncs the store.
    fn pin_records(&self, publication: &Publication, executables: Option<&Block>) -> Result<(), Failure> {
        let pin = |label: &str, cid: Cid, mode| {
            self.journal.storage.store.pin(Pin { label: label.to_owned(), cid, mode }).map_err(failure::store)
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
        self.journal.storage.store.sync().map_err(failure::store)
    }
}

/// Publishes packages.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    pub(super) storage: Storage,
    pub(super) keys: KeyStore,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
    pub(super) config: Arc<Config>,
    pub(super) news: CatalogEvents,
    /// Serializes publishes, because each signs a log entry on top of the one before.
    pub(super) publishing: Arc<Mutex<Steps>>,
    pub(super) quota: StoreQuota,
    pub(super) downloads: Downloads,
    pub(super) announcer: Announcer,
    pub(super) importer: Importer,
    pub(super) dry_run: DryRun,
    pub(super) own_head: OwnHead,
    pub(super) writer: LogWriter,
}

impl Publisher {
    /// Publishes a package. The caller may pass its tarball as an open file. If the future is dropped or interrupted
    /// before the commit point, nothing is published.
    pub(crate) async fn publish(
        &self,
        caller: Caller,
        request: PublishRequest,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> Result<Published, Failure> {
        let version = request.version.as_deref().map(parse_version).transpose()?;
        if let Some(namespace) = &request.namespace {
            PackageId::check_namespace(namespace).map_err(usage)?;
        }
        // `_presence` is dropped with this future, when the caller drops it.
        let (mut tarball, _presence) = Tarball::new(caller.input);
        if request.dry_run {
            let dry_run = self.dry_run.clone();
            let listing = self.storage.run(move || dry_run.run(&request, &mut tarball, version, &*reporter));
            return tokio::select! {
                listed = listing => listed,
                () = interrupt.wait() => Err(interrupted()),
            };
        }
        if request.min_replicas > 0 && self.node.is_none() {
            return Err(usage("`min_replicas` needs the network: peers are asked for a full copy"));
        }
        let replicas = Replicas { wanted: request.min_replicas, patience: request.timeout };
        let signing = Signing::new(request.key.clone(), request.trust_clock);
        let (commit, progress) = (signing.commit.clone(), reporter.clone());
        let (importer, config) = (self.importer.clone(), Arc::clone(&self.config));
        let draft = move || {
            let mut draft = importer.prepare(&request, &mut tarball, &*progress, &|| commit.is_shut())?;
            draft.namespace = request.namespace.or(draft.namespace).or_else(|| config.namespace.clone());
            draft.version = version.unwrap_or(draft.version);
            Ok(draft)
        };
        // On the heap, as the other large futures here: the stack of a thread holds few of them.
        Box::pin(self.publish_draft(signing, replicas, reporter, interrupt, draft)).await
    }

    /// Signs a release and announces it. `draft` runs on a thread that may block.
    async fn publish_draft(
        &self,
        signing: Signing,
        replicas: Replicas,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
        draft: impl FnOnce() -> Result<Draft, Failure> + Send + 'static,
    ) -> Result<Published, Failure> {
        let _shut = signing.commit.shut_when_dropped();
        let signed = Box::pin(self.sign_draft(signing.clone(), reporter.clone(), draft));
        let done = match signing.commit.or_shut(&interrupt, signed).await {
            Ok(done) => done,
            Err(failure) => {
                // The imported blocks are cache now, and may exceed the store's limit.
                self.quota.tidy().await;
                return Err(failure);
            }
        };
        let name = format!("{}@{}", done.published.package, done.published.version);
        let announced = async {
            reporter.report(Progress::Announcing);
            let release = done.signed.clone();
            let mut published = self.tell(done).await;
            let counted = wait_for_replicas(self.node.as_ref(), &self.storage, &release, replicas, &*reporter).await;
            published.replicas = counted.map_err(|failure| not_counted(failure, &published))?;
            Ok(published)
        };
        tokio::select! {
            published = announced => published,
            () = interrupt.wait() => Err(published_already(&name)),
        }
    }

    /// Runs everything up to and including the commit.
    async fn sign_draft(
        &self,
        signing: Signing,
        reporter: Arc<dyn Reporter>,
        draft: impl FnOnce() -> Result<Draft, Failure> + Send + 'static,
    ) -> Result<Done, Failure> {
        // The blocking work owns the lock, because it continues if the caller drops this future.
        let one_at_a_time = Arc::clone(&self.publishing).lock_owned().await;
        let (publisher, with) = (self.clone(), signing.clone());
        let quota = &self.quota;
        let drafted = async {
            let drafting = self.storage.run(move || {
                let keys = publisher.keys.publisher(&with.name)?;
                match &keys {
                    // Fail before the package is read if it cannot be signed.
                    Some(keys) => drop(publisher.own_head.log.head_to_follow(&with, &keys.chain)?),
                    None => publisher.dry_run.lost_keys.check_makes_key(&with.name)?,
                }
                let draft = draft()?;
                let package = keys.as_ref().map(|keys| draft.package(&keys.chain.publisher())).transpose()?;
                Ok((one_at_a_time, draft, package.zip(keys.map(|keys| keys.chain))))
            });
            let drafted = drafting.await?;
            quota.make_room_beside(drafted.1.content.new_blocks).await?;
            Ok(drafted)
        };
        let ((one_at_a_time, draft, former), ()) =
            tokio::try_join!(drafted, Box::pin(self.own_head.hear_own_head(&signing.name)))?;
        if let Some((package, chain)) = former {
            Box::pin(self.own_head.catch_up(&signing, &chain, (&package, &draft.version), reporter)).await?;
        }
        let publisher = self.clone();
        self.storage
            .run(move || {
                let mut steps = one_at_a_time;
                publisher.publish_here(&mut steps, &draft, &signing)
            })
            .await
    }

    /// Signs and stores a release. It needs no network.
    fn publish_here(&self, steps: &mut Steps, draft: &Draft, signing: &Signing) -> Result<Done, Failure> {
        let now = clock::now_to_sign()?;
        let keys = self.keys.publisher_or_new(&signing.name, now)?;
        let (release, executables) = draft.release(&keys, now)?;
        if let Some(block) = &executables {
            self.storage.store.put(block).map_err(failure::store)?;
        }
        let head = self.own_head.log.head_to_follow(signing, &keys.chain)?;
        let is_new = head.is_none();
        let signers: [&KeyPair; 1] = [&keys.signing];
        let state = PublisherState { chain: &keys.chain, keys: &signers, head: head.as_ref() };
        let package = release.package.clone();
        let known = self.storage.catalog.publishers_of(&package).map_err(failure::failed)?;
        let of_name =
            warnings::of_name(&package.to_string(), Some(&release.publisher), &known, draft.namespace.is_some());
        let outcome = crate::index::publish(state, release, |cid| self.storage.store.get(cid), now)
            .map_err(publication_failed)?;
        let (signed, head, warnings, unchanged) = match outcome {
            PublishOutcome::Unchanged { release } => {
                let known = self.storage.catalog.release(&release).map_err(failure::failed)?;
                let known = known.ok_or_else(|| failure::store(ggen_blockstore::Error::NotFound { cid: *release }))?;
                if !signing.commit.pass() {
                    return Err(interrupted());
                }
                (known.release, head.expect("a version was published before"), Vec::new(), true)
            }
            PublishOutcome::Published(publication) => {
                let signed = publication.release.clone().expect("publishing makes a release");
                let (chain, former) = (&keys.chain, head.as_ref());
                check_signing_clock(signing, former, now)?;
                let step = Step { chain, former, publication: &publication, package: &package };
                let warnings = self.writer.keep_publication(steps, signing, &step, executables.as_ref())?;
                (signed, publication.head, warnings, false)
            }
        };
        let recovery = recovery_notice(&self.keys, &signing.name, is_new);
        let mut published = Published { recovery, ..report(draft, &signed, unchanged) };
        published.warnings.extend(of_name.into_iter().chain(warnings.into_iter().map(Hint::from)));
        let announced = head.without_future_refresh(clock::now());
        let claim = claim(&self.storage, &keys.chain, &announced, &package).map(|(claim, _)| claim);
        Ok(Done { published, signed, claim, unchanged })
    }

    /// Announces a release: records and providers in the DHTs, and an announcement by gossip. Failures are warnings,
    /// because the release is published and is announced again when a node of this home starts.
    async fn tell(&self, done: Done) -> Published {
        let Done { mut published, signed, claim, unchanged } = done;
        let announced = match claim {
            Ok(claim) => self.tell_release(&signed, claim, unchanged).await,
            Err(failure) => Err(failure),
        };
        match announced {
            Ok(to) => {
                published.announced_to = to;
                let (package, version) = (&published.package, &published.version);
                tracing::debug!(target: crate::LOG_TARGET, package, version, to, "published");
            }
            Err(failure) => published.warnings.push(failure.while_doing("it is not announced").in_one_line().into()),
        }
        published
    }

    /// Announces a release and returns the number of peers that gossip was sent to.
    async fn tell_release(&self, signed: &Signed<Release>, claim: Claim, unchanged: bool) -> Result<u64, Failure> {
        if !unchanged {
            self.news.tell_all(&claim);
        }
        let Some(node) = &self.node else { return Ok(0) };
        let record = signed.record();
        let roots = vec![record.content, record.manifest, *signed.cid()];
        node.new_blocks(roots).await.map_err(failure::stopped)?;
        self.announcer.provide(signed).await?;
        self.announcer.tell_claim(&claim).await
    }
}

fn parse_version(text: &str) -> Result<Version, Failure> {
    Version::parse(text).map_err(|error| {
        let bare = text.strip_prefix(['v', 'V']).filter(|bare| Version::parse(bare).is_ok());
        let failure = usage(format!("`{text}` is not a semantic version: {error}"));
        match bare {
            Some(bare) => failure.hinted(format!("write `{bare}`, without `v`")),
            None => failure.hinted("a version has three numbers: `1.2.0`"),
        }
    })
}

/// The failure of a publish that was interrupted after its commit point.
pub(crate) fn published_already(name: &str) -> Failure {
    let message = format!("interrupted, but {name} is published already");
    Failure::new(ErrorKind::Interrupted, message).hinted(hint![
        "a node that runs here announces it; ",
        Operation::Yank.on(name.to_string()),
        " says that it is not to be chosen"
    ])
}

/// Says what was published although the replicas could not be counted, with everything that its report would have said.
fn not_counted(failure: Failure, published: &Published) -> Failure {
    let Published { package, version, cid, release, recovery, warnings, .. } = published;
    let mut causes = vec![format!("its release is {}, its content {cid}", release.as_deref().unwrap_or_default())];
    causes.extend(failure.causes);
    causes.extend(warnings.iter().map(ToString::to_string));
    let message = format!("{package}@{version} is published, but {}", failure.message);
    let Some(notice) = recovery else { return Failure { message, causes, ..failure } };
    causes.push("your recovery key has no copy yet".to_owned());
    let show = match &notice.key {
        key if key == DEFAULT_KEY => Operation::RecoveryKeyShow.into(),
        key => Operation::RecoveryKeyShow.with(Setting::Key.to(key)),
    };
    let hint = failure.hint.map(|hint| hint.and("; ")).unwrap_or_default();
    Failure { message, causes, hint: Some(hint![hint, show, " prints the recovery key"]), ..failure }
}

/// The failure of a publish when the catalog knows a newer head of the publisher than the one it was based on.
fn signed_elsewhere(refusal: &Refusal) -> Failure {
    let failure = Failure::from_error(ErrorKind::Verification, refusal)
        .while_doing("cannot publish: this publisher's keys have signed something else meanwhile");
    failure.hinted(match refusal {
        Refusal::Equivocation => {
            hint!["publish with a new key, ", Setting::Key.to("NAME"), ", and with each key from one machine alone"]
        }
        _ => hint!["connect to the machine that signed it and run the same command again"],
    })
}

fn publication_failed(error: PublicationError) -> Failure {
    let failure = failure::failed(&error);
    match &error {
        PublicationError::VersionTaken { .. } | PublicationError::OtherExecutables { .. } => failure.hinted(hint![
            "a published version never changes: raise the version in gpack.toml, or give ",
            Setting::Version
        ]),
        PublicationError::OtherBuild { .. } => failure
            .hinted(hint!["a version has one build: raise the version in gpack.toml, or give ", Setting::Version]),
        PublicationError::Tree(error) => failure::tree(error),
        _ => failure,
    }
}

fn report(draft: &Draft, release: &Signed<Release>, unchanged: bool) -> Published {
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
        recovery: None,
        warnings: draft.warnings.iter().cloned().map(Into::into).collect(),
    }
}
