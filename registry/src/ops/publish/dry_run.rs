//! Dry run of a publish.

use std::{path::Path, sync::Arc};

use ggen_blockstore::{Blockstore as _, Cid, Imported, links};
use semver::Version;

use super::{
    gpack_file::{find_in_store, read_from_disk},
    input::Tarball,
    intake::{Intake, import},
    lost_keys::LostKeys,
    prepare::Prepared,
    publication_failed,
    sieve::Sieve,
    warnings,
};
use crate::{
    Config, Failure, Hint, PublishRequest, Published, Reporter,
    identity::PublisherId,
    index::{check_build, check_same_tree},
    keys::DEFAULT_KEY,
    ops::{failure, failure::usage, storage::Storage},
    package::{PackageId, Release},
};

/// Says what a publish would do.
#[derive(Clone, Debug)]
pub(crate) struct DryRun {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) lost_keys: LostKeys,
    pub(in crate::ops) config: Arc<Config>,
}

impl DryRun {
    /// Lists the files that would be published, and computes the CID. It signs, pins and stores nothing. A tarball is
    /// read twice: first to find the blocks of its `gpack.toml`, then to keep them and count all blocks.
    pub(super) fn run(
        &self,
        request: &PublishRequest,
        tarball: &mut Tarball,
        version: Option<Version>,
        reporter: &dyn Reporter,
    ) -> Result<Published, Failure> {
        let key = request.key.as_deref().unwrap_or(DEFAULT_KEY);
        let chain = self.lost_keys.keys.chain(key)?;
        if chain.is_none() {
            self.lost_keys.check_makes_key(key)?;
        }
        let (path, intake) = (&request.path, Intake::of(request));
        let begins_at = tarball.hold(path)?;
        let named = match tarball.is_directory(path)? {
            true => vec![read_from_disk(path)?.0],
            false => find_in_tarball(path, tarball, &intake, reporter)?,
        };
        let kept = Sieve::keeping(named).counting_beside(Arc::clone(&self.storage.store));
        tarball.rewind(begins_at, path)?;
        let imported = import(&kept, path, tarball, &intake, reporter, &|| false)?;
        let limit = self.config.limits.package_bytes;
        let Prepared { imported, gpack, warnings } = Prepared::read(&kept, imported, request, limit)?;
        let version = version.unwrap_or(gpack.version);
        let publisher = chain.map(|chain| chain.publisher());
        let named = request.namespace.clone().or(gpack.namespace).or_else(|| self.config.namespace.clone());
        let chosen = named.is_some();
        let mut unchanged = false;
        let (package, known) = match named.or_else(|| publisher.as_ref().map(|publisher| publisher.short())) {
            Some(namespace) => {
                let package = PackageId::try_new(&namespace, &gpack.name).map_err(usage)?;
                let known = self.storage.catalog.publishers_of(&package).map_err(failure::failed)?;
                if let Some(publisher) = &publisher {
                    unchanged = self.is_published(publisher, &package, &version, &imported)?;
                }
                (package.to_string(), known)
            }
            // The namespace will be the short id of a publisher that does not exist yet.
            None => (format!("<publisher>/{}", gpack.name), Vec::new()),
        };
        let of_name = warnings::of_name(&package, publisher.as_ref(), &known, chosen);
        Ok(Published {
            package,
            version: version.to_string(),
            cid: imported.root.to_string(),
            release: None,
            publisher: publisher.map(|publisher| publisher.to_string()),
            files: imported.files,
            size_bytes: imported.size_bytes,
            blocks: kept.blocks(),
            new_blocks: imported.put.new_blocks,
            announced_to: 0,
            replicas: 0,
            unchanged,
            entries: Some(imported.entries.into_iter().map(|entry| entry.path).collect()),
            recovery: None,
            warnings: warnings.into_iter().map(Hint::from).chain(of_name).collect(),
        })
    }

    /// Returns whether the version is published already with this content.
    ///
    /// # Errors
    /// It is published with other content, or in another build.
    fn is_published(
        &self,
        publisher: &PublisherId,
        package: &PackageId,
        version: &Version,
        imported: &Imported,
    ) -> Result<bool, Failure> {
        let mut releases = self.storage.catalog.releases(package).map_err(failure::failed)?;
        releases.retain(|entry| entry.release.record().publisher == *publisher);
        let published = releases.iter().map(|entry| entry.release.record());
        check_build(package, version, published.clone().map(|release| &release.version)).map_err(publication_failed)?;
        let Some(existing) = published.clone().find(|release| release.version == *version) else { return Ok(false) };
        let mut offered = Release { content: imported.root, ..existing.clone() };
        offered.set_executables(imported.executables.clone()).map_err(failure::failed)?;
        check_same_tree(existing, &offered).map_err(publication_failed)?;
        Ok(true)
    }
}

/// Returns the CIDs of the blocks of a tarball's `gpack.toml`. The other blocks are dropped.
fn find_in_tarball(
    path: &Path,
    tarball: &mut Tarball,
    intake: &Intake<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<Cid>, Failure> {
    let nodes = Sieve::default();
    let imported = import(&nodes, path, tarball, intake, reporter, &|| false)?;
    // A missing file is reported when it is read.
    let Some(file) = find_in_store(&nodes, imported.root, path)? else { return Ok(Vec::new()) };
    // A file of several blocks exceeds the size limit of gpack.toml; its first block is enough to report that.
    let node = nodes.get(&file).map_err(failure::store)?;
    let below = node.map(|node| links(&file, &node)).transpose().map_err(failure::store)?;
    Ok(std::iter::once(file).chain(below.into_iter().flatten().take(1)).collect())
}
