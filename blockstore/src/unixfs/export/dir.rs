//! Operations in an open directory, with paths relative to it.
//!
//! The length of the directory's own path therefore does not count, and the longest valid path of a tree can be written
//! anywhere. A symlink at the end of a path is never followed.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};

/// Longest path passed to the operating system at once, in bytes: below the limit of every system. Longer paths are
/// opened in pieces.
const MAX_PATH_BYTES: usize = 1000;
/// The process's umask applies, as to any directory a user creates.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Opens a directory by a path that the caller chose. Symlinks are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        in_pieces(CWD, path, OFlags::empty(), |at, rest| open_directory(at, rest, OFlags::empty()))
    }

    /// As `open`, and creates missing directories; returns these, the outermost first.
    pub(crate) fn open_or_make(path: &Path) -> io::Result<(Self, Vec<PathBuf>)> {
        let mut missing = Vec::new();
        let mut existing = path;
        let mut dir = loop {
            match Self::open(existing) {
                Ok(dir) => break dir,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let (Some(name), Some(parent)) = (existing.file_name(), existing.parent()) else {
                        return Err(error);
                    };
                    missing.push((existing, name));
                    existing = parent;
                }
                Err(error) => return Err(error),
            }
        };
        let mut made = Vec::new();
        for (path, name) in missing.into_iter().rev() {
            match fs::mkdirat(&dir, name, DIRECTORY_MODE) {
                Ok(()) => made.push(path.to_owned()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = open_directory(dir.as_fd(), Path::new(name), OFlags::empty())?;
        }
        Ok((dir, made))
    }

    /// Opens a directory in or below this one.
    pub(crate) fn open_below(&self, path: &Path) -> io::Result<Self> {
        self.at(path, |at, rest| open_directory(at, rest, OFlags::NOFOLLOW))
    }

    /// Creates a directory.
    pub(crate) fn make(&self, path: &Path) -> io::Result<()> {
        self.at(path, |at, rest| Ok(fs::mkdirat(at, rest, DIRECTORY_MODE)?))
    }

    /// Creates a file that must not exist.
    pub(crate) fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode as _);
        self.at(path, |at, rest| Ok(fs::openat(at, rest, flags, mode)?.into()))
    }

    /// Opens a file of any type for reading; does not wait for a pipe.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.at(path, |at, rest| Ok(fs::openat(at, rest, flags, Mode::empty())?.into()))
    }

    /// Creates a symlink.
    pub(crate) fn symlink(&self, target: &str, path: &Path) -> io::Result<()> {
        self.at(path, |at, rest| Ok(fs::symlinkat(target, at, rest)?))
    }

    /// The target of a symlink.
    pub(crate) fn read_link(&self, path: &Path) -> io::Result<OsString> {
        let target = self.at(path, |at, rest| Ok(fs::readlinkat(at, rest, Vec::new())?))?;
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }

    /// The metadata of a path; `None` if it does not exist.
    pub(crate) fn look(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = self.at(path, |at, rest| Ok(fs::statat(at, rest, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Ok(stat) => Ok(Some(stat)),
            // If a parent is a file, the path cannot exist.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a directory in or below this one (an empty path is this one), in no particular order.
    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<(OsString, FileType)>> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.at(path, |at, rest| Ok(fs::openat(at, rest, flags, Mode::empty())?))?;
        let mut names = Vec::new();
        for entry in fs::Dir::new(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
            }
        }
        Ok(names)
    }

    /// Changes the mode of a file.
    pub(crate) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode as _);
        self.at(path, |at, rest| Ok(fs::chmodat(at, rest, mode, AtFlags::empty())?))
    }

    /// Moves an entry to another directory, and replaces a file at its destination.
    pub(crate) fn rename(&self, from: &Path, directory: &Self, to: &Path) -> io::Result<()> {
        self.at(from, |at, from| directory.at(to, |directory, to| Ok(fs::renameat(at, from, directory, to)?)))
    }

    /// Moves an entry to another directory, where its destination must not exist.
    pub(crate) fn rename_new(&self, from: &Path, directory: &Self, to: &Path) -> io::Result<()> {
        match self.rename_exclusively(from, directory, to) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            outcome => return Ok(outcome?),
        }
        // A file system without an exclusive rename may support hard links, which do not replace anything either.
        let is_directory = self.look(from)?.is_some_and(|stat| file_type(&stat).is_dir());
        if !is_directory {
            match fs::linkat(self, from, directory, to, AtFlags::empty()) {
                Ok(()) => return Ok(fs::unlinkat(self, from, AtFlags::empty())?),
                Err(Errno::EXIST) => return Err(Errno::EXIST.into()),
                Err(_) => {}
            }
        }
        match directory.look(to)? {
            Some(_) => Err(Errno::EXIST.into()),
            None => self.rename(from, directory, to),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn rename_exclusively(&self, from: &Path, directory: &Self, to: &Path) -> rustix::io::Result<()> {
        fs::renameat_with(self, from, directory, to, fs::RenameFlags::NOREPLACE)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn rename_exclusively(&self, _: &Path, _: &Self, _: &Path) -> rustix::io::Result<()> {
        Err(Errno::NOSYS)
    }

    /// Removes a file or symlink.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.at(path, |at, rest| Ok(fs::unlinkat(at, rest, AtFlags::empty())?))
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.at(path, |at, rest| Ok(fs::unlinkat(at, rest, AtFlags::REMOVEDIR)?))
    }

    /// Removes the entry with this name, recursively. Opens one directory at a time.
    pub(crate) fn remove_all(&self, name: &Path) -> io::Result<()> {
        match self.look(name)? {
            None => return Ok(()),
            Some(stat) if !file_type(&stat).is_dir() => return self.remove_file(name),
            Some(_) => {}
        }
        // Removing an empty directory needs no descriptor, and none may be left.
        if self.remove_dir(name).is_ok() {
            return Ok(());
        }
        let mut directories = vec![name.to_owned()];
        let mut emptied = 0;
        while let Some(directory) = directories.get(emptied).cloned() {
            for (name, kind) in self.names(&directory)? {
                let path = directory.join(name);
                let is_directory = match kind {
                    FileType::Unknown => self.look(&path)?.is_some_and(|stat| file_type(&stat).is_dir()),
                    kind => kind.is_dir(),
                };
                match is_directory {
                    true => directories.push(path),
                    false => self.remove_file(&path)?,
                }
            }
            emptied += 1;
        }
        directories.iter().rev().try_for_each(|directory| self.remove_dir(directory))
    }

    /// Calls `act` with a directory and a path relative to it that is short enough for the operating system.
    fn at<T>(&self, path: &Path, act: impl FnOnce(BorrowedFd<'_>, &Path) -> io::Result<T>) -> io::Result<T> {
        in_pieces(self.fd.as_fd(), path, OFlags::NOFOLLOW, act)
    }
}

/// The file type in a stat.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn in_pieces<T>(
    start: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    act: impl FnOnce(BorrowedFd<'_>, &Path) -> io::Result<T>,
) -> io::Result<T> {
    let mut held: Option<Dir> = None;
    let mut rest = path.as_os_str().as_bytes();
    while rest.len() > MAX_PATH_BYTES {
        // If even the first component is too long, the operating system refuses the path.
        let Some(end) = rest[..MAX_PATH_BYTES].iter().rposition(|byte| *byte == b'/').filter(|end| *end > 0) else {
            break;
        };
        let at = held.as_ref().map_or(start, Dir::as_fd);
        held = Some(open_directory(at, Path::new(OsStr::from_bytes(&rest[..end])), flags)?);
        rest = &rest[end..];
        while let [b'/', after @ ..] = rest {
            rest = after;
        }
    }
    let rest = if rest.is_empty() { b"." } else { rest };
    act(held.as_ref().map_or(start, Dir::as_fd), Path::new(OsStr::from_bytes(rest)))
}

fn open_directory(at: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<Dir> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = match fs::openat(at, path, flags | OFlags::RDONLY, Mode::empty()) {
        // A directory that may be entered but not listed.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Err(Errno::ACCESS) => fs::openat(at, path, flags | OFlags::PATH, Mode::empty())?,
        outcome => outcome?,
    };
    Ok(Dir { fd })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path longer than any operating system accepts at once.
    #[test]
    fn a_path_of_any_length_is_made_read_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let dir = Dir::open(home.path()).unwrap();
        let mut path = PathBuf::from("top");
        dir.make(&path).unwrap();
        while path.as_os_str().len() < 9000 {
            path.push("d".repeat(200));
            dir.make(&path).unwrap();
        }
        let file = path.join("file");
        dir.create(&file, 0o666).unwrap();
        dir.symlink("file", &path.join("link")).unwrap();
        assert_eq!(dir.read_link(&path.join("link")).unwrap(), "file");
        assert_eq!(dir.names(&path).unwrap().len(), 2);
        dir.rename(&file, &dir, Path::new("moved")).unwrap();
        assert!(dir.look(&file).unwrap().is_none() && dir.look(Path::new("moved")).unwrap().is_some());
        let opened = Dir::open(&home.path().join(&path)).unwrap();
        assert_eq!(opened.names(Path::new("")).unwrap().len(), 1);
        dir.remove_all(Path::new("top")).unwrap();
        assert!(dir.look(Path::new("top")).unwrap().is_none());
    }

    #[test]
    fn directories_that_are_missing_are_made_and_named() {
        let home = tempfile::tempdir().unwrap();
        let there = home.path().join("there");
        std::fs::create_dir(&there).unwrap();
        let (dir, made) = Dir::open_or_make(&there.join("a/b")).unwrap();
        assert_eq!(made, [there.join("a"), there.join("a/b")]);
        dir.create(Path::new("file"), 0o666).unwrap();
        assert!(there.join("a/b/file").exists());
        std::fs::write(there.join("file"), "").unwrap();
        let error = Dir::open_or_make(&there.join("file/a")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn nothing_is_replaced_or_followed_unasked() {
        let home = tempfile::tempdir().unwrap();
        let [from, to, link] = ["from", "to", "link"].map(Path::new);
        let dir = Dir::open(home.path()).unwrap();
        std::fs::write(home.path().join(from), "new").unwrap();
        std::fs::write(home.path().join(to), "old").unwrap();
        dir.symlink("to", link).unwrap();
        assert_eq!(dir.rename_new(from, &dir, to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(dir.rename_new(from, &dir, link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(dir.open_file(link).is_err());
        dir.rename_new(from, &dir, Path::new("free")).unwrap();
        assert_eq!(std::fs::read_to_string(home.path().join("free")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(home.path().join("to")).unwrap(), "old");
    }
}
