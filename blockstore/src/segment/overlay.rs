//! A directory that is never changed: writes stay in memory, and are lost with the store. Recovery of a read-only store
//! uses it before the store is read.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
};

use rustix::fs::{FlockOperation, flock};

use super::disk::{Disk, File, RealFile};

/// The overlay; see the module documentation.
#[derive(Debug)]
pub(super) struct Overlay {
    path: PathBuf,
    lock: OnceLock<fs::File>,
    /// Files that were opened or differ from the directory; `None` for a removed one.
    files: Mutex<BTreeMap<String, Option<Arc<Layered>>>>,
}

impl Overlay {
    /// An overlay over the directory at `path`, which need not exist.
    pub(super) fn over(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: OnceLock::new(), files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<Layered>>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> io::Result<Arc<Layered>> {
        match self.files().entry(name.to_owned()) {
            Entry::Occupied(file) => file.get().clone().ok_or_else(|| io::ErrorKind::NotFound.into()),
            Entry::Vacant(place) => {
                let file = Arc::new(Layered::over(fs::File::open(self.path.join(name))?)?);
                Ok(place.insert(Some(file)).clone().expect("it was just put there"))
            }
        }
    }
}

impl Disk for Overlay {
    fn path(&self) -> &Path {
        &self.path
    }

    /// Other processes may read the directory too, and no process may write to it meanwhile. If the lock file does not
    /// exist, no process has ever written to the directory.
    fn lock(&self, name: &str) -> io::Result<bool> {
        let file = match fs::File::open(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            file => file?,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(self.lock.set(file).is_ok()),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let files = self.files();
        let mut names: Vec<_> = files.iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name.clone()).collect();
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            entries => entries?,
        };
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok().filter(|name| !files.contains_key(name)));
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(Layered::default());
        self.files().insert(name.to_owned(), Some(Arc::clone(&file)));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        let mut files = self.files();
        files.insert(from.to_owned(), None);
        files.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.files().insert(name.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_kept(&self) -> bool {
        false
    }
}

/// A file whose beginning is on disk and whose rest is in memory.
#[derive(Debug, Default)]
struct Layered {
    base: Option<RealFile>,
    over: RwLock<Over>,
}

/// The part of a file beyond its beginning on disk.
#[derive(Debug, Default)]
struct Over {
    /// Bytes of the file on disk that are still valid.
    base_len: u64,
    bytes: Vec<u8>,
}

impl Over {
    fn len(&self) -> u64 {
        self.base_len + self.bytes.len() as u64
    }
}

impl Layered {
    fn over(file: fs::File) -> io::Result<Self> {
        let base = RealFile::new(file);
        let over = Over { base_len: base.len()?, bytes: Vec::new() };
        Ok(Self { base: Some(base), over: RwLock::new(over) })
    }
}

impl File for Layered {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over.read().unwrap_or_else(PoisonError::into_inner).len())
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.read_into(offset, vec![0; len.min(there)])
    }

    fn read_into(&self, offset: u64, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let over = self.over.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = bytes.len();
        let of_base = usize::try_from(over.base_len.saturating_sub(offset)).unwrap_or(usize::MAX).min(wanted);
        bytes.truncate(of_base);
        if let Some(base) = self.base.as_ref().filter(|_| of_base > 0) {
            bytes = base.read_into(offset, bytes)?;
        }
        if bytes.len() == of_base {
            let from = usize::try_from((offset + of_base as u64).saturating_sub(over.base_len)).unwrap_or(usize::MAX);
            let rest = over.bytes.get(from..).unwrap_or_default();
            bytes.extend(&rest[..rest.len().min(wanted - of_base)]);
        }
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut over = self.over.write().unwrap_or_else(PoisonError::into_inner);
        // Only repairs overwrite existing bytes, and a read-only store is not repaired.
        let from = offset.checked_sub(over.base_len).ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        let from = usize::try_from(from).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let written = parts.concat();
        let end = from + written.len();
        if over.bytes.len() < end {
            over.bytes.resize(end, 0);
        }
        over.bytes[from..end].copy_from_slice(&written);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut over = self.over.write().unwrap_or_else(PoisonError::into_inner);
        let beyond = usize::try_from(len.saturating_sub(over.base_len)).map_err(|_| io::ErrorKind::FileTooLarge)?;
        over.base_len = over.base_len.min(len);
        over.bytes.resize(beyond, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay() -> (tempfile::TempDir, Overlay) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "abcdef").unwrap();
        let overlay = Overlay::over(dir.path());
        (dir, overlay)
    }

    #[test]
    fn files_are_cut_and_go_on_in_memory() {
        let (dir, overlay) = overlay();
        let file = overlay.open("a").unwrap();
        file.write_at(6, &[b"gh", b"i"]).unwrap();
        assert_eq!(file.read_at(4, 99).unwrap(), b"efghi");
        assert_eq!(file.read_at(7, 1).unwrap(), b"h");
        assert_eq!(file.read_at(20, 3).unwrap(), b"");
        file.truncate(7).unwrap();
        assert_eq!(file.read_at(0, 99).unwrap(), b"abcdefg");
        file.truncate(3).unwrap();
        file.write_at(3, &[b"X"]).unwrap();
        assert_eq!((file.len().unwrap(), file.read_at(0, 99).unwrap()), (4, b"abcX".to_vec()));
        assert_eq!(file.write_at(1, &[b"Y"]).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(overlay.open("a").unwrap().len().unwrap(), 4, "it is one file");
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"abcdef");
    }

    #[test]
    fn names_are_made_moved_and_removed_in_memory() {
        let (dir, overlay) = overlay();
        overlay.create("b").unwrap().write_at(0, &[b"new"]).unwrap();
        overlay.rename("b", "c").unwrap();
        overlay.remove("a").unwrap();
        assert_eq!(overlay.list().unwrap(), ["c"]);
        assert_eq!(overlay.open("c").unwrap().read_at(0, 9).unwrap(), b"new");
        for gone in ["a", "b", "d"] {
            assert_eq!(overlay.open(gone).unwrap_err().kind(), io::ErrorKind::NotFound, "{gone}");
            assert_eq!(overlay.remove(gone).unwrap_err().kind(), io::ErrorKind::NotFound, "{gone}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
