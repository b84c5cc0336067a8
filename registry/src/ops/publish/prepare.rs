//! A package on disk becomes a package in the store: imported, read, and its block manifest written.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use ggen_blockstore::{
    Blockstore, Cid, FileReader, ImportOptions, ImportProgress, Imported, dfs_blocks, import_directory, import_tarball,
    resolve,
};

use super::draft::Draft;
use crate::{
    ErrorKind, Failure, Progress, Reporter,
    ops::{Operations, failure},
    package::{Gpack, MAX_GPACK_BYTES, ManifestBuilder, ManifestSummary},
};

/// Name of the file that says what a package is.
pub(super) const GPACK: &str = "gpack.toml";
/// Blocks of a manifest written at once.
const MANIFEST_BATCH: usize = 16;

impl Operations {
    /// `cancelled` is asked from time to time whether to go on.
    pub(super) fn prepare(
        &self,
        path: &Path,
        reporter: &dyn Reporter,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Draft, Failure> {
        if is_directory(path)? {
            // What is wrong with the package is said before it is hashed.
            read_from_disk(path)?;
        }
        let imported = self.import_remembering(path, reporter, cancelled)?;
        let limit = self.config.limits.package_bytes;
        if imported.size_bytes > limit {
            let message =
                format!("{} bytes are more than `limits.package_bytes`, {limit}, allows", imported.size_bytes);
            return Err(Failure::new(ErrorKind::Failed, message));
        }
        let gpack = read_from_store(&*self.store, imported.root, path)?;
        let manifest = self.write_manifest(imported.root)?;
        Ok(Draft::of_gpack(imported.into(), manifest, gpack))
    }

    /// Imports a directory or a tarball into the store. Files of a directory that nobody touched since it was imported
    /// last are not read.
    pub(super) fn import_remembering(
        &self,
        path: &Path,
        reporter: &dyn Reporter,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Imported, Failure> {
        let known = self.imports.of(path);
        let imported = import(&*self.store, path, known.as_deref(), reporter, cancelled)?;
        let (files, known) = (imported.files, imported.files_known);
        tracing::debug!(target: "ggen_marketplace::backend::p2p", files, known, "imported");
        self.imports.tidy();
        Ok(imported)
    }

    pub(super) fn write_manifest(&self, root: Cid) -> Result<ManifestSummary, Failure> {
        let mut builder = ManifestBuilder::new();
        let mut batch = Vec::new();
        for visited in dfs_blocks(&*self.store, root) {
            let (cid, size) = visited.map_err(failure::store)?;
            batch.extend(builder.push(&cid, size).map_err(failure::failed)?);
            if batch.len() >= MANIFEST_BATCH {
                self.store.put_many(&batch).map_err(failure::store)?;
                batch.clear();
            }
        }
        let (last, summary) = builder.finish().map_err(failure::failed)?;
        batch.extend(last);
        self.store.put_many(&batch).map_err(failure::store)?;
        Ok(summary)
    }
}

/// What a package is.
const PACKAGE_HINT: &str = "a package is a directory or tarball with a gpack.toml that has `name`, `version` and `description` under `[package]`";
/// What a gpack.toml is, at the least.
const GPACK_HINT: &str =
    "it begins like this: `[package]`, `name = \"http\"`, `version = \"1.0.0\"`, `description = \"...\"`";

/// Whether the package is a directory; it is an error if there is nothing.
pub(super) fn is_directory(path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) => {
            let failure = Failure::new(ErrorKind::Failed, format!("cannot read `{}`", path.display()));
            Err(Failure { causes: vec![error.to_string()], ..failure }.hinted(PACKAGE_HINT))
        }
    }
}

/// Imports a directory or a tarball; `known` is where the files of a directory are remembered.
pub(super) fn import(
    store: &dyn Blockstore,
    path: &Path,
    known: Option<&Path>,
    reporter: &dyn Reporter,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Imported, Failure> {
    let progress = |at: ImportProgress| {
        let (files, bytes, total_bytes) = (at.files, at.bytes, at.total_bytes);
        reporter.report(Progress::Importing { files, bytes, total_bytes });
    };
    let progress: &(dyn Fn(ImportProgress) + Sync) = &progress;
    let options =
        ImportOptions { progress: Some(progress), cancelled: Some(cancelled), known, ..ImportOptions::default() };
    let is_directory = is_directory(path)?;
    if !is_directory && path.file_name().is_some_and(|name| name == GPACK) {
        let directory = path.parent().unwrap_or(path).display();
        let failure = Failure::new(ErrorKind::Failed, format!("`{}` is a file of a package", path.display()));
        return Err(failure.hinted(format!("name the directory: `ggen marketplace p2p publish {directory}`")));
    }
    let imported = if is_directory {
        import_directory(store, path, &options)
    } else {
        File::open(path)
            .map_err(ggen_blockstore::Error::io("open", path))
            .and_then(|mut file| import_tarball(store, &mut file, &options))
    };
    imported.map_err(|error| failure::store(error).while_doing(format!("cannot import `{}`", path.display())))
}

/// Reads the `gpack.toml` of a directory.
pub(super) fn read_from_disk(directory: &Path) -> Result<Gpack, Failure> {
    let file = directory.join(GPACK);
    match File::open(&file) {
        Ok(opened) => parse(&file, opened),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing(directory)),
        Err(source) => Err(failure::store(ggen_blockstore::Error::io("open", &file)(source))),
    }
}

/// Reads the `gpack.toml` of an imported package: the one that counts.
pub(super) fn read_from_store(store: &dyn Blockstore, root: Cid, path: &Path) -> Result<Gpack, Failure> {
    let file = match resolve(store, root, GPACK) {
        Ok(file) => file,
        Err(ggen_blockstore::Error::NoSuchPath { .. }) => return Err(missing(path)),
        Err(error) => return Err(failure::store(error)),
    };
    parse(&path.join(GPACK), FileReader::open(store, file).map_err(failure::store)?)
}

fn parse(file: &Path, reader: impl Read) -> Result<Gpack, Failure> {
    let mut bytes = Vec::new();
    // One byte over the limit is enough for the parser to refuse it by its size.
    let limit = MAX_GPACK_BYTES as u64 + 1;
    reader
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| failure::store(ggen_blockstore::Error::io("read", file)(source)))?;
    let name = file.display().to_string();
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::new(ErrorKind::Failed, format!("`{name}` is not UTF-8")))?;
    Gpack::parse(&name, &text).map_err(|error| failure::failed(error).hinted(GPACK_HINT))
}

fn missing(package: &Path) -> Failure {
    let message = format!("`{}` is not a package: it has no {GPACK}", package.display());
    Failure::new(ErrorKind::Failed, message).hinted(PACKAGE_HINT)
}
