//! Fetch: a target becomes a tree on disk, every byte of it checked.
//!
//! A name is resolved to a release first (`resolve`); a release CID and a content CID need no signature, only their
//! hashes. A release names its block manifest, and with it every block can be wanted at once; a bare CID is walked.

use std::{
    fs::Permissions,
    io::BufWriter,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use ggen_blockstore::{
    Blockstore, Cid, DAG_CBOR, ExportOptions, ExportProgress, Exported, PathStep, PathWalk, TreeLimits, dfs_blocks,
    export_directory, export_tar,
};

use super::{
    Operations,
    download::{Download, DownloadError, DownloadLimits, Totals, Wants},
    failure::{self, usage},
    peers::provision,
    resolve::Wanted,
    sources::Source,
};
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, Fetched, Progress, ProviderReport, Reporter,
    identity::{PublisherId, Record},
    package::{ManifestEntry, ManifestReader, Release, Target},
};

/// Bytes of a tarball written at once.
const TAR_BUFFER_BYTES: usize = 1 << 20;

/// What a target turned out to be.
pub(super) struct Found {
    /// Root of the tree.
    pub(super) content: Cid,
    /// The release that names it, with its CID, unless the target was a bare CID.
    pub(super) release: Option<(Cid, Release)>,
    /// Whose signature on the release was checked. A CID needs none, and has none.
    pub(super) publisher: Option<PublisherId>,
    /// Paths of executable files.
    executables: Vec<String>,
}

impl Operations {
    /// Fetches a target and writes it.
    pub(crate) async fn fetch(&self, request: FetchRequest, reporter: Arc<dyn Reporter>) -> Result<Fetched, Failure> {
        let started = Instant::now();
        let target = failure::target(&request.target)?;
        if let Some(place) = known_place(&request.to, &target) {
            refuse_occupied(&place)?;
        }
        let mut download = self.download(&request, reporter.clone()).await?;
        let found = self.bring(&mut download, target, &reporter).await?;
        self.remember_source(&found, &download, started);
        let (path, exported) = self.write(&request, &found, reporter).await?;
        Ok(report(&found, path, exported, &download, started))
    }

    /// The next package of the same namespace is asked of whom this one came from, unless this one was: then the DHT was
    /// not asked.
    fn remember_source(&self, found: &Found, download: &Download, started: Instant) {
        let most = download.so_far().sources.iter().max_by_key(|(_, bytes)| **bytes);
        let (Some((_, release)), Some(publisher), Some((peer, _))) = (&found.release, found.publisher, most) else {
            return;
        };
        let namespace = release.package.namespace();
        if self.sources.of(namespace, Some(&publisher), started).is_none() {
            self.sources.looked_up(namespace, Source { publisher, peer: *peer }, Instant::now());
        }
    }

    /// Brings everything of a target into the store, where it stays at least as long as `download`.
    pub(super) async fn bring(
        &self,
        download: &mut Download,
        target: Target,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Found, Failure> {
        match target {
            Target::Content { cid, path } => self.fetch_content(download, cid, &path).await,
            Target::Package { publisher, package, requirement } => {
                download.about(package.to_string(), None);
                let wanted = Wanted { publisher, package: &package, requirement: &requirement };
                let release = self.resolve(download, &wanted, reporter).await?;
                let cid = *release.cid();
                let owner = release.record().publisher;
                download.about(package.to_string(), Some(provision(&owner, &package)));
                let publisher = Some(owner);
                Ok(Found { publisher, ..self.fetch_release(download, cid, release.into_record()).await? })
            }
            Target::Ipns { .. } => Err(usage("names under /ipns/ cannot be fetched by this version")),
        }
    }

    /// A download with the sources that the request names.
    pub(super) async fn download(
        &self,
        request: &FetchRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Download, Failure> {
        let store = self.store.clone();
        let limits = DownloadLimits { idle_timeout: request.timeout, max_bytes: self.config.limits.package_bytes };
        let node = match (&self.node, request.offline) {
            (Some(node), false) => node,
            _ => return Ok(Download::offline(store, limits, reporter)),
        };
        let mut providers = Vec::new();
        let mut failed = Vec::new();
        for text in &request.providers {
            let address = failure::address(text)?;
            match tokio::time::timeout(request.timeout, node.connect(address)).await {
                Ok(Ok(peer)) => providers.push(peer),
                Ok(Err(error)) => failed.push(format!("{text}: {error}")),
                Err(_) => failed.push(format!("{text}: no answer within {} s", request.timeout.as_secs())),
            }
        }
        if providers.is_empty() && !failed.is_empty() {
            let failure = Failure::new(ErrorKind::Failed, "none of the providers can be reached");
            return Err(Failure { causes: failed, ..failure }
                .hinted("check that the address ends with `/p2p/<peer id>` and that the node runs, or leave it away"));
        }
        Download::online(node.clone(), store, self.peers.clone(), &providers, limits, reporter)
            .await
            .map_err(failure::stopped)
    }

    /// A CID: of a release (known by its form), or of content.
    async fn fetch_content(&self, download: &mut Download, cid: Cid, path: &[String]) -> Result<Found, Failure> {
        download.search_under(&cid);
        if cid.codec() == DAG_CBOR && path.is_empty() {
            let block = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
            let release = Release::from_payload(&block).map_err(|error| {
                Failure::from_error(ErrorKind::Verification, &error)
                    .while_doing(format!("{cid} is neither a release nor a file or directory"))
            })?;
            // Nobody has proven yet whose release it is.
            download.about(release.package.to_string(), None);
            return self.fetch_release(download, cid, release).await;
        }
        let content = descend(download, cid, path).await?;
        self.bring_dag(download, content).await?;
        Ok(Found { content, release: None, publisher: None, executables: Vec::new() })
    }

    /// Everything of a release: manifest, then all its blocks at once, then the proof that these are the content.
    pub(super) async fn fetch_release(
        &self,
        download: &mut Download,
        cid: Cid,
        release: Release,
    ) -> Result<Found, Failure> {
        let limit = self.config.limits.package_bytes;
        if release.size > limit {
            let message = format!("{} bytes are more than `limits.package_bytes`, {limit}, allows", release.size);
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        download.search_under(&release.content);
        let manifest = Arc::new(self.manifest(download, &release).await?);
        let (blocks, bytes) = (manifest.entries(), manifest.content_bytes());
        if bytes > limit.saturating_mul(2) {
            // Directories come on top of the files; more than that is no package of its size.
            let message = format!("its blocks have {bytes} bytes, for {} bytes of files", release.size);
            return Err(Failure::new(ErrorKind::Verification, message));
        }
        self.room_for(Arc::clone(&manifest)).await?;
        download.expect(Totals { blocks: Some(blocks), bytes: Some(bytes) });
        let wants = parts(self.store.clone(), Arc::clone(&manifest));
        download.lists(wants).await.map_err(|error| failure::download(&release.content, error))?;
        let store = self.store.clone();
        let content = release.content;
        failure::blocking(move || check_manifest(&*store, content, &manifest)).await?;
        let executables = self.executables(download, &release).await?;
        Ok(Found { content, release: Some((cid, release)), publisher: None, executables })
    }

    /// The manifest, all of its own blocks in the store.
    pub(super) async fn manifest(&self, download: &mut Download, release: &Release) -> Result<ManifestReader, Failure> {
        let on_error = |error| failure::download(&release.manifest, error);
        let root = download.block(release.manifest).await.map_err(on_error)?;
        let reader = ManifestReader::new(release, &root).map_err(failure::verification)?;
        let chunks = reader.chunks().iter().map(|chunk| (chunk.link, Some(u64::from(chunk.bytes)))).collect();
        download.list(chunks).await.map_err(on_error)?;
        Ok(reader)
    }

    async fn executables(&self, download: &mut Download, release: &Release) -> Result<Vec<String>, Failure> {
        let Some(block) = &release.executables_block else { return Ok(release.executables.clone()) };
        let cid = *block.cid();
        let data = download.block(cid).await.map_err(|error| failure::download(&cid, error))?;
        Release::read_executables(&data).map_err(failure::verification)
    }

    async fn write(
        &self,
        request: &FetchRequest,
        found: &Found,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(PathBuf, Exported), Failure> {
        let name = match &found.release {
            Some((_, release)) => release.package.name().to_owned(),
            None => found.content.to_string(),
        };
        let (path, is_tar) = match &request.to {
            FetchTo::NamedIn(directory) => (directory.join(name), false),
            FetchTo::Path(path) => (path.clone(), false),
            FetchTo::Tar(path) => (path.clone(), true),
        };
        let store = self.store.clone();
        let (content, executables) = (found.content, found.executables.clone());
        let limits = TreeLimits { max_bytes: self.config.limits.package_bytes, ..TreeLimits::default() };
        let destination = path.clone();
        let exported = failure::blocking(move || {
            let progress = |at: ExportProgress| {
                reporter.report(Progress::Writing { bytes: at.bytes, total_bytes: at.total_bytes });
            };
            let options =
                ExportOptions { executables: &executables, limits, progress: Some(&progress), ..Default::default() };
            let outcome = if is_tar {
                write_tar(&*store, content, &destination, &options)
            } else {
                export_directory(&*store, content, &destination, &options)
            };
            outcome.map_err(failure::store)
        })
        .await?;
        Ok((path, exported))
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

/// Writes the canonical tarball beside its place, and renames it into it.
fn write_tar(
    store: &dyn Blockstore,
    content: Cid,
    destination: &Path,
    options: &ExportOptions<'_>,
) -> ggen_blockstore::Result<Exported> {
    use ggen_blockstore::Error;
    let directory = destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new()
        .prefix(".ggen-partial-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(Error::io("create a file in", directory))?;
    let mut writer = BufWriter::with_capacity(TAR_BUFFER_BYTES, beside);
    let exported = export_tar(store, content, &mut writer, options)?;
    let beside = writer.into_inner().map_err(|error| Error::io("write", destination)(error.into_error()))?;
    beside.persist(destination).map_err(|error| Error::io("write", destination)(error.error))?;
    Ok(exported)
}

/// Reads one part of a manifest.
pub(super) fn part(
    store: &dyn Blockstore,
    manifest: &ManifestReader,
    index: usize,
) -> Result<Vec<ManifestEntry>, DownloadError> {
    let cid = manifest.chunks()[index].link;
    let data = store.get(&cid)?.ok_or(ggen_blockstore::Error::NotFound { cid })?;
    Ok(manifest.read_chunk(index, &data)?)
}

/// The wants of a manifest, read a part at a time.
fn parts(store: Arc<dyn Blockstore>, manifest: Arc<ManifestReader>) -> impl Wants {
    (0..manifest.chunks().len()).map(move |index| {
        let entries = part(&*store, &manifest, index)?;
        Ok(entries.into_iter().map(|entry| (entry.cid, Some(u64::from(entry.size)))).collect())
    })
}

/// The manifest must be the depth-first walk of the content: otherwise the release is a lie.
pub(super) fn check_manifest(store: &dyn Blockstore, content: Cid, manifest: &ManifestReader) -> Result<(), Failure> {
    let lie = |reason: String| {
        Failure::new(ErrorKind::Verification, format!("the block manifest does not match the content: {reason}"))
    };
    let mut walk = dfs_blocks(store, content);
    let mut bytes = 0;
    for index in 0..manifest.chunks().len() {
        for entry in part(store, manifest, index).map_err(|error| failure::download(&content, error))? {
            bytes += u64::from(entry.size);
            match walk.next().transpose().map_err(failure::store)? {
                Some((cid, size)) if cid == entry.cid && size == entry.size => {}
                Some((cid, _)) => return Err(lie(format!("it has {}, the content has {cid}", entry.cid))),
                None => return Err(lie(format!("it has {}, where the content has ended", entry.cid))),
            }
        }
    }
    if let Some((cid, _)) = walk.next().transpose().map_err(failure::store)? {
        return Err(lie(format!("the content goes on with {cid}")));
    }
    if bytes != manifest.content_bytes() {
        return Err(lie(format!("its blocks have {bytes} bytes, it says {}", manifest.content_bytes())));
    }
    Ok(())
}

/// Where the tree will be written, as far as the target says; a release CID does not say its package's name.
fn known_place(to: &FetchTo, target: &Target) -> Option<PathBuf> {
    match (to, target) {
        (FetchTo::Path(path), _) => Some(path.clone()),
        (FetchTo::NamedIn(directory), Target::Package { package, .. }) => Some(directory.join(package.name())),
        (FetchTo::NamedIn(directory), Target::Content { cid, path }) if path.is_empty() && cid.codec() != DAG_CBOR => {
            Some(directory.join(cid.to_string()))
        }
        _ => None,
    }
}

/// Refuses early what could not be written in the end.
fn refuse_occupied(path: &Path) -> Result<(), Failure> {
    let occupied = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    };
    if occupied {
        let message = format!("`{}` exists and is not empty", path.display());
        return Err(Failure::new(ErrorKind::Failed, message).hinted("name another place with `-o DIR`"));
    }
    Ok(())
}

fn report(found: &Found, path: PathBuf, exported: Exported, download: &Download, started: Instant) -> Fetched {
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
        path,
        files: exported.files,
        size_bytes: exported.size_bytes,
        blocks_fetched: done.blocks,
        bytes_fetched: done.bytes,
        blocks_reused: done.reused,
        providers,
        seconds: started.elapsed().as_secs_f64(),
    }
}
