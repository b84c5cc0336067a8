//! Where what was fetched is written, and in which form.

use std::{
    fs::Permissions,
    io::BufWriter,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ggen_blockstore::{
    Arrivals, Blockstore, Cid, DAG_CBOR, ExportOptions, ExportProgress, Exported, Staged, TreeLimits, Updated,
    export_tar, stage_directory, update_directory,
};

use super::Identified;
use crate::{ErrorKind, Failure, FetchTo, Progress, Reporter, ops::failure, package::Target};

/// Bytes of a tarball written at once.
const TAR_BUFFER_BYTES: usize = 1 << 20;

/// What is written, and where.
pub(super) struct Output {
    path: PathBuf,
    form: Form,
    content: Cid,
    executables: Vec<String>,
    limits: TreeLimits,
    /// Bytes of files, where a release says how many.
    total_bytes: Option<u64>,
    is_small: bool,
    reporter: Arc<dyn Reporter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A tree where there is none.
    New,
    /// A tree where there may be an older one.
    Update,
    /// The canonical tarball.
    Tar,
}

/// What was written.
pub(super) struct Written {
    pub(super) exported: Exported,
    pub(super) files_kept: u64,
    pub(super) strangers: Vec<String>,
    pub(super) more_strangers: u64,
}

impl From<Exported> for Written {
    fn from(exported: Exported) -> Self {
        Self { exported, files_kept: 0, strangers: Vec::new(), more_strangers: 0 }
    }
}

impl From<Updated> for Written {
    fn from(updated: Updated) -> Self {
        let Updated { exported, files_kept, strangers, more_strangers } = updated;
        Self { exported, files_kept, strangers, more_strangers }
    }
}

impl Output {
    /// At most `max_bytes` of files are written.
    pub(super) fn of(to: &FetchTo, identified: &Identified, max_bytes: u64, reporter: Arc<dyn Reporter>) -> Self {
        let (found, is_small) = (&identified.found, identified.is_small());
        let name = match &found.release {
            Some((_, release)) => release.package.name().to_owned(),
            None => found.content.to_string(),
        };
        let (path, form) = match to {
            FetchTo::NamedIn(directory) => (directory.join(name), Form::New),
            FetchTo::Path(path) => (path.clone(), Form::New),
            FetchTo::UpdateNamedIn(directory) => (directory.join(name), Form::Update),
            FetchTo::Update(path) => (path.clone(), Form::Update),
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
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be written while it arrives.
    pub(super) fn is_new_tree(&self) -> bool {
        self.form == Form::New
    }

    /// Writes a new tree beside its place while it arrives. Progress is told only from when all of it is here: before,
    /// that of the arriving says more.
    pub(super) fn stage(self, arrivals: &Arrivals) -> Result<Staged, Failure> {
        let progress = |at: ExportProgress| {
            if arrivals.have_ended() {
                self.report(at);
            }
        };
        let options = self.options(&progress);
        stage_directory(&arrivals.awaiting(), self.content, &self.path, &options).map_err(failure::store)
    }

    /// Writes what is here.
    pub(super) fn write(self, store: &dyn Blockstore) -> Result<Written, Failure> {
        let progress = |at: ExportProgress| self.report(at);
        let options = self.options(&progress);
        let written = match self.form {
            Form::Tar => write_tar(store, self.content, &self.path, &options).map(Written::from),
            Form::New | Form::Update => update_directory(store, self.content, &self.path, &options).map(Written::from),
        };
        written.map_err(failure::store)
    }

    fn options<'a>(&'a self, progress: &'a (dyn Fn(ExportProgress) + Sync)) -> ExportOptions<'a> {
        ExportOptions {
            executables: &self.executables,
            limits: self.limits,
            threads: self.is_small.then_some(NonZeroUsize::MIN),
            progress: Some(progress),
        }
    }

    /// Too small for other threads to be worth their while.
    pub(super) fn is_small(&self) -> bool {
        self.is_small
    }

    fn report(&self, at: ExportProgress) {
        let total_bytes = self.total_bytes.unwrap_or(at.total_bytes);
        self.reporter.report(Progress::Writing { bytes: at.bytes, total_bytes });
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

/// Refuses early what could not be written in the end, as far as the target says where that will be; a release CID does
/// not say its package's name.
pub(super) fn refuse_occupied(to: &FetchTo, target: &Target) -> Result<(), Failure> {
    let path = match (to, target) {
        (FetchTo::Path(path), _) => path.clone(),
        (FetchTo::NamedIn(directory), Target::Package { package, .. }) => directory.join(package.name()),
        (FetchTo::NamedIn(directory), Target::Content { cid, path }) if path.is_empty() && cid.codec() != DAG_CBOR => {
            directory.join(cid.to_string())
        }
        _ => return Ok(()),
    };
    let occupied = match std::fs::read_dir(&path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    };
    if occupied {
        let message = format!("`{}` exists and is not empty", path.display());
        return Err(Failure::new(ErrorKind::Failed, message)
            .hinted("name another place with `-o DIR`, or make it equal to what is fetched with `--update`"));
    }
    Ok(())
}
