//! Writes a fetched tree to its destination, as a directory or as a tarball.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use ggen_blockstore::{
    Arrivals, Blockstore, Cid, Compression, DAG_CBOR, ExportOptions, ExportProgress, Exported, Former, TreeLimits,
    UpdateOptions, Updated, export_tarball, is_vacant, stage_directory, update_directory,
};

use super::Destinations;
use crate::{
    ErrorKind, Failure, FetchTo, Progress, Reporter, Setting,
    error::hint,
    interrupt::{CommitPoint, interrupted},
    ops::{failure, retrieval::Identified},
    package::Target,
};

/// A tree to write, and its destination.
pub(super) struct Output {
    path: PathBuf,
    form: Form,
    content: Cid,
    executables: Vec<String>,
    limits: TreeLimits,
    /// Total bytes of the files, if a release states them.
    total_bytes: Option<u64>,
    is_small: bool,
    reporter: Arc<dyn Reporter>,
    /// Passed before the first change at the destination.
    commit: CommitPoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A tree at a destination that is vacant.
    New,
    /// A tree at a destination that may hold an older one. `force` overwrites its local edits.
    Update { force: bool },
    /// The canonical tarball.
    Tar,
}

/// The outcome of writing.
#[derive(Default)]
pub(super) struct Written {
    pub(super) exported: Exported,
    pub(super) files_kept: u64,
    pub(super) files_removed: u64,
    pub(super) overwritten: Vec<String>,
    pub(super) untracked: Vec<String>,
    pub(super) more_untracked: u64,
}

impl From<Exported> for Written {
    fn from(exported: Exported) -> Self {
        Self { exported, ..Self::default() }
    }
}

impl From<Updated> for Written {
    fn from(updated: Updated) -> Self {
        let Updated { exported, files_kept, files_removed, overwritten, untracked, more_untracked, .. } = updated;
        Self { exported, files_kept, files_removed, overwritten, untracked, more_untracked }
    }
}

/// Why writing failed.
pub(super) enum WriteError {
    /// A block of the store is damaged. Once it is deleted, it can be fetched again.
    Damaged(Cid, Failure),
    Failed(Failure),
}

impl From<ggen_blockstore::Error> for WriteError {
    fn from(error: ggen_blockstore::Error) -> Self {
        match &error {
            ggen_blockstore::Error::Corrupt { cid, .. } => Self::Damaged(**cid, failure::store(error)),
            _ => Self::Failed(failure::store(error)),
        }
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Damaged(_, failure) | WriteError::Failed(failure) => failure,
        }
    }
}

/// A new tree under a hidden name, which is removed on drop.
pub(super) struct Staged {
    staged: ggen_blockstore::Staged,
    path: PathBuf,
    commit: CommitPoint,
}

impl Staged {
    /// Moves the tree to its destination, and records it there.
    pub(super) fn commit(self, destinations: &Destinations) -> Result<Written, WriteError> {
        if !self.commit.pass() {
            return Err(interrupted().into());
        }
        let (exported, former) = self.staged.commit_and_tell()?;
        destinations.remember(&self.path, &former);
        Ok(Written::from(exported))
    }
}

impl Output {
    /// Creates the output. At most `max_bytes` of files are written. `named` is the last component of the target's
    /// path. Once `commit` is shut, writing stops.
    pub(super) fn of(
        to: &FetchTo,
        named: Option<String>,
        identified: &Identified,
        max_bytes: u64,
        reporter: Arc<dyn Reporter>,
        commit: CommitPoint,
    ) -> Self {
        let (found, is_small) = (&identified.found, identified.is_small());
        let name = match (&found.release, named) {
            (Some((_, release)), _) => release.package.name().to_owned(),
            (None, Some(name)) => name,
            (None, None) => found.content.to_string(),
        };
        let (path, form) = match to {
            FetchTo::NamedIn(directory) => (directory.join(name), Form::New),
            FetchTo::Path(path) => (path.clone(), Form::New),
            FetchTo::UpdateNamedIn(directory) => (directory.join(name), Form::Update { force: false }),
            FetchTo::Update(path) => (path.clone(), Form::Update { force: false }),
            FetchTo::OverwriteNamedIn(directory) => (directory.join(name), Form::Update { force: true }),
            FetchTo::Overwrite(path) => (path.clone(), Form::Update { force: true }),
            FetchTo::Tar(path) => (path.clone(), Form::Tar),
        };
        Self {
            path,
            form,
            content: found.content,
            executables: found.executables.clone(),
            limits: TreeLimits { max_bytes, ..TreeLimits::default() },
            total_bytes: found.release.as_ref().map(|(_, release)| release.size),
            is_small,
            reporter,
            commit,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the tree can be written while its blocks arrive.
    pub(super) fn is_new_tree(&self) -> bool {
        self.form == Form::New
    }

    /// Writes a new tree next to its destination while its blocks arrive. Writing reports progress only after the last
    /// block has arrived; until then the progress of the download is reported.
    pub(super) fn stage(&self, arrivals: &Arrivals) -> Result<Staged, WriteError> {
        let progress = |at: ExportProgress| {
            if arrivals.have_ended() {
                self.report(at);
            }
        };
        let cancelled = || self.commit.is_shut();
        let options = ExportOptions { cancelled: Some(&cancelled), ..self.options(&progress) };
        let staged = stage_directory(&arrivals.awaiting(), self.content, &self.path, &options)?;
        Ok(Staged { staged, path: self.path.clone(), commit: self.commit.clone() })
    }

    /// Writes the tree from the store.
    pub(super) fn write(&self, store: &dyn Blockstore, destinations: &Destinations) -> Result<Written, WriteError> {
        let progress = |at: ExportProgress| self.report(at);
        let cancelled = || self.commit.is_shut();
        let options = ExportOptions { cancelled: Some(&cancelled), ..self.options(&progress) };
        match self.form {
            Form::Tar => {
                let compression = Compression::of_name(&self.path).unwrap_or_default();
                let exported = export_tarball(store, self.content, &self.path, compression, &options)?;
                Ok(Written::from(exported))
            }
            Form::New => self.update(store, destinations, false, options),
            Form::Update { force } => self.update(store, destinations, force, options),
        }
    }

    /// Updates the directory at the destination. Before the first change it records both the old and the new files, and
    /// after the last change the new tree, so that the record is right even if the process dies in between.
    fn update(
        &self,
        store: &dyn Blockstore,
        destinations: &Destinations,
        force: bool,
        export: ExportOptions<'_>,
    ) -> Result<Written, WriteError> {
        let former = destinations.former(&self.path);
        let begin = |either: &Former| {
            if !self.commit.pass() {
                return Err(ggen_blockstore::Error::Cancelled);
            }
            destinations.remember(&self.path, either);
            Ok(())
        };
        let options = UpdateOptions { export, former: &former, force, begin: Some(&begin) };
        let updated = update_directory(store, self.content, &self.path, &options)?;
        destinations.remember(&self.path, &updated.former);
        Ok(Written::from(updated))
    }

    fn options<'a>(&'a self, progress: &'a (dyn Fn(ExportProgress) + Sync)) -> ExportOptions<'a> {
        ExportOptions {
            executables: &self.executables,
            limits: self.limits,
            threads: self.is_small.then_some(NonZeroUsize::MIN),
            progress: Some(progress),
            cancelled: None,
        }
    }

    /// Returns whether the tree is too small for further threads to be useful.
    pub(super) fn is_small(&self) -> bool {
        self.is_small
    }

    fn report(&self, at: ExportProgress) {
        let total_bytes = self.total_bytes.unwrap_or(at.total_bytes);
        self.reporter.report(Progress::Writing { bytes: at.bytes, total_bytes });
    }
}

/// Fails early if the destination cannot be written, as far as the target determines it. A release CID does not state
/// its package's name.
pub(super) fn check(to: &FetchTo, target: &Target) -> Result<(), Failure> {
    let path = match (to, target) {
        (FetchTo::Tar(path), _) => return check_tarball(path),
        (FetchTo::Path(path), _) => path.clone(),
        (FetchTo::NamedIn(directory), Target::Package { package, .. }) => directory.join(package.name()),
        (FetchTo::NamedIn(directory), Target::Content { cid, path }) => match path.last() {
            Some(name) => directory.join(name),
            None if cid.codec() != DAG_CBOR => directory.join(cid.to_string()),
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    if is_vacant(&path).map_err(failure::store)? {
        return Ok(());
    }
    let (what, hint) = match fs::metadata(&path) {
        Ok(there) if there.is_dir() => (
            "exists and is not empty",
            hint![
                "name another place with ",
                Setting::Output.to("DIR"),
                ", or make it equal to what is fetched with ",
                Setting::Update
            ],
        ),
        // A package is a directory, and an update does not replace a file with a directory.
        Ok(there) if there.is_file() && matches!(target, Target::Package { .. }) => {
            ("exists", hint!["name another place with ", Setting::Output.to("PATH"), ", or remove the file"])
        }
        Ok(there) if there.is_file() => (
            "exists",
            hint![
                "name another place with ",
                Setting::Output.to("PATH"),
                "; ",
                Setting::Update,
                " replaces a file with a single file"
            ],
        ),
        _ => ("exists", hint!["name another place with ", Setting::Output.to("PATH")]),
    };
    Err(Failure::new(ErrorKind::Failed, format!("`{}` {what}", path.display())).hinted(hint))
}

fn check_tarball(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Failure::new(ErrorKind::Failed, format!("`{shown}` is a directory"))
            .hinted(hint!["name a file for the tarball: ", Setting::Tar.to("FILE")]));
    }
    match Compression::of_name(path) {
        Some(_) => Ok(()),
        None => Err(failure::usage(format!("cannot write `{shown}`: the end of its name asks for another format"))
            .hinted("tarballs are written as `.tar`, `.tar.gz`, `.tgz`, `.tar.zst` or `.tzst`")),
    }
}

/// Returns the last component of a target's path.
pub(super) fn last_name(target: &Target) -> Option<String> {
    match target {
        Target::Content { path, .. } => path.last().cloned(),
        _ => None,
    }
}
