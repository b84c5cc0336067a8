//! Retrieval: resolves a target and downloads its content into the store.
//!
//! A name is first resolved to a release (`resolve`). A release CID and a content CID are verified by their hashes, not
//! by a signature. A release names its block manifest, with which every block can be requested at once. The DAG below a
//! content CID is walked.

use std::sync::Arc;

use ggen_blockstore::{Cid, DAG_CBOR, PathStep, PathWalk};

use super::{
    download::{Download, Subject, Totals},
    failure::{self, usage},
    manifest_parts::{check_manifest, wants},
    peers::provision,
    publisher_id::{refuse_identity, refuse_publisher},
    references::references,
    resolve::{Resolved, Resolver, Wanted, Yank, known_yank, subject_of},
    storage::Storage,
    store_quota::StoreQuota,
};
use crate::{
    ErrorKind, Failure, Reporter,
    identity::{PublisherId, Record},
    manifest::{ManifestReader, most_manifest_bytes},
    node::ListSource,
    package::{Release, Target},
    trust::KnownBy,
};

/// A package of at most this size is requested together with its manifest, because a round trip costs more than
/// transferring blocks that are in the store already. The thread that fetched it also writes it.
const SMALL_PACKAGE_BYTES: u64 = 128 << 10;

/// The purpose of a download.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
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
    pub(super) executables: Vec<String>,
}

impl Found {
    /// A tree that was found by its CID.
    fn of(content: Cid, release: Option<(Cid, Release)>, executables: Vec<String>) -> Self {
        Self { content, release, publisher: None, known_by: None, other_claimants: Vec::new(), yank: None, executables }
    }
}

/// What to download.
pub(super) struct Identified {
    pub(super) found: Found,
    /// All its blocks, if they are known in advance.
    manifest: Option<Arc<ManifestReader>>,
}

impl Identified {
    /// Returns whether it is small enough, including directories, to be fetched and written without further threads.
    pub(super) fn is_small(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| manifest.content_bytes() <= SMALL_PACKAGE_BYTES)
    }
}

/// Downloads targets into the store.
#[derive(Clone, Debug)]
pub(crate) struct Retriever {
    pub(super) storage: Storage,
    pub(super) resolver: Resolver,
    pub(super) quota: StoreQuota,
}

impl Retriever {
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
    pub(super) async fn identify(
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
                let meaning = self.resolver.trust.meaning(publisher, &package).await?;
                let wanted = Wanted { meaning, package: &package, requirement: &requirement, yanked_too };
                let resolved = self.resolver.resolve(download, &wanted, reporter).await?;
                let Resolved { release, yank, other_claimants } = resolved;
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
            refuse_publisher(&self.storage, &cid).await?;
            let block = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
            refuse_identity(&cid, &block)?;
            match Release::from_payload(&block) {
                Ok(release) => {
                    // The signature of the publisher is not verified.
                    download.about(release.package.to_string(), None);
                    download.name(subject_of(&release.publisher, &release.package, &release.version, None));
                    let yank = known_yank(&self.storage, cid).await?;
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
        let found = Found::of(cid, None, Vec::new());
        Ok(Identified { found, manifest: None })
    }

    /// Fetches what a release needs before its content: the manifest, and the list of executables.
    async fn identify_release(
        &self,
        download: &mut Download,
        cid: Cid,
        release: Release,
    ) -> Result<Identified, Failure> {
        let limit = self.quota.package_bytes;
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
    pub(super) async fn complete(&self, download: &mut Download, identified: &Identified) -> Result<(), Failure> {
        let content = identified.found.content;
        let Some(manifest) = &identified.manifest else { return self.quota.bring_dag(download, content).await };
        let (blocks, bytes) = (manifest.entries(), manifest.content_bytes());
        self.quota.room_for(Arc::clone(manifest)).await?;
        download.expect(Totals { blocks: Some(blocks), bytes: Some(bytes) });
        let mut wants = wants(self.storage.store.clone(), Arc::clone(manifest));
        let cannot_fetch = move |error| failure::download(&content, error);
        if manifest.chunks().len() == 1 {
            // All blocks may have arrived with the manifest.
            let only = self.storage.run(move || wants.next().transpose().map_err(cannot_fetch)).await?;
            download.list(only.unwrap_or_default()).await.map_err(cannot_fetch)?;
        } else {
            download.lists(wants).await.map_err(cannot_fetch)?;
        }
        let (store, manifest) = (self.storage.store.clone(), Arc::clone(manifest));
        self.storage.run(move || check_manifest(&*store, content, &manifest)).await
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
            false => references(&self.storage, release, download.others().to_vec()).await?,
        };
        let whole_bytes = release.manifest_bytes + SMALL_PACKAGE_BYTES;
        let is_small = release.size.max(release.manifest_bytes) <= SMALL_PACKAGE_BYTES && references.is_empty();
        let whole = content_is_wanted
            && is_small
            && self.quota.has_room_for(whole_bytes)
            && !self.storage.store.has(&release.content).map_err(failure::store)?;
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

pub(super) fn not_a_tree(cid: &Cid) -> String {
    ggen_blockstore::Error::NotUnixfs { cid: Box::new(*cid), reason: String::new() }.to_string()
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
