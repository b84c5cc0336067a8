//! Fetch: downloads and verifies a target, and writes it to disk as a tree.
//!
//! A name is first resolved to a release (`resolve`). A release CID and a content CID are verified by their hashes, not
//! by a signature. A release names its block manifest, with which every block can be requested at once. The DAG below a
//! content CID is walked.

mod destinations;
mod output;

use std::{path::PathBuf, sync::Arc, time::Instant};

use ggen_blockstore::{Arrivals, Cid, DAG_CBOR, DAG_PB, PathStep, PathWalk, RAW};

pub(crate) use self::destinations::Destinations;
use self::output::{Output, WriteError, Written};
use super::{
    Operations,
    blocking_thread::Blocking,
    download::{Download, Subject, Totals},
    failure::{self, usage},
    manifest_parts::{check_manifest, wants},
    peers::provision,
    publisher_id::refuse_identity,
    resolve::{Resolved, Wanted, Yank, subject_of},
};
use crate::{
    ErrorKind, FailedAddress, Failure, FetchRequest, Fetched, Operation, ProviderReport, Reporter, Setting,
    error::hint,
    identity::{PublisherId, Record},
    interrupt::CommitPoint,
    manifest::{ManifestReader, most_manifest_bytes},
    node::ListSource,
    package::{Release, Target},
    trust::KnownBy,
};

/// Maximum number of damaged blocks of the store that one fetch replaces; `verify --repair` has no limit.
const MAX_REPLACED: usize = 64;
/// A package of at most this size is requested together with its manifest, because a round trip costs more than
/// transferring blocks that are in the store already. The thread that fetched it also writes it.
const SMALL_PACKAGE_BYTES: u64 = 128 << 10;

/// The purpose of a download.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To write it as files. The target must be a release, a file or a directory.
    Write,
    /// To keep it in the store. Any DAG is accepted, and a yanked version if there is no other.
    Keep,
}

/// What a target resolved to.
pub(super) struct Found {
    /// Root of the tree.
    pub(super) content: Cid,
    /// The release and its CID; `None` for a content CID.
    pub(super) release: Option<(Cid, Release)>,
    /// The publisher whose signature on the release was checked; `None` if the target was a CID.
    pub(super) publisher: Option<PublisherId>,
    /// How the publisher of a name is known; `None` if the target was a CID.
    pub(super) known_by: Option<KnownBy>,
    /// Other publishers that claim the name.
    pub(super) other_claimants: Vec<PublisherId>,
    /// Set if the release is yanked: according to its publisher's catalog if the target was a name, otherwise as far as
    /// this home knows.
    pub(super) yank: Option<Yank>,
    /// Paths of executable files.
    executables: Vec<String>,
}

impl Found {
    /// A tree that was found by its CID.
    fn of(content: Cid, release: Option<(Cid, Release)>, executables: Vec<String>) -> Self {
        Self { content, release, publisher: None, known_by: None, other_claimants: Vec::new(), yank: None, executables }
    }
}

/// What to download.
struct Identified {
    found: Found,
    /// All its blocks, if they are known in advance.
    manifest: Option<Arc<ManifestReader>>,
}

impl Identified {
    /// Returns whether it is small enough, including directories, to be fetched and written without further threads.
    fn is_small(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.content_bytes() <= SMALL_PACKAGE_BYTES)
    }
}

/// Releases the threads that wait for blocks when the fetch ends for any reason.
struct Ending(Arrivals);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Operations {
    /// Fetches a target and writes it. A new tree is written while it arrives, and moved to its destination once all of
    /// it is verified. Writing ends when `commit` is shut.
    pub(crate) async fn fetch(
        &self,
        request: FetchRequest,
        reporter: Arc<dyn Reporter>,
        commit: CommitPoint,
    ) -> Result<Fetched, Failure> {
        let least = request.min_reputation;
        let fetched = self.fetch_and_write(request, reporter, commit).await;
        fetched.map_err(|failure| hinted_at_reputation(failure, least))
    }

    async fn fetch_and_write(
        &self,
        request: FetchRequest,
        reporter: Arc<dyn Reporter>,
        commit: CommitPoint,
    ) -> Result<Fetched, Failure> {
        let started = Instant::now();
        let target = failure::target(&request.target)?;
        output::check(&request.to, &target)?;
        let named = output::last_name(&target);
        let arrivals = Arrivals::new(self.store.clone());
        let _ending = Ending(arrivals.clone());
        let mut download = self.downloads().open_into(Arc::new(arrivals.clone()), &request, reporter.clone()).await?;
        let identified = self.identify(&mut download, target, Purpose::Write, &reporter).await;
        let identified = identified.map_err(|failure| for_want_of_providers(failure, &download))?;
        refuse_other_codec(&identified.found.content)?;
        let limit = self.config.limits.package_bytes;
        let output = Output::of(&request.to, named, &identified, limit, reporter, commit);
        let output = Arc::new(output);
        let mut written = if output.is_new_tree() && !output.is_small() {
            self.bring_and_stage(&mut download, &identified, &arrivals, &output).await
        } else {
            self.bring_and_write(&mut download, &identified, &arrivals, &output).await
        };
        for _ in 0..MAX_REPLACED {
            match written {
                Err(WriteError::Damaged(cid, _)) if !download.is_offline() => {
                    let store = self.store.clone();
                    failure::blocking(move || store.delete_many(&[cid]).map_err(failure::store)).await?;
                }
                _ => break,
            }
            written = self.bring_and_write(&mut download, &identified, &arrivals, &output).await;
        }
        let written = written.map_err(|error| for_want_of_providers(error.into(), &download))?;
        self.remember_source(&identified.found, &download);
        let first_use = self.remember_publisher(&identified.found).await?;
        let fetched = report(&identified.found, output.path().to_owned(), written, &download, started);
        Ok(Fetched { first_use, ..fetched })
    }

    /// Writes a tree after all of its blocks have arrived.
    async fn bring_and_write(
        &self,
        download: &mut Download,
        identified: &Identified,
        arrivals: &Arrivals,
        output: &Arc<Output>,
    ) -> Result<Written, WriteError> {
        self.complete(download, identified).await?;
        arrivals.end();
        let (arrivals, output) = (arrivals.clone(), Arc::clone(output));
        let (store, destinations) = (self.store.clone(), self.destinations.clone());
        let writing = Blocking::Pool.step(move || match output.is_new_tree() {
            true => output.stage(&arrivals)?.commit(&destinations),
            false => output.write(&*store, &destinations),
        });
        writing.await.map_err(failure::failed)?
    }

    /// Writes a new tree next to its destination while it arrives, and moves it there once all of it is verified.
    async fn bring_and_stage(
        &self,
        download: &mut Download,
        identified: &Identified,
        arrivals: &Arrivals,
        output: &Arc<Output>,
    ) -> Result<Written, WriteError> {
        let (arriving, output) = (arrivals.clone(), Arc::clone(output));
        let mut staging = tokio::task::spawn_blocking(move || output.stage(&arriving));
        let joined = |outcome: Result<_, tokio::task::JoinError>| outcome.map_err(failure::failed);
        let completing = self.complete(download, identified);
        tokio::pin!(completing);
        let staged = tokio::select! {
            completed = &mut completing => {
                arrivals.end();
                let staged = joined(staging.await);
                // An error of the download is the cause of an error in writing: return it first.
                completed?;
                staged??
            }
            staged = &mut staging => {
                let staged = joined(staged)??;
                completing.await?;
                staged
            }
        };
        let destinations = self.destinations.clone();
        Blocking::Pool.step(move || staged.commit(&destinations)).await.map_err(failure::failed)?
    }

    /// Trusts the publisher of a package that was found by its claim alone for the namespace from now on. Returns whether
    /// that is so.
    async fn remember_publisher(&self, found: &Found) -> Result<bool, Failure> {
        if let (Some(KnownBy::Claim), Some(publisher), Some((_, release))) =
            (found.known_by, found.publisher, &found.release)
        {
            return self.trust().note_first_use(&release.package, publisher).await;
        }
        Ok(false)
    }

    /// Remembers the peer that sent most of this package for further packages of the publisher, if this package was
    /// looked up in the DHT.
    fn remember_source(&self, found: &Found, download: &Download) {
        let most = download.so_far().sources.iter().max_by_key(|(_, bytes)| **bytes);
        if let (Some(publisher), Some(_), Some((peer, _))) = (found.publisher, &found.release, most)
            && download.was_looked_up()
        {
            self.sources.looked_up(publisher, *peer, Instant::now());
        }
    }

    /// Fetches everything of a target into the store to keep it. The blocks stay at least as long as `download`.
    pub(super) async fn bring(
        &self,
        download: &mut Download,
        target: Target,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Found, Failure> {
        let identified = self.identify(download, target, Purpose::Keep, reporter).await?;
        self.complete(download, &identified).await?;
        Ok(identified.found)
    }

    /// Resolves a target as far as possible before its content is fetched.
    async fn identify(
        &self,
        download: &mut Download,
        target: Target,
        purpose: Purpose,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Identified, Failure> {
        match target {
            Target::Content { cid, path } => self.identify_content(download, cid, &path, purpose).await,
            Target::Package { publisher, package, requirement } => {
                download.about(package.to_string(), None);
                download.name(Subject { name: package.to_string(), provision: None, signed: None });
                let yanked_too = purpose == Purpose::Keep;
                let meaning = self.trust().meaning(publisher, &package).await?;
                let wanted = Wanted { meaning, package: &package, requirement: &requirement, yanked_too };
                let Resolved { release, yank, other_claimants } = self.resolve(download, &wanted, reporter).await?;
                let cid = *release.cid();
                let owner = release.record().publisher;
                download.about(package.to_string(), Some(provision(&owner, &package)));
                let identified = self.identify_release(download, cid, release.into_record()).await?;
                let known_by = Some(meaning.known_by);
                let found = Found { publisher: Some(owner), known_by, other_claimants, yank, ..identified.found };
                Ok(Identified { found, ..identified })
            }
            Target::Ipns { .. } => Err(usage("names under /ipns/ cannot be fetched by this version")),
        }
    }

    /// Resolves a CID with an optional path to a release, which is recognized by its format, or to content.
    async fn identify_content(
        &self,
        download: &mut Download,
        cid: Cid,
        path: &[String],
        purpose: Purpose,
    ) -> Result<Identified, Failure> {
        download.search_under(&cid);
        // A path may lead to either, through any blocks with links.
        let cid = descend(download, cid, path).await?;
        if cid.codec() == DAG_CBOR {
            self.refuse_publisher(&cid).await?;
            let block = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
            refuse_identity(&cid, &block)?;
            match Release::from_payload(&block) {
                Ok(release) => {
                    // The signature of the publisher is not verified.
                    download.about(release.package.to_string(), None);
                    download.name(subject_of(&release.publisher, &release.package, &release.version, None));
                    let yank = self.known_yank(cid).await?;
                    let identified = self.identify_release(download, cid, release).await?;
                    return Ok(Identified { found: Found { yank, ..identified.found }, ..identified });
                }
                Err(_) if purpose == Purpose::Keep => {}
                Err(error) => {
                    let failure = Failure::from_error(ErrorKind::Verification, &error);
                    return Err(failure.while_doing("it is no release either").while_doing(not_a_tree(&cid)));
                }
            }
        }
        Ok(Identified { found: Found::of(cid, None, Vec::new()), manifest: None })
    }

    /// Fetches what a release needs before its content: the manifest, and the list of executables.
    async fn identify_release(
        &self,
        download: &mut Download,
        cid: Cid,
        release: Release,
    ) -> Result<Identified, Failure> {
        let limit = self.config.limits.package_bytes;
        if release.size > limit {
            let message = format!("{} bytes are more than `limits.package_bytes`, {limit}, allows", release.size);
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        download.search_under(&release.content);
        let manifest = Arc::new(self.manifest(download, &release, true).await?);
        let bytes = manifest.content_bytes();
        if bytes > limit.saturating_mul(2) {
            // Directories take space in addition to the files. More than twice the limit is not plausible.
            let message = format!("its blocks have {bytes} bytes, for {} bytes of files", release.size);
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        let executables = self.executables(download, &release).await?;
        let (content, release) = (release.content, Some((cid, release)));
        let found = Found::of(content, release, executables);
        Ok(Identified { found, manifest: Some(manifest) })
    }

    /// Fetches the content. With a manifest, it requests all blocks at once, and then checks that the manifest matches
    /// the content. Without one, it walks the DAG.
    async fn complete(&self, download: &mut Download, identified: &Identified) -> Result<(), Failure> {
        let content = identified.found.content;
        let Some(manifest) = &identified.manifest else { return self.store_quota().bring_dag(download, content).await };
        let (blocks, bytes) = (manifest.entries(), manifest.content_bytes());
        self.store_quota().room_for(Arc::clone(manifest)).await?;
        download.expect(Totals { blocks: Some(blocks), bytes: Some(bytes) });
        let mut wants = wants(self.store.clone(), Arc::clone(manifest));
        let cannot_fetch = move |error| failure::download(&content, error);
        if manifest.chunks().len() == 1 {
            // All blocks may have arrived with the manifest.
            let only = failure::blocking(move || wants.next().transpose().map_err(cannot_fetch)).await?;
            download.list(only.unwrap_or_default()).await.map_err(cannot_fetch)?;
        } else {
            download.lists(wants).await.map_err(cannot_fetch)?;
        }
        let (store, manifest) = (self.store.clone(), Arc::clone(manifest));
        failure::blocking(move || check_manifest(&*store, content, &manifest)).await
    }

    /// Fetches everything of a release.
    pub(super) async fn fetch_release(
        &self,
        download: &mut Download,
        cid: Cid,
        release: Release,
    ) -> Result<Found, Failure> {
        let identified = self.identify_release(download, cid, release).await?;
        self.complete(download, &identified).await?;
        Ok(identified.found)
    }

    /// Fetches all blocks of the manifest and returns it. The content of a small package is requested with it, if the
    /// content is wanted next, fits into the store, and no other version is there as a reference for compression.
    pub(super) async fn manifest(
        &self,
        download: &mut Download,
        release: &Release,
        content_is_wanted: bool,
    ) -> Result<ManifestReader, Failure> {
        let on_error = |error| failure::download(&release.manifest, error);
        if release.manifest_bytes > most_manifest_bytes(release.blocks) {
            let message = format!("a manifest of {} bytes for {} blocks", release.manifest_bytes, release.blocks);
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        let references = match download.is_offline() {
            true => Vec::new(),
            false => self.references(release, download.others().to_vec()).await?,
        };
        let whole_bytes = release.manifest_bytes + SMALL_PACKAGE_BYTES;
        let is_small = release.size.max(release.manifest_bytes) <= SMALL_PACKAGE_BYTES && references.is_empty();
        let whole = content_is_wanted
            && is_small
            && self.store_quota().has_room_for(whole_bytes)
            && !self.store.has(&release.content).map_err(failure::store)?;
        let max_bytes = if whole { whole_bytes } else { release.manifest_bytes };
        let source = ListSource { list: release.manifest, max_bytes, whole, references };
        let root = download.list_root(source).await.map_err(on_error)?;
        let reader = release.read_manifest(&root).map_err(failure::verification)?;
        let chunks = reader.chunks().iter().map(|chunk| (chunk.link, Some(u64::from(chunk.bytes))).into()).collect();
        download.list_parts(chunks).await.map_err(on_error)?;
        Ok(reader)
    }

    async fn executables(&self, download: &mut Download, release: &Release) -> Result<Vec<String>, Failure> {
        let Some(block) = &release.executables_block else { return Ok(release.executables.clone()) };
        let cid = *block.cid();
        let data = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        Release::read_executables(&data).map_err(failure::verification)
    }
}

/// What is not here was to come from providers of which none can be reached.
fn for_want_of_providers(failure: Failure, download: &Download) -> Failure {
    if failure.kind != ErrorKind::NotFound || !download.is_offline() || download.unreached().is_empty() {
        return failure;
    }
    let unreached = download.unreached();
    let mut causes: Vec<_> = unreached.iter().map(one_line).collect();
    causes.push(format!("without them: {}", failure.in_one_line()));
    let kind = match unreached.iter().all(|failed| failed.kind == ErrorKind::TimedOut) {
        true => ErrorKind::TimedOut,
        false => ErrorKind::Failed,
    };
    let hint = unreached.iter().find_map(|failed| failed.hint.clone()).unwrap_or_else(|| {
        hint!["check that the address ends with `/p2p/<peer id>` and that the node runs, or remove ", Setting::Provider]
    });
    Failure { causes, ..Failure::new(kind, "none of the providers can be reached") }.hinted(hint)
}

fn one_line(FailedAddress { address, reason, .. }: &FailedAddress) -> String {
    format!("{address}: {reason}")
}

fn not_a_tree(cid: &Cid) -> String {
    ggen_blockstore::Error::NotUnixfs { cid: Box::new(*cid), reason: String::new() }.to_string()
}

/// Fails for a codec that cannot be a file or directory, before the content is fetched.
fn refuse_other_codec(content: &Cid) -> Result<(), Failure> {
    match content.codec() {
        RAW | DAG_PB => Ok(()),
        _ => Err(Failure::new(ErrorKind::Verification, not_a_tree(content))),
    }
}

/// Follows a path below a root, fetching the blocks on the way.
async fn descend(download: &mut Download, root: Cid, path: &[String]) -> Result<Cid, Failure> {
    let mut walk = PathWalk::new(root, &path.join("/"));
    let mut step = walk.step();
    loop {
        let cid = match step {
            PathStep::Ends(cid) => return Ok(cid),
            PathStep::Needs(cid) => cid,
        };
        let block = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        step = walk.advance(&block).map_err(failure::store)?;
    }
}

/// Adds a hint to a timeout if peers were excluded by their reputation.
fn hinted_at_reputation(failure: Failure, least: Option<f64>) -> Failure {
    match (failure.kind, least) {
        (ErrorKind::TimedOut, Some(least)) => failure.hinted(hint![
            format!("peers of a reputation below {least} were not asked: try a lower "),
            Setting::MinReputation,
            "; ",
            Operation::PeerList,
            " shows who has which"
        ]),
        _ => failure,
    }
}

fn report(found: &Found, path: PathBuf, written: Written, download: &Download, started: Instant) -> Fetched {
    let done = download.so_far();
    let mut providers: Vec<_> =
        done.sources.iter().map(|(peer, bytes)| ProviderReport { peer_id: peer.to_string(), bytes: *bytes }).collect();
    providers.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.peer_id.cmp(&b.peer_id)));
    let release = found.release.as_ref().map(|(_, release)| release);
    Fetched {
        cid: found.content.to_string(),
        package: release.map(|release| release.package.to_string()),
        version: release.map(|release| release.version.to_string()),
        publisher: found.publisher.as_ref().map(PublisherId::to_string),
        known_by: found.known_by,
        first_use: false,
        other_claimants: found.other_claimants.iter().map(PublisherId::to_string).collect(),
        yanked: found.yank.is_some(),
        yank_reason: found.yank.as_ref().and_then(|yank| yank.reason.clone()),
        path,
        files: written.exported.files,
        size_bytes: written.exported.size_bytes,
        files_kept: written.files_kept,
        files_removed: written.files_removed,
        overwritten: written.overwritten,
        untracked: written.untracked,
        more_untracked: written.more_untracked,
        unreached: download.unreached().iter().map(one_line).collect(),
        blocks_fetched: done.blocks,
        bytes_fetched: done.bytes,
        blocks_reused: done.reused,
        providers,
        seconds: started.elapsed().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests;
