//! Locks on what is being written, where the file system has them.

use std::io;

use rustix::{
    fd::AsFd,
    fs::{FlockOperation, flock},
    io::Errno,
};

/// What became of a try to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It is held as long as the descriptor is open.
    Held,
    /// Another process holds it.
    Busy,
    /// The file system has no locks, as some of NFS and FUSE.
    Unsupported,
}

/// How file systems without locks answer. The call is right, so it is they that do not know it; NFS says `EBADF` of what
/// is open for reading only.
const UNSUPPORTED: [Errno; 6] =
    [Errno::NOLCK, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::INVAL, Errno::BADF];

/// Tries to lock an open file or directory for this process alone.
///
/// # Errors
/// What is neither of the answers above.
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

/// No file system without locks can be mounted by every test, so this thread's answers of the system are replaced.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        pub(crate) static REFUSAL: Cell<Option<Errno>> = const { Cell::new(None) };
    }
}
