//! Why an entry of a tree is refused.

/// The reason why an entry of a tree is refused. The tree is a directory, an archive or a DAG.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An invalid file name: empty, `.`, `..`, or with a slash or NUL in it.
    #[error("`{name}` is not a file name")]
    Name {
        /// The name, its bytes escaped.
        name: String,
    },
    /// A name that is not UTF-8.
    #[error("its name is not UTF-8")]
    NotUtf8,
    /// A name over [`MAX_NAME_BYTES`](crate::MAX_NAME_BYTES), or a path over [`MAX_PATH_BYTES`](crate::MAX_PATH_BYTES).
    #[error("its name or path is longer than {limit} bytes")]
    TooLong {
        /// The limit that it exceeds, in bytes.
        limit: usize,
    },
    /// An entry below [`MAX_DEPTH`](crate::MAX_DEPTH) directories.
    #[error("it lies deeper than {limit} directories")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A path in an archive that is absolute.
    #[error("its path is absolute")]
    AbsolutePath,
    /// A path in an archive with `..` in it.
    #[error("its path contains `..`")]
    ParentPath,
    /// A name that occurs twice in its directory.
    #[error("its directory has that name twice")]
    Duplicate,
    /// A name that some file systems treat as equal to another one in its directory: the two differ only by case or
    /// Unicode form.
    #[error("some file systems take its name and `{other}` for one: they differ by case or Unicode form alone")]
    CaseCollision {
        /// The other name.
        other: String,
    },
    /// A name with the same 64-bit hash as another name in its sharded directory.
    #[error("another name in its directory has the same hash")]
    HashCollision,
    /// A name in the wrong bucket of a sharded directory, where lookups do not find it.
    #[error("it lies where its name's hash does not belong")]
    Misplaced,
    /// An entry that is a file and a directory at once.
    #[error("it is a file and a directory at once")]
    FileAndDirectory,
    /// A symlink that leaves the tree, or might.
    #[error("its target `{target}` leads out of the tree")]
    LinkLeavesTree {
        /// Its target.
        target: String,
    },
    /// A symlink with an empty or overlong target, or one that is not UTF-8.
    #[error("its target is not a path of 1 to {limit} bytes of UTF-8")]
    LinkTarget {
        /// Most bytes.
        limit: usize,
    },
    /// A hard link in an archive to something that is not an earlier file of it.
    #[error("it is a hard link to `{target}`, which is no earlier file of the archive")]
    HardLink {
        /// Its target.
        target: String,
    },
    /// A device, socket or pipe, or an archive entry of a type other than file, directory and link.
    #[error("it is {what}, not a file, directory or symlink")]
    Special {
        /// Its type, with the article.
        what: &'static str,
    },
    /// A file whose length changed between listing and reading.
    #[error("it changed while it was read")]
    Changed,
}
