//! What git is configured to do for the user of this command.

use std::{
    env,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The user's own ignore file for a package in `directory`: `core.excludesFile`, which git itself is asked for, since it may
/// be set for the machine, the user or the repository, and in files that those include. Otherwise git's default. None for a
/// package that is in no work tree, about which git is not asked.
pub(crate) fn user_ignore_file(directory: &Path) -> Option<PathBuf> {
    let is_in_work_tree = directory.ancestors().any(|above| above.join(".git").exists());
    if !directory.is_dir() || !is_in_work_tree {
        return None;
    }
    let mut git = Command::new("git");
    git.arg("-C").arg(directory).args(["config", "--null", "--type=path", "--get", "core.excludesFile"]);
    // A hook of git that runs this command has those set to its own repository.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    match git.stdin(Stdio::null()).stderr(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            let mut path = output.stdout;
            path.pop_if(|last| *last == 0);
            // Set to nothing, there is none.
            (!path.is_empty()).then(|| OsString::from_vec(path).into())
        }
        // It is not set, or there is no git to set it for.
        _ => default_file(|name| env::var_os(name)),
    }
}

/// Where git looks if nothing else is set.
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
