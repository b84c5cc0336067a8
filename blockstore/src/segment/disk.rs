//! The few file operations a store needs, as a trait, so that tests can substitute a disk that fails or loses power.

use std::{
    fmt::Debug,
    fs,
    io::{self, IoSlice, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustix::{
    buffer::spare_capacity,
    fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs},
};

/// One flat directory of files. Names contain no separator.
pub(super) trait Disk: Debug + Send + Sync + 'static {
    /// The path, for messages.
    fn path(&self) -> &Path;

    /// Takes the exclusive lock, held for as long as the disk is; `false` if another process holds it.
    fn lock(&self, name: &str) -> io::Result<bool>;

    /// Names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file, or truncates an existing one.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; open handles stay readable.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Returns whether written data persists until the store is opened again.
    fn is_kept(&self) -> bool {
        true
    }

    /// Bytes available to this process; `None` if unknown.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Creates a file of this length with allocated space, if it does not exist.
    fn reserve(&self, _name: &str, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// An open file.
pub(super) trait File: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to `len` bytes at `offset`; fewer only at the end of the file. Many threads may read at once.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// As `read_at`, into `bytes`, whose length is the number of bytes to read.
    fn read_into(&self, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>>;

    /// Writes all of `parts` consecutively from `offset` on.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// Cuts or extends the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;

    /// Returns the disk space of a range, whose bytes read as zero from then on. It needs no space itself.
    fn punch(&self, _range: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Mode of a file: stored content is not public.
const FILE_MODE: u32 = 0o600;
/// Mode of the directory, and of parent directories that are created.
const DIRECTORY_MODE: u32 = 0o700;

/// Options to read and write a file with access for its owner only, whatever the process's umask.
fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

/// A directory of the operating system.
#[derive(Debug)]
pub(super) struct RealDisk {
    path: PathBuf,
    lock: OnceLock<fs::File>,
}

impl RealDisk {
    /// Opens the directory at `path`, and creates it if it does not exist.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self { path: path.to_owned(), lock: OnceLock::new() });
        }
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self { path: path.to_owned(), lock: OnceLock::new() })
    }
}

impl Disk for RealDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self, name: &str) -> io::Result<bool> {
        let file = private().create(true).truncate(false).open(self.path.join(name))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(self.lock.set(file).is_ok()),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| entry.map(|entry| entry.file_name().into_string()));
        names.filter_map(|name| name.map(Result::ok).transpose()).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = private().create(true).truncate(true).open(self.path.join(name))?;
        Ok(Arc::new(RealFile::new(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = private().open(self.path.join(name))?;
        Ok(Arc::new(RealFile::new(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn reserve(&self, name: &str, len: u64) -> io::Result<()> {
        let path = self.path.join(name);
        if fs::metadata(&path).is_ok_and(|file| file.len() == len) {
            return Ok(());
        }
        let file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        // A file system that cannot allocate space in advance has none to release later.
        let reserved = fallocate(&file, FallocateFlags::empty(), 0, len);
        if reserved.is_err() {
            fs::remove_file(&path)?;
        }
        Ok(reserved?)
    }
}

/// An open file of the operating system.
#[derive(Debug)]
pub(super) struct RealFile {
    file: fs::File,
    /// Held while the cursor is in use. Reads do not use it.
    cursor: Mutex<()>,
}

impl RealFile {
    pub(super) fn new(file: fs::File) -> Self {
        Self { file, cursor: Mutex::default() }
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The allocator may have provided more capacity than requested.
        bytes.truncate(len);
        Ok(bytes)
    }

    fn read_into(&self, offset: u64, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut read = 0;
        while read < bytes.len() {
            match rustix::io::pread(&self.file, &mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let _cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut slices: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, range.start, range.end - range.start)?)
    }
}
