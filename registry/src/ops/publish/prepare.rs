//! A package on disk becomes a package in the store: imported, read, and its block manifest written.

use std::{fs::File, io::Read, path::Path};

use ggen_blockstore::{
    Block, Blockstore, Cid, Error, FileReader, Finding, ImportOptions, ImportProgress, Imported, Node, Refusal,
    Selection, dfs_blocks, import_directory, import_tarball, resolve,
};

use super::{
    draft::Draft,
    input::{PACKAGE_FORMS, PACKAGE_HINT, Tarball},
    named_files::{self, GPACK, MAX_LINKS},
    secrets::is_never_allowed,
    warnings,
};
use crate::{
    ErrorKind, Failure, Progress, PublishRequest, Reporter,
    home::{home_with, is_home},
    ops::{Operations, failure},
    package::{Gpack, MAX_GPACK_BYTES, ManifestBuilder, ManifestSummary, secret_in},
};

/// Blocks of a manifest written at once.
const MANIFEST_BATCH: usize = 16;

/// A package that was imported and read.
pub(super) struct Prepared {
    pub(super) imported: Imported,
    pub(super) gpack: Gpack,
    /// See [`Published::warnings`](crate::Published::warnings).
    pub(super) warnings: Vec<String>,
}

impl Prepared {
    /// Reads an imported package in `store`: where a publish and a dry run meet.
    /// `limit` is the size of the largest package, in bytes.
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
        let absent = named_files::absent(&request.path, &imported.entries, &gpack.files);
        if !absent.is_empty() && !request.skip_verify {
            return Err(named_files::refuse(&request.path, &absent));
        }
        let mut warnings = warnings::of(&imported, &gpack, request.version.as_deref());
        warnings.extend(absent.iter().map(named_files::Absent::warning));
        Ok(Self { imported, gpack, warnings })
    }
}

impl Operations {
    /// `cancelled` is asked from time to time whether to go on.
    pub(super) fn prepare(
        &self,
        request: &PublishRequest,
        tarball: &mut Tarball,
        reporter: &dyn Reporter,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Draft, Failure> {
        let path = &request.path;
        if tarball.is_directory(path)? {
            // What is wrong with the package is said before it is hashed.
            read_from_disk(path)?;
        }
        let imported = self.import_remembering(path, tarball, request.allow_secrets, reporter, cancelled)?;
        let limit = self.config.limits.package_bytes;
        let Prepared { imported, gpack, warnings } = Prepared::read(&*self.store, imported, request, limit)?;
        let manifest = self.write_manifest(imported.root)?;
        Ok(Draft { warnings, ..Draft::of_gpack(imported.into(), manifest, gpack) })
    }

    /// Imports a directory or a tarball into the store. Files of a directory that nobody touched since it was imported
    /// last are not read.
    pub(super) fn import_remembering(
        &self,
        path: &Path,
        tarball: &mut Tarball,
        allow_secrets: bool,
        reporter: &dyn Reporter,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Imported, Failure> {
        let known = if tarball.is_opened() { None } else { self.imports.of(path) };
        let imported = import(&*self.store, path, tarball, known.as_deref(), allow_secrets, reporter, cancelled)?;
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

/// Imports a directory or a tarball; `known` is where the files of a directory are remembered. No home of a node is taken
/// in, and files that hold secrets only where that is allowed.
pub(super) fn import(
    store: &dyn Blockstore,
    path: &Path,
    tarball: &mut Tarball,
    known: Option<&Path>,
    allow_secrets: bool,
    reporter: &dyn Reporter,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Imported, Failure> {
    let progress = |at: ImportProgress| {
        let (files, bytes, total_bytes) = (at.files, at.bytes, at.total_bytes);
        reporter.report(Progress::Importing { files, bytes, total_bytes });
    };
    let options = ImportOptions {
        progress: Some(&progress),
        cancelled: Some(cancelled),
        known,
        selection: Selection { always: &[GPACK], leaves_out: Some(&is_home) },
        inspect: Some(&secret_in),
        take_found: allow_secrets,
        ..ImportOptions::default()
    };
    let is_directory = tarball.is_directory(path)?;
    if !is_directory && path.file_name().is_some_and(|name| name == GPACK) {
        let directory = path.parent().unwrap_or(path).display();
        let failure = Failure::new(ErrorKind::Failed, format!("`{}` is a file of a package", path.display()));
        return Err(failure.hinted(format!("name the directory: `ggen marketplace p2p publish {directory}`")));
    }
    let imported = if is_directory {
        refuse_home(path)?;
        import_directory(store, path, &options)
    } else {
        tarball.reader(path).and_then(|mut reader| import_tarball(store, &mut reader, &options))
    };
    imported.map_err(|error| match error {
        Error::Withheld { findings } => withheld(path, &findings),
        error => {
            let hint = import_hint(&error, is_directory);
            let failure = failure::store(error).while_doing(format!("cannot import `{}`", path.display()));
            match hint {
                Some(hint) => failure.hinted(hint),
                None => failure,
            }
        }
    })
}

/// What to do about an entry or an archive that is refused.
fn import_hint(error: &Error, is_directory: bool) -> Option<String> {
    match error {
        Error::Archive { .. } => Some(PACKAGE_FORMS.to_owned()),
        // Of a tarball no ignore files are applied.
        Error::Refused { .. } if !is_directory => None,
        Error::Refused { refusal: Refusal::Changed, .. } => {
            Some("run the same command again once no other program writes to it".to_owned())
        }
        Error::Refused { refusal: Refusal::NotUtf8, .. } => {
            Some("rename it; or keep it out with a pattern in .ggenignore, in which `?` stands for the byte".to_owned())
        }
        Error::Refused { entry, refusal: Refusal::CaseCollision { other } } => {
            Some(format!("rename `{entry}` or `{other}`, or name one of them in .ggenignore to keep it out"))
        }
        Error::Refused { entry, .. } => Some(format!("name `{entry}` in .ggenignore to keep it out")),
        _ => None,
    }
}

/// Refuses to publish the home of a node, or what belongs to one.
fn refuse_home(path: &Path) -> Result<(), Failure> {
    let Some(home) = home_with(path) else { return Ok(()) };
    let message = format!(
        "cannot publish `{}`: `{}` is the home of a node, with its private keys",
        path.display(),
        home.display()
    );
    Err(Failure::new(ErrorKind::Verification, message)
        .hinted("move the package to a directory of its own, or name another home with `--home DIR`"))
}

/// The refusal of a package because of what is in it, file by file.
pub(super) fn withheld(path: &Path, findings: &[Finding]) -> Failure {
    let has_home = findings.iter().any(is_never_allowed);
    let what = match findings.len() {
        _ if has_home => "it holds the home of a node".to_owned(),
        1 => "a file holds a secret".to_owned(),
        count => format!("{count} files hold secrets"),
    };
    let failure = Failure::new(ErrorKind::Verification, format!("cannot publish `{}`: {what}", path.display()));
    let causes = findings.iter().map(|Finding { path, what }| format!("`{path}`: {what}")).collect();
    let hint = match has_home {
        true => "make it again without the home: what is published cannot be taken back",
        false => {
            "name them in .ggenignore to keep them out; `--allow-secrets` publishes them, and that cannot be taken back"
        }
    };
    Failure { causes, ..failure }.hinted(hint)
}

/// Reads the `gpack.toml` of a directory. Returns the CID that its content has in an import.
pub(super) fn read_from_disk(directory: &Path) -> Result<Cid, Failure> {
    let file = directory.join(GPACK);
    match File::open(&file) {
        Ok(opened) => {
            let bytes = read(&file, opened)?;
            parse(&file, &bytes)?;
            Ok(*Block::raw(bytes).map_err(failure::store)?.cid())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing(directory)),
        Err(source) => Err(failure::store(Error::io("open", &file)(source))),
    }
}

/// Reads the `gpack.toml` of an imported package: the one that counts.
pub(super) fn read_from_store(store: &dyn Blockstore, root: Cid, path: &Path) -> Result<Gpack, Failure> {
    let name = path.join(GPACK);
    let Some(file) = find_in_store(store, root, path)? else { return Err(missing(path)) };
    let bytes = read(&name, FileReader::open(store, file).map_err(failure::store)?)?;
    parse(&name, &bytes)
}

/// Finds the file in an imported package: `gpack.toml`, or what it points to.
pub(super) fn find_in_store(store: &dyn Blockstore, root: Cid, path: &Path) -> Result<Option<Cid>, Failure> {
    let mut name = GPACK.to_owned();
    for _ in 0..MAX_LINKS {
        let file = match resolve(store, root, &name) {
            Ok(file) => file,
            Err(Error::NoSuchPath { .. }) if name == GPACK => return Ok(None),
            Err(Error::NoSuchPath { .. }) => break,
            Err(error) => return Err(failure::store(error)),
        };
        let node = store.get(&file).map_err(failure::store)?.map(|block| Node::parse(&file, &block)).transpose();
        let Some(Node::Symlink { target }) = node.map_err(failure::store)? else { return Ok(Some(file)) };
        // A symlink of the tree leads to a place in it: `..` stands at the front alone, and not in the root.
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        name = beside(parent, &String::from_utf8_lossy(&target));
    }
    let message = format!("`{}` is a symlink to `{name}`, which is no file of the package", path.join(GPACK).display());
    Err(Failure::new(ErrorKind::Failed, message).hinted("put the file itself in the root of the package"))
}

/// The path that a symlink in the directory `parent` means.
fn beside(parent: &str, target: &str) -> String {
    let mut names: Vec<&str> = parent.split('/').filter(|name| !name.is_empty()).collect();
    for name in target.split('/').filter(|name| !name.is_empty() && *name != ".") {
        match name {
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

fn read(file: &Path, reader: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    // One byte over the limit is enough for the parser to refuse it by its size.
    let limit = MAX_GPACK_BYTES as u64 + 1;
    reader.take(limit).read_to_end(&mut bytes).map_err(|source| failure::store(Error::io("read", file)(source)))?;
    Ok(bytes)
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Gpack, Failure> {
    let name = file.display().to_string();
    let text = str::from_utf8(bytes).map_err(|_| Failure::new(ErrorKind::Failed, format!("`{name}` is not UTF-8")))?;
    Gpack::parse(&name, text).map_err(|error| {
        let hint = error.hint();
        failure::failed(error).hinted(hint)
    })
}

fn missing(package: &Path) -> Failure {
    let message = format!("`{}` is not a package: it has no {GPACK}", package.display());
    Failure::new(ErrorKind::Failed, message).hinted(PACKAGE_HINT)
}
