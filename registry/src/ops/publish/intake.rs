//! Imports a directory or a tarball: selects the files to publish, and rejects secrets and homes of nodes.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use ggen_blockstore::{
    Blockstore, Error, ImportOptions, ImportProgress, Imported, Inspected, PathPatterns, Refusal, Selection,
    import_directory, import_tarball,
};

use super::{
    gpack_file,
    ignore_pattern::pattern_of,
    input::{PACKAGE_FORMS, Tarball},
    named_files::GPACK,
    secrets::{Source, is_never_allowed, withheld},
};
use crate::{
    ErrorKind, Failure, Operation, Progress, PublishRequest, Reporter, Setting,
    error::hint,
    home::{home_with, is_home},
    ops::failure,
    package::secret_in,
};

/// Options of an import.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Intake<'a> {
    /// Whether all files that hold secrets are imported.
    pub(super) all_secrets: bool,
    /// See [`PublishRequest::user_ignore_file`].
    pub(super) user_ignore_file: Option<&'a Path>,
    /// The file that remembers the imported files of the directory.
    pub(super) known: Option<&'a Path>,
}

impl<'a> Intake<'a> {
    pub(super) fn of(request: &'a PublishRequest) -> Self {
        let user_ignore_file = request.user_ignore_file.as_deref();
        Self { all_secrets: request.allow_secrets, user_ignore_file, known: None }
    }
}

/// Imports a directory or a tarball. A home of a node is never imported. Files that hold secrets are imported only if
/// the caller or the `gpack.toml` in it allows them. The caller has to check that this `gpack.toml` is the imported
/// one.
pub(super) fn import(
    store: &dyn Blockstore,
    path: &Path,
    tarball: &mut Tarball,
    intake: &Intake<'_>,
    reporter: &dyn Reporter,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Imported, Failure> {
    let progress = |at: ImportProgress| {
        let (files, bytes, total_bytes) = (at.files, at.bytes, at.total_bytes);
        reporter.report(Progress::Importing { files, bytes, total_bytes });
    };
    let is_directory = tarball.is_directory(path)?;
    if !is_directory && path.file_name().is_some_and(|name| name == GPACK) {
        let directory = path.parent().unwrap_or(path).display();
        let failure = Failure::new(ErrorKind::Failed, format!("`{}` is a file of a package", path.display()));
        return Err(failure.hinted(hint!["name the directory: ", Operation::Publish.on(directory.to_string())]));
    }
    let options = ImportOptions {
        progress: Some(&progress),
        cancelled: Some(cancelled),
        known: intake.known,
        selection: Selection {
            always: &[GPACK],
            leaves_out: Some(&is_home),
            user_ignore_file: intake.user_ignore_file,
        },
        inspect: Some(&secret_in),
        ..ImportOptions::default()
    };
    if !is_directory {
        return from_tarball(store, path, tarball, intake.all_secrets, &options);
    }
    refuse_home(path)?;
    let allowed = gpack_file::read_from_disk(path).map(|(_, gpack)| gpack.allow_secrets).unwrap_or_default();
    let take = |path: &str| intake.all_secrets || allowed.match_file(path);
    let imported = import_directory(store, path, &ImportOptions { take_found: Some(&take), ..options });
    imported.map_err(|error| not_imported(path, error, Source::Directory, intake.user_ignore_file))
}

/// Imports a tarball. The secrets that its `gpack.toml` allows are known only once that file is read. If the import was
/// refused because of secrets, the tarball is read a second time, unless it is a pipe.
fn from_tarball(
    store: &dyn Blockstore,
    path: &Path,
    tarball: &mut Tarball,
    all_secrets: bool,
    options: &ImportOptions<'_>,
) -> Result<Imported, Failure> {
    let begins_at = tarball.begins_at(path)?;
    let passing = Passing::default();
    let inspect = |path: &str, inspected: Inspected<'_>| {
        passing.look_at(path, inspected);
        secret_in(path, inspected)
    };
    let all = |_: &str| all_secrets;
    let options = ImportOptions { inspect: Some(&inspect), take_found: Some(&all), ..*options };
    let first = tarball.reader(path).and_then(|mut reader| import_tarball(store, &mut reader, &options));
    let allowed = match &first {
        Err(Error::Withheld { findings }) if !findings.iter().any(is_never_allowed) => passing.allowed(),
        _ => PathPatterns::default(),
    };
    if allowed.is_empty() {
        return first.map_err(|error| not_imported(path, error, Source::Tarball, None));
    }
    let Some(begins_at) = begins_at else {
        return first.map_err(|error| not_imported(path, error, Source::Pipe, None));
    };
    tarball.rewind(begins_at, path)?;
    let take = |path: &str| allowed.match_file(path);
    let options = ImportOptions { take_found: Some(&take), ..options };
    let again = tarball.reader(path).and_then(|mut reader| import_tarball(store, &mut reader, &options));
    again.map_err(|error| not_imported(path, error, Source::Tarball, None))
}

/// Keeps the `gpack.toml` in the root or in a top-level directory of a tarball while the tarball is read.
#[derive(Default)]
struct Passing {
    files: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Passing {
    fn look_at(&self, path: &str, inspected: Inspected<'_>) {
        let Inspected::Content(content) = inspected else { return };
        if path.rsplit_once('/').is_some_and(|(top, _)| top.contains('/')) || path.rsplit('/').next() != Some(GPACK) {
            return;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.push((path.to_owned(), content.to_vec()));
    }

    /// Returns the secrets that it allows; none if there is no `gpack.toml`, or if several could be the package's.
    fn allowed(&self) -> PathPatterns {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two of one name the last one counts, and which that is is not known here: files are inspected side by side.
        let mut in_root = files.iter().filter(|(path, _)| path == GPACK);
        let file = match (in_root.next(), in_root.next(), &files[..]) {
            (Some(only), None, _) | (None, _, [only]) => Some(only),
            _ => None,
        };
        let gpack = file.and_then(|(path, content)| gpack_file::parse(Path::new(path), content).ok());
        gpack.map(|gpack| gpack.allow_secrets).unwrap_or_default()
    }
}

fn not_imported(path: &Path, error: Error, source: Source, user_ignore_file: Option<&Path>) -> Failure {
    match error {
        Error::Withheld { findings } => withheld(path, &findings, source),
        error => {
            let hint = import_hint(&error, source, user_ignore_file);
            let failure = failure::store(error).while_doing(format!("cannot import `{}`", path.display()));
            match hint {
                Some(hint) => failure.hinted(hint),
                None => failure,
            }
        }
    }
}

/// What to do about an entry or an archive that is refused.
fn import_hint(error: &Error, source: Source, user_ignore_file: Option<&Path>) -> Option<String> {
    match error {
        Error::Archive { .. } => Some(PACKAGE_FORMS.to_owned()),
        Error::Refused { refusal: Refusal::Special { .. } | Refusal::FileAndDirectory, .. }
            if source != Source::Directory =>
        {
            Some("unpack it with `tar xf`, look at that entry, and publish the directory".to_owned())
        }
        // To a tarball no ignore files are applied.
        Error::Refused { .. } if source != Source::Directory => None,
        Error::Refused { refusal: Refusal::Changed, .. } => {
            Some("run the same command again once no other program writes to it".to_owned())
        }
        Error::Refused { refusal: Refusal::NotUtf8, .. } => {
            Some("rename it; or keep it out with a pattern in .ggenignore, in which `?` stands for the byte".to_owned())
        }
        // No ignore file keeps it out.
        Error::Refused { entry, refusal: Refusal::CaseCollision { other } } if entry == GPACK || other == GPACK => {
            let other = if entry == GPACK { other } else { entry };
            Some(format!("rename `{other}`, or name it in .ggenignore to keep it out"))
        }
        Error::Refused { entry, .. } if entry == GPACK => {
            Some(format!("put {GPACK} itself in the root of the package"))
        }
        Error::Refused { entry, refusal: Refusal::CaseCollision { other } } => {
            let (entry, other) = (pattern_of(entry), pattern_of(other));
            Some(format!("rename `{entry}` or `{other}`, or name one of them in .ggenignore to keep it out"))
        }
        Error::Refused { entry, .. } => Some(format!("name `{}` in .ggenignore to keep it out", pattern_of(entry))),
        Error::Io { path, source, .. }
            if source.kind() == io::ErrorKind::IsADirectory
                && user_ignore_file.is_some_and(|file| path.ends_with(file)) =>
        {
            Some("git is configured to use it as `core.excludesFile`: name a file there instead".to_owned())
        }
        _ => None,
    }
}

/// Fails if `path` is the home of a node or inside one of its own directories.
fn refuse_home(path: &Path) -> Result<(), Failure> {
    let Some(home) = home_with(path) else { return Ok(()) };
    let message = format!("cannot publish `{}`: `{}` is the home of a node", path.display(), home.display());
    Err(Failure::new(ErrorKind::Verification, message).hinted(hint![
        "move the package to a directory of its own, or the home out of it: ",
        Setting::Home.to("DIR"),
        " says where a home is"
    ]))
}
