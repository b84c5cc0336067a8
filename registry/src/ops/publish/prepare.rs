//! Prepares a package for publishing: imports it into the store, reads its gpack.toml, and writes its block manifest.

use std::{path::Path, sync::Arc};

use ggen_blockstore::{Blockstore, Cid, Imported, dfs_blocks};

use super::{
    draft::Draft,
    gpack_file::{read_from_disk, read_from_store},
    input::Tarball,
    intake::{Intake, import},
    named_files,
    secrets::{Source, withheld},
    warnings,
};
use crate::{
    ErrorKind, Failure, PublishRequest, Reporter,
    manifest::{ManifestBuilder, ManifestSummary},
    ops::{Imports, failure, storage::Storage},
    package::Gpack,
};

/// Blocks of a manifest written at once.
const MANIFEST_BATCH: usize = 16;

/// An imported package with its gpack.toml.
pub(super) struct Prepared {
    pub(super) imported: Imported,
    pub(super) gpack: Gpack,
    /// See [`Published::warnings`](crate::Published::warnings).
    pub(super) warnings: Vec<String>,
}

impl Prepared {
    /// Reads and checks an imported package in `store`, for a publish and for a dry run. `limit` is the maximum size of
    /// a package in bytes.
    pub(super) fn read(
        store: &dyn Blockstore,
        imported: Imported,
        request: &PublishRequest,
        limit: u64,
    ) -> Result<Self, Failure> {
        if imported.size_bytes > limit {
            let message =
                format!("{} bytes are more than `limits.package_bytes`, {limit}, allows", imported.size_bytes);
            return Err(Failure::new(ErrorKind::Failed, message));
        }
        let gpack = read_from_store(store, imported.root, &request.path)?;
        // Check again: the import may have used another gpack.toml if the directory has changed in the meantime.
        let is_allowed = |path: &str| request.allow_secrets || gpack.allow_secrets.match_file(path);
        let refused: Vec<_> = imported.found.iter().filter(|found| !is_allowed(&found.path)).cloned().collect();
        if !refused.is_empty() {
            let source = if request.path.is_dir() { Source::Directory } else { Source::Tarball };
            return Err(withheld(&request.path, &refused, source));
        }
        let absent = named_files::absent(&request.path, &imported.entries, &gpack.files);
        if !absent.is_empty() && !request.skip_verify {
            return Err(named_files::refuse(&request.path, &absent));
        }
        let mut warnings = warnings::of(&imported, &gpack, request.version.as_deref());
        warnings.extend(absent.iter().map(named_files::Absent::warning));
        Ok(Self { imported, gpack, warnings })
    }
}

/// Imports packages into the store.
#[derive(Clone, Debug)]
pub(crate) struct Importer {
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) imports: Arc<Imports>,
    /// Most bytes of a package.
    pub(in crate::ops) package_bytes: u64,
}

impl Importer {
    /// Imports and checks a package. The import ends when `cancelled`, which it calls periodically, returns true.
    pub(super) fn prepare(
        &self,
        request: &PublishRequest,
        tarball: &mut Tarball,
        reporter: &dyn Reporter,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Draft, Failure> {
        let path = &request.path;
        if tarball.is_directory(path)? {
            // Report errors in gpack.toml before the package is hashed.
            read_from_disk(path)?;
        }
        let imported = self.import_remembering(path, tarball, Intake::of(request), reporter, cancelled)?;
        let limit = self.package_bytes;
        let Prepared { imported, gpack, warnings } = Prepared::read(&*self.storage.store, imported, request, limit)?;
        let manifest = self.write_manifest(imported.root)?;
        Ok(Draft { warnings, ..Draft::of_gpack(imported.into(), manifest, gpack) })
    }

    /// Imports a directory or a tarball into the store. Files of a directory that are unchanged since its last import
    /// are not read.
    pub(super) fn import_remembering(
        &self,
        path: &Path,
        tarball: &mut Tarball,
        intake: Intake<'_>,
        reporter: &dyn Reporter,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Imported, Failure> {
        let known = if tarball.is_opened() { None } else { self.imports.of(path) };
        let intake = Intake { known: known.as_deref(), ..intake };
        let imported = import(&*self.storage.store, path, tarball, &intake, reporter, cancelled)?;
        let (files, known) = (imported.files, imported.files_known);
        tracing::debug!(target: crate::LOG_TARGET, files, known, "imported");
        self.imports.tidy();
        Ok(imported)
    }

    pub(super) fn write_manifest(&self, root: Cid) -> Result<ManifestSummary, Failure> {
        let mut builder = ManifestBuilder::new();
        let mut batch = Vec::new();
        for visited in dfs_blocks(&*self.storage.store, root) {
            let (cid, size) = visited.map_err(failure::store)?;
            batch.extend(builder.push(&cid, size).map_err(failure::failed)?);
            if batch.len() >= MANIFEST_BATCH {
                self.storage.store.put_many(&batch).map_err(failure::store)?;
                batch.clear();
            }
        }
        let (last, summary) = builder.finish().map_err(failure::failed)?;
        batch.extend(last);
        self.storage.store.put_many(&batch).map_err(failure::store)?;
        Ok(summary)
    }
}
