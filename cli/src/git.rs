//! Git's configuration for the user of this command.

use std::{
    env,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The user's own ignore file for a package in `directory`: `core.excludesFile`. It is queried from git, because it may
/// be set for the machine, the user or the repository, and in included files. If it is not set, git's default. `None`
/// for a package outside a work tree; git is not run then.
pub(crate) fn user_ignore_file(directory: &Path) -> Option<PathBuf> {
    let is_in_work_tree = directory.ancestors().any(|above| above.join(".git").exists());
    if !directory.is_dir() || !is_in_work_tree {
        return None;
    }
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(["config", "--null", "--type=path", "--get", "core.excludesFile"]);
    // A git hook that runs this command sets these variables to its own repository.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    match git.stdin(Stdio::null()).stderr(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            let mut path = output.stdout;
            path.pop_if(|last| *last == 0);
            // An empty value disables the file.
            (!path.is_empty()).then(|| OsString::from_vec(path).into())
        }
        // The setting is missing, or git is not installed.
        _ => default_file(|name| env::var_os(name)),
    }
}

/// Git's default location.
fn default_file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(config.join("git/ignore"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_the_users_configuration() {
        let of = |config: Option<&str>, home: Option<&str>| {
            default_file(|name| (if name == "HOME" { home } else { config }).map(OsString::from))
        };
        assert_eq!(of(None, Some("/home/ada")), Some("/home/ada/.config/git/ignore".into()));
        assert_eq!(of(Some(""), Some("/home/ada")), Some("/home/ada/.config/git/ignore".into()));
        assert_eq!(of(Some("/etc/ada"), Some("/home/ada")), Some("/etc/ada/git/ignore".into()));
        assert_eq!(of(None, None), None);
    }
}
