//! Bounds on an archive, and what is remarkable about one.

use std::fmt;

/// Most bytes that an archive may unpack to: [`ArchiveLimits::max_bytes`] by default.
pub const MAX_ARCHIVE_BYTES: u64 = 64 << 30;
/// Most bytes that an archive may unpack to for each byte of it: [`ArchiveLimits::max_ratio`] by default. Sources reach
/// 20, gzip of zeros 1,000.
pub const MAX_ARCHIVE_RATIO: u64 = 200;
/// Bytes that an archive may unpack to whatever its ratio: [`ArchiveLimits::ratio_free_bytes`] by default.
pub const ARCHIVE_RATIO_FREE_BYTES: u64 = 64 << 20;

/// Bounds on an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most bytes that it may unpack to.
    pub max_bytes: u64,
    /// Most bytes that it may unpack to for each byte of it, counted above `ratio_free_bytes`.
    pub max_ratio: u64,
    /// Bytes that it may unpack to whatever the ratio.
    pub ratio_free_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { max_bytes: MAX_ARCHIVE_BYTES, max_ratio: MAX_ARCHIVE_RATIO, ratio_free_bytes: ARCHIVE_RATIO_FREE_BYTES }
    }
}

/// What is remarkable about an archive that was read nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveNote {
    /// It has no end marker: it may have been cut off between two entries.
    NoEndMarker,
    /// It has entries of the same name: the last one of each counts, as for GNU tar.
    Repeated {
        /// The first name that came again.
        path: String,
        /// Number of entries that a later one replaces.
        replaced: usize,
    },
    /// It is an incremental archive, which may have only what changed since the one before it.
    Incremental,
    /// This entry beside the top folder is not part of the package: macOS keeps attributes of the folder in it.
    LeftOut {
        /// Its path in the archive.
        path: String,
    },
}

impl fmt::Display for ArchiveNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEndMarker => formatter
                .write_str("the archive has no end marker: check that it was not cut off, as entries may be missing"),
            Self::Repeated { path, replaced: 1 } => {
                write!(formatter, "the archive has `{path}` more than once: the last one counts")
            }
            Self::Repeated { path, replaced } => write!(
                formatter,
                "the archive has `{path}` and {} more than once: the last one of each counts",
                if *replaced == 2 { "another entry".to_owned() } else { format!("{} other entries", replaced - 1) }
            ),
            Self::Incremental => formatter.write_str(
                "the archive is an incremental one: check that no file is missing, as it may have changed files alone",
            ),
            Self::LeftOut { path } => {
                write!(formatter, "`{path}` is left out: macOS keeps attributes of the top folder in it")
            }
        }
    }
}
