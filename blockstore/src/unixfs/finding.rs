//! Files and directories of a tree that must not go in.

/// A file or directory that must not go in, or that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its path in the tree.
    pub path: String,
    /// What it is or holds, as [`Inspect`](crate::Inspect) or [`Selection`](crate::Selection) said.
    pub what: &'static str,
}
