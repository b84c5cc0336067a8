//! What a publish would do, without doing it.

use ggen_blockstore::NullBlockstore;
use semver::Version;

use super::prepare::{import, is_directory, read_from_disk, read_from_store};
use crate::{
    Failure, PublishRequest, Published, Reporter,
    keys::DEFAULT_KEY,
    ops::{Operations, failure::usage},
    package::PackageId,
};

impl Operations {
    /// Lists what would go in, and computes the CID. Signs nothing and pins nothing. The blocks of a directory are
    /// dropped as they are made; those of a tarball, which can be read only once, wait in the store as cache.
    pub(super) fn dry_run(
        &self,
        request: &PublishRequest,
        version: Option<Version>,
        reporter: &dyn Reporter,
    ) -> Result<Published, Failure> {
        let path = &request.path;
        let (imported, gpack) = if is_directory(path)? {
            let gpack = read_from_disk(path)?;
            (import(&NullBlockstore::new(), path, reporter)?, gpack)
        } else {
            let imported = import(&*self.store, path, reporter)?;
            let gpack = read_from_store(&*self.store, imported.root, path)?;
            (imported, gpack)
        };
        let keys = self.keys.publisher(request.key.as_deref().unwrap_or(DEFAULT_KEY))?;
        let publisher = keys.map(|keys| keys.chain.publisher());
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
            recovery_key: None,
        })
    }
}
