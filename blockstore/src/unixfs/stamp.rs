//! Detects whether a file has changed, without reading it.
//!
//! A file's stamp is its metadata: device, inode, length, times of the last write and of the last change. These times
//! have a limited resolution: a file that is written twice within one step of the clock has the same stamp both times.
//! *The racy rule* (git's): a stamp is reliable only if both its times are older, by more than such a step, than the
//! moment before the file was read. A later write then gets a later time.
//!
//! The time of the last change cannot be set, so a file that is edited and then given its former size and modification
//! time has a different stamp. A stamp does not show a write through a memory mapping that was already dirty. As with
//! git, make and rsync, a program that keeps a file mapped while it is published must sync it.
//!
//! Only file systems whose times this kernel generates are trusted: a server's clock may differ, its resolution is
//! unknown, and some keep no time of change.

use std::{
    fs::{File, Metadata, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::OFlags;

use crate::{Error, Result};

/// Longest step of the clock of a file system with fractional seconds, in nanoseconds: ten times that of the slowest
/// kernel (100 Hz).
const FINE_STEP_NANOS: i128 = 100_000_000;
/// Longest step of the clock of a file system without fractional seconds, in nanoseconds.
const COARSE_STEP_NANOS: i128 = 2_000_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A time as file systems store it: seconds since 1970, and nanoseconds of the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

impl Moment {
    fn from_system(time: SystemTime) -> Self {
        // For a clock before 1970 no file is older than the result, so that no stamp is trusted.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }

    fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS_PER_SECOND + i128::from(self.nanos)
    }
}

/// The stamp; see the module documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Time of the last write.
    pub(crate) modified: Moment,
    /// Time of the last change of data or metadata.
    pub(crate) changed: Moment,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let moment = |seconds, nanos| Moment { seconds, nanos: u32::try_from(nanos).unwrap_or_default() };
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: moment(metadata.mtime(), metadata.mtime_nsec()),
            changed: moment(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns whether a file that had this stamp and was read from `begun` on keeps its content as long as it keeps
    /// its stamp.
    pub(crate) fn is_settled(&self, begun: Moment) -> bool {
        // Times of change are set by the kernel alone; one on a full second indicates a clock without fractions.
        let step = if self.changed.nanos == 0 { COARSE_STEP_NANOS } else { FINE_STEP_NANOS };
        let settled = |moment: Moment| moment.as_nanos() < begun.as_nanos() - step;
        settled(self.modified) && settled(self.changed)
    }
}

/// The operating system functions of an import; tests substitute one whose clock stands still.
pub(crate) trait FileSystem: Sync {
    /// The current time.
    fn now(&self) -> Moment;

    /// The stamp of the file at `path` (from the root of the tree), from its metadata.
    fn stamp(&self, path: &str, metadata: &Metadata) -> Stamp;

    /// The device of this directory if stamps on its file system are reliable; `None` otherwise.
    fn believed(&self, directory: &Path) -> Option<u64>;

    /// Opens a file that was listed as one: symlinks are not followed, and opening a pipe does not block.
    fn open(&self, path: &Path) -> Result<File>;
}

/// The operating system itself.
#[derive(Debug)]
pub(crate) struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn now(&self) -> Moment {
        Moment::from_system(SystemTime::now())
    }

    fn stamp(&self, _: &str, metadata: &Metadata) -> Stamp {
        Stamp::of(metadata)
    }

    fn believed(&self, directory: &Path) -> Option<u64> {
        let metadata = std::fs::metadata(directory).ok()?;
        is_kept_by_this_kernel(directory).then(|| metadata.dev())
    }

    fn open(&self, path: &Path) -> Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).map_err(Error::io("open", path))
    }
}

/// Local file systems, by their number in `statfs(2)`.
#[cfg(target_os = "linux")]
const LOCAL: [u32; 10] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x794c_7630, // overlayfs
    0x3153_464a, // jfs
];

#[cfg(target_os = "linux")]
fn is_kept_by_this_kernel(directory: &Path) -> bool {
    // The numbers have 32 bits; some architectures extend their sign.
    rustix::fs::statfs(directory).is_ok_and(|stat| LOCAL.contains(&(stat.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_kept_by_this_kernel(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(modified: (i64, u32), changed: (i64, u32)) -> Stamp {
        let moment = |(seconds, nanos)| Moment { seconds, nanos };
        Stamp { device: 1, inode: 2, size: 3, modified: moment(modified), changed: moment(changed) }
    }

    #[test]
    fn a_stamp_from_within_a_step_of_the_clock_is_not_believed() {
        let begun = Moment { seconds: 1000, nanos: 500_000_000 };
        assert!(stamp((999, 1), (1000, 399_999_999)).is_settled(begun));
        assert!(!stamp((999, 1), (1000, 400_000_000)).is_settled(begun), "a whole step has to lie between");
        assert!(!stamp((1000, 400_000_000), (999, 1)).is_settled(begun), "and before the writing too");
        assert!(!stamp((999, 1), (1000, 500_000_000)).is_settled(begun), "the same moment");
        assert!(!stamp((999, 1), (1001, 1)).is_settled(begun), "from the future");
    }

    #[test]
    fn a_clock_of_full_seconds_has_longer_steps() {
        let begun = Moment { seconds: 1000, nanos: 500_000_000 };
        assert!(!stamp((900, 0), (999, 0)).is_settled(begun));
        assert!(stamp((900, 0), (998, 0)).is_settled(begun));
        assert!(stamp((900, 0), (999, 7)).is_settled(begun), "a full second may be set as the time of writing");
    }

    #[test]
    fn a_time_before_the_epoch_settles_nothing() {
        let begun = Moment::from_system(UNIX_EPOCH - std::time::Duration::from_secs(5));
        assert!(!stamp((0, 1), (0, 1)).is_settled(begun));
    }
}
