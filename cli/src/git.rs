//! Git's configuration for the user of this command.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ggen_marketplace::{ErrorKind, Failure};

/// The user's own ignore file.
#[derive(Debug, Default)]
pub(crate) struct UserIgnoreFile {
    pub(crate) file: Option<PathBuf>,
    /// What of it is not known.
    pub(crate) warning: Option<String>,
}

/// The user's own ignore file for a package in `directory`: `core.excludesFile`, which git itself is asked for, since it may
/// be set for the machine, the user or the repository, and in files that those include. Otherwise git's default. None for a
/// package that is in no work tree, about which git is not asked.
///
/// # Errors
/// git cannot read its configuration, and so refuses itself to work: what it ignores could be published.
pub(crate) fn user_ignore_file(directory: &Path) -> Result<UserIgnoreFile, Failure> {
    // What is above it is above its real path.
    let Ok(real) = directory.canonicalize() else { return Ok(UserIgnoreFile::default()) };
    let is_in_work_tree = real.ancestors().any(|above| above.join(".git").exists());
    if !real.is_dir() || !is_in_work_tree {
        return Ok(UserIgnoreFile::default());
    }
    let answer = ask(&real, None).and_then(|answer| match &answer {
        // A `.git` that leads to no repository is none, and what is configured for the user holds all the same.
        Answer::Broken(reason) if NO_REPOSITORY.iter().any(|words| reason.contains(words)) => {
            ask(&real, Some("/dev/null"))
        }
        _ => Ok(answer),
    });
    let (file, warning) = match answer {
        Ok(Answer::Set(file)) => return Ok(UserIgnoreFile { file, warning: None }),
        Ok(Answer::Broken(reason)) => return Err(broken(directory, reason)),
        Ok(Answer::NotSet) => {
            let file = default_file(|name| env::var_os(name));
            let warning = file.is_none().then(|| {
                "neither `HOME` nor `XDG_CONFIG_HOME` is set: the ignore file that git has for all repositories of a user \
                 is not read"
                    .to_owned()
            });
            (file, warning)
        }
        Err(error) => {
            let warning = format!(
                "cannot run `git` ({error}): an ignore file that its configuration names (`core.excludesFile`) is not read"
            );
            (default_file(|name| env::var_os(name)), Some(warning))
        }
    };
    Ok(UserIgnoreFile { file, warning })
}

/// What git says of `.git` files that lead to no repository.
const NO_REPOSITORY: [&str; 2] = ["not a git repository", "invalid gitfile format"];
/// What it says, and goes on, of a file of its configuration that is a directory.
const UNREADABLE: &str = "unable to access";

/// What git answers to a question for `core.excludesFile`.
#[derive(Debug)]
enum Answer {
    /// Set to nothing, there is none.
    Set(Option<PathBuf>),
    NotSet,
    /// It cannot read its configuration.
    Broken(String),
}

/// Asks git in `directory`; an error if there is none to run.
fn ask(directory: &Path, repository: Option<&str>) -> io::Result<Answer> {
    let mut git = Command::new("git");
    // The owner of the repository is not asked for: nothing in it is run.
    git.args(["-c", "safe.directory=*", "-C"]).arg(directory);
    git.args(["config", "--null", "--type=path", "--get", "core.excludesFile"]);
    // A hook of git that runs this command has those set to its own repository.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env("LC_ALL", "C");
    git.envs(repository.map(|repository| ("GIT_DIR", repository)));
    let output = git.stdin(Stdio::null()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(match output.status.code() {
        Some(0) => {
            let mut path = output.stdout;
            path.pop_if(|last| *last == 0);
            Answer::Set((!path.is_empty()).then(|| OsString::from_vec(path).into()))
        }
        Some(1) if !errors.contains(UNREADABLE) => Answer::NotSet,
        _ => Answer::Broken(errors.into_owned()),
    })
}

/// The refusal where git's configuration is broken.
fn broken(directory: &Path, reason: String) -> Failure {
    let directory = directory.display();
    let message =
        format!("cannot publish `{directory}`: git cannot read its configuration, and so not say what it ignores");
    let reason = reason.lines().find(|line| !line.trim().is_empty()).unwrap_or("it ended without an answer").to_owned();
    let failure = Failure::new(ErrorKind::Failed, message);
    Failure { causes: vec![reason], ..failure }
        .hinted(format!("mend what `git -C {directory} config --list --show-origin` complains of"))
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
