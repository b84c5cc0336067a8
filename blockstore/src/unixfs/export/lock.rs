//! Locks on files and directories during a write, if the file system supports them.

use std::io;

use rustix::{
    fd::AsFd,
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The result of an attempt to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It is held as long as the descriptor is open.
    Held,
    /// Another process holds it.
    Busy,
    /// The file system does not support locks, as some NFS and FUSE file systems.
    Unsupported,
}

/// Errors of file systems without locks. The call itself is valid, so these errors mean a lack of support. NFS returns
/// `EBADF` for a file that is open for reading only.
const UNSUPPORTED: [Errno; 6] =
    [Errno::NOLCK, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::BADF];

/// Tries to lock an open file or directory for this process alone.
///
/// # Errors
/// Any other I/O error.
pub(crate) fn try_lock(fd: impl AsFd) -> io::Result<Lock> {
    loop {
        return match system_lock(fd.as_fd()) {
            Ok(()) => Ok(Lock::Held),
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => Ok(Lock::Busy),
            Err(error) if UNSUPPORTED.contains(&error) => Ok(Lock::Unsupported),
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(not(test))]
fn system_lock(fd: impl AsFd) -> rustix::io::Result<()> {
    flock(fd, FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
fn system_lock(fd: impl AsFd) -> rustix::io::Result<()> {
    match testing::REFUSAL.get() {
        Some(refusal) => Err(refusal),
        None => flock(fd, FlockOperation::NonBlockingLockExclusive),
    }
}

/// Tests cannot mount a file system without locks, so they replace the operating system's results on this thread.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        pub(crate) static REFUSAL: Cell<Option<Errno>> = const { Cell::new(None) };
    }
}
