//! Files and directories of a tree that are excluded.

/// A file or directory that the caller excludes, or that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its path in the tree.
    pub path: String,
    /// A description, as returned by [`Inspect`](crate::Inspect) or [`Selection`](crate::Selection).
    pub what: &'static str,
}
