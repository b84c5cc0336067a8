//! Files that only this process can access: its standard streams, pipes of its shell, devices. This process opens them
//! and passes the descriptors to a daemon (`control/descriptors.rs`).

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use ggen_marketplace::{ErrorKind, Failure};

use crate::{context::absolute, error};

/// The argument that means stdin.
const STREAM: &str = "-";
/// Paths whose target depends on the process.
const OWN_VIEWS: [&str; 6] = ["/proc/self", "/proc/thread-self", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// A path that means the same to every process of this machine: absolute, and not through a process-specific directory.
/// Its last component need not exist.
///
/// # Errors
/// The target has no path: the descriptor is not open, or its directory was removed.
pub(crate) fn seen_by_all(path: &Path) -> Result<PathBuf, Failure> {
    let path = absolute(path)?;
    if !OWN_VIEWS.iter().any(|view| path.starts_with(view)) {
        return Ok(path);
    }
    // This process opens anything but a directory itself, so its path is used as it is.
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
        return Ok(fs::canonicalize(&path).unwrap_or(path));
    }
    let opened = path.ancestors().find(|above| fs::symlink_metadata(above).is_ok()).unwrap_or(&path);
    let failed = |cause: io::Error| error::io("use", &path, &cause);
    let found = fs::canonicalize(opened).map_err(failed)?;
    match path.strip_prefix(opened) {
        Ok(rest) if rest != Path::new("") => {
            let is_open = !["/proc", "/dev"].iter().any(|views| found.starts_with(views));
            let closed = || failed(io::Error::new(io::ErrorKind::NotFound, "this process has no such open file"));
            is_open.then(|| found.join(rest)).ok_or_else(closed)
        }
        _ => Ok(found),
    }
}

/// Resolves the package at `path`, where `-` is stdin. Returns the path for the request, and the opened file unless
/// `path` is a directory. A path without readable metadata is left to the operation, which reports the error.
pub(crate) async fn package(path: &Path) -> Result<(PathBuf, Option<File>), Failure> {
    if path == Path::new(STREAM) {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|cause| error::io("read", path, &cause))?;
        return Ok((path.to_owned(), Some(stdin.into())));
    }
    let path = seen_by_all(path)?;
    let asked = path.clone();
    // Opening a named pipe blocks until it has a writer.
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
        assert_eq!(seen_by_all(&own.join("new/and/deep")).unwrap(), real.join("new/and/deep"));
        assert_eq!(seen_by_all(Path::new("x")).unwrap(), std::env::current_dir().unwrap().join("x"));
        for closed in ["/dev/fd/987654", "/dev/fd/987654/x", "/proc/self/fd/987654/x/y"] {
            let failure = seen_by_all(Path::new(closed)).unwrap_err();
            assert_eq!(failure.message, format!("cannot use `{closed}`"));
            assert_eq!(failure.causes, ["this process has no such open file"]);
        }
        drop(place);
        assert_eq!(seen_by_all(&own.join("new")).unwrap_err().causes, ["No such file or directory (os error 2)"]);
    }
}
