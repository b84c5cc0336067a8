//! What a publish would do, without doing it.

use std::path::Path;

use ggen_blockstore::{Blockstore as _, Error, Imported, NullBlockstore, links, resolve};
use semver::Version;

use super::{
    prepare::{GPACK, import, is_directory, read_from_disk, read_from_store},
    sieve::Sieve,
};
use crate::{
    Failure, Progress, PublishRequest, Published, Reporter,
    keys::DEFAULT_KEY,
    ops::{Operations, failure, failure::usage},
    package::{Gpack, PackageId},
};

impl Operations {
    /// Lists what would go in, and computes the CID. Signs nothing and pins nothing. Blocks are dropped as they are
    /// made; a tarball is read twice, the second time for its `gpack.toml` alone.
    pub(super) fn dry_run(
        &self,
        request: &PublishRequest,
        version: Option<Version>,
        reporter: &dyn Reporter,
    ) -> Result<Published, Failure> {
        let path = &request.path;
        let (imported, gpack) = if is_directory(path)? {
            let gpack = read_from_disk(path)?;
            (import(&NullBlockstore::new(), path, None, reporter, &|| false)?, gpack)
        } else {
            read_tarball(path, reporter)?
        };
        let chain = self.keys.chain(request.key.as_deref().unwrap_or(DEFAULT_KEY))?;
        let publisher = chain.map(|chain| chain.publisher());
        let named = request.namespace.clone().or(gpack.namespace).or_else(|| self.config.namespace.clone());
        let package = match named.or_else(|| publisher.as_ref().map(|publisher| publisher.short())) {
            Some(namespace) => PackageId::try_new(&namespace, &gpack.name).map_err(usage)?.to_string(),
            // The namespace will be the short id of a publisher that does not exist yet.
            None => gpack.name,
        };
        Ok(Published {
            package,
            version: version.unwrap_or(gpack.version).to_string(),
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
            entries: Some(imported.entries.into_iter().map(|entry| entry.path).collect()),
            recovery: None,
            warnings: Vec::new(),
        })
    }
}

/// Imports a tarball into nothing, but for what is needed to read its `gpack.toml`.
fn read_tarball(path: &Path, reporter: &dyn Reporter) -> Result<(Imported, Gpack), Failure> {
    let nodes = Sieve::default();
    let imported = import(&nodes, path, None, reporter, &|| false)?;
    let mut named = Vec::new();
    match resolve(&nodes, imported.root, GPACK) {
        Ok(file) => {
            // A file of several blocks is larger than a gpack.toml may be; its first one is enough to say so.
            let node = nodes.get(&file).map_err(failure::store)?;
            let below = node.map(|node| links(&file, &node)).transpose().map_err(failure::store)?;
            named.push(file);
            named.extend(below.into_iter().flatten().take(1));
        }
        // The reading below says so in its own words.
        Err(Error::NoSuchPath { .. }) => {}
        Err(error) => return Err(failure::store(error)),
    }
    let kept = Sieve::keeping(named);
    import(&kept, path, None, &|_: Progress| {}, &|| false)?;
    let gpack = read_from_store(&kept, imported.root, path)?;
    Ok((imported, gpack))
}
