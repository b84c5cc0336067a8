//! Files that only this process can see or open: its standard streams, pipes of its shell, devices. They are opened here;
//! a daemon is given what is open (`control/descriptors.rs`).

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use ggen_marketplace::{ErrorKind, Failure};

use crate::{context::absolute, error};

/// Stands for stdin.
const STREAM: &str = "-";
/// Directories whose entries are another for each process.
const OWN_VIEWS: [&str; 3] = ["/proc/self", "/proc/thread-self", "/dev/fd"];

/// A path that means the same to every process of this machine: absolute, and not through what each sees differently.
/// What does not exist yet may stand at its end.
pub(crate) fn seen_by_all(path: &Path) -> Result<PathBuf, Failure> {
    let path = absolute(path)?;
    if !OWN_VIEWS.iter().any(|view| path.starts_with(view)) {
        return Ok(path);
    }
    if let Ok(found) = fs::canonicalize(&path) {
        return Ok(found);
    }
    let parent = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    Ok(parent.zip(path.file_name()).map_or(path.clone(), |(parent, name)| parent.join(name)))
}

/// The package at `path`, `-` being stdin: the path for others, and what is opened here unless it is a directory. What
/// cannot be looked at is left to those who say what a package is.
pub(crate) async fn package(path: &Path) -> Result<(PathBuf, Option<File>), Failure> {
    if path == Path::new(STREAM) {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|cause| error::io("read", path, &cause))?;
        return Ok((path.to_owned(), Some(stdin.into())));
    }
    let path = seen_by_all(path)?;
    let asked = path.clone();
    // Opening a named pipe waits for its writer.
    let opening = tokio::task::spawn_blocking(move || match fs::metadata(&asked) {
        Ok(metadata) if !metadata.is_dir() => File::open(&asked).map(Some),
        _ => Ok(None),
    });
    let opened = opening.await.map_err(|cause| Failure::from_error(ErrorKind::Failed, &cause))?;
    Ok((path.clone(), opened.map_err(|cause| error::io("open", &path, &cause))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn path_through_what_each_process_sees_differently_is_resolved() {
        let place = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(place.path()).unwrap();
        let directory = File::open(&real).unwrap();
        let own = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory)));
        assert_eq!(seen_by_all(&own).unwrap(), real);
        assert_eq!(seen_by_all(&own.join("new")).unwrap(), real.join("new"));
        assert_eq!(seen_by_all(Path::new("x")).unwrap(), std::env::current_dir().unwrap().join("x"));
        assert_eq!(seen_by_all(Path::new("/dev/fd/none/x")).unwrap(), Path::new("/dev/fd/none/x"));
    }
}
