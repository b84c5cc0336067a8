//! From a tarball to a DAG in a store.

/// Bounds on an archive that somebody else made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most bytes that it may unpack to.
    pub max_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { max_bytes: 1 << 36 }
    }
}
