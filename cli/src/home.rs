//! The home directory of a node: the paths of its files, and the process that serves it.

mod lock;
mod queue;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use ggen_marketplace::{ErrorKind, Failure, check_home, check_writable};

pub(crate) use lock::{DaemonLock, Holder};
pub(crate) use queue::when_free;

use crate::error;

/// Environment variable that names the home.
const VARIABLE: &str = "GGEN_HOME";
/// Name of the default home in the user's own.
const DEFAULT_NAME: &str = ".ggen";
/// Hint for an unusable home.
const OTHER_HOME: &str = "name a directory that you can write to with `--home DIR`";
/// Access for the owner only.
const DIRECTORY_MODE: u32 = 0o700;

/// Path of a home directory, absolute. It need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    path: PathBuf,
}

impl Home {
    /// The home that the flag names, else the environment variable, else the default.
    pub(crate) fn resolve(flag: Option<&Path>) -> Result<Self, Failure> {
        Self::choose(flag, std::env::var_os(VARIABLE).map(PathBuf::from))
    }

    fn choose(flag: Option<&Path>, variable: Option<PathBuf>) -> Result<Self, Failure> {
        // An empty variable counts as not set, as in most programs.
        let named = flag.map(Path::to_owned).or(variable.filter(|path| !path.as_os_str().is_empty()));
        let path = match named {
            Some(path) => path,
            None => std::env::home_dir()
                .filter(|path| !path.as_os_str().is_empty())
                .map(|path| path.join(DEFAULT_NAME))
                .ok_or_else(|| {
                    error::usage("there is no home directory to use").hinted("name one with `--home DIR`")
                })?,
        };
        let path = std::path::absolute(&path).map_err(|cause| error::io("use home", &path, &cause))?;
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        if let Some(file) = existing.filter(|existing| !existing.is_dir()) {
            let message = match file == path {
                true => format!("home `{}` is not a directory", path.display()),
                false => format!("home `{}` cannot be made: `{}` is not a directory", path.display(), file.display()),
            };
            return Err(error::usage(message).hinted(OTHER_HOME));
        }
        Ok(Self { path })
    }

    /// Creates the directory with access for its owner only, unless it exists. A directory that other users can write
    /// to is refused.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        self.refuse_to_take(rustix::process::geteuid().is_root(), caller)?;
        let refuse = |cause: &io::Error| {
            let failure = error::io("create home", &self.path, cause);
            match cause.kind() {
                // These errors need another path; others, such as a full disk, do not.
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied => {
                    Failure { kind: ErrorKind::Usage, ..failure }.hinted(OTHER_HOME)
                }
                _ => failure,
            }
        };
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(|cause| refuse(&cause))?;
        }
        match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(&self.path) {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && self.path.is_dir() => check_home(&self.path),
            Err(cause) => Err(refuse(&cause)),
        }
    }

    /// Refuses to make, as root, a home in a directory of the user who called sudo.
    fn refuse_to_take(&self, is_root: bool, caller: Option<u32>) -> Result<(), Failure> {
        let Some(caller) = caller.filter(|caller| is_root && *caller != 0 && !self.path.exists()) else {
            return Ok(());
        };
        let above = self.path.ancestors().find_map(|ancestor| fs::metadata(ancestor).ok());
        if above.is_none_or(|above| above.uid() != caller) {
            return Ok(());
        }
        let message = format!(
            "the home `{}` would belong to root, in a directory of the user who called sudo (uid {caller})",
            self.path.display()
        );
        Err(Failure::new(ErrorKind::Failed, message).hinted(
            "run the command without sudo, or with `sudo -H`, which means root's own home; or name one with `--home DIR`",
        ))
    }

    /// Creates the directory as [`Home::create`] does; one that this process cannot write to is refused.
    pub(crate) fn create_writable(&self) -> Result<(), Failure> {
        self.create()?;
        check_writable(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The default configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.path.join("p2p-config.toml")
    }

    /// The log file of a daemon.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.path.join("ggen.log")
    }

    /// The file with the pid of the process that serves this home. That process keeps it locked.
    pub(crate) fn daemon_file(&self) -> PathBuf {
        self.path.join("daemon.json")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn created_home_is_private_and_creating_it_again_is_fine() {
        let place = tempfile::tempdir().unwrap();
        let home = Home::resolve(Some(&place.path().join("a/b"))).unwrap();
        home.create().unwrap();
        home.create().unwrap();
        assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn file_in_place_of_a_home_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, b"").unwrap();
        let failure = Home::resolve(Some(&path)).unwrap_err();
        assert!(failure.message.ends_with("is not a directory"), "{failure}");
    }

    #[test]
    fn home_that_cannot_be_created_is_named() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), b"").unwrap();
        let path = place.path().join("file/home");
        let failure = Home::resolve(Some(&path)).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Usage);
        assert!(failure.message.starts_with(&format!("home `{}` cannot be made", path.display())), "{failure}");
    }

    #[test]
    fn flag_comes_before_the_variable_and_an_empty_variable_counts_as_none() {
        let path = |flag: Option<&str>, variable: &str| {
            Home::choose(flag.map(Path::new), Some(variable.into())).unwrap().path().to_owned()
        };
        assert_eq!(path(Some("/flag"), "/variable"), Path::new("/flag"));
        assert_eq!(path(None, "/variable"), Path::new("/variable"));
        assert_eq!(path(None, ""), std::env::home_dir().unwrap().join(DEFAULT_NAME));
    }

    #[test]
    fn root_makes_no_home_in_a_directory_of_the_user_who_called_sudo() {
        let place = tempfile::tempdir().unwrap();
        // Root can give it away, and others own it as it is.
        drop(std::os::unix::fs::chown(place.path(), Some(65534), None));
        let owner = fs::metadata(place.path()).unwrap().uid();
        let home = Home::resolve(Some(&place.path().join("a/b"))).unwrap();
        let failure = home.refuse_to_take(true, Some(owner)).unwrap_err();
        assert!(failure.message.contains("sudo") && failure.hint.is_some(), "{failure}");
        home.refuse_to_take(false, Some(owner)).unwrap();
        home.refuse_to_take(true, Some(owner + 1)).unwrap();
        home.refuse_to_take(true, None).unwrap();
        fs::create_dir_all(home.path()).unwrap();
        home.refuse_to_take(true, Some(owner)).unwrap();
    }

    #[test]
    fn relative_home_becomes_absolute() {
        let home = Home::resolve(Some(Path::new("x"))).unwrap();
        assert_eq!(home.path(), std::env::current_dir().unwrap().join("x"));
    }
}
