//! What the caller of an operation has and the process that carries it out has not: a daemon works for commands of other
//! processes.

use std::fs::File;

/// Who asked for an operation, as far as its outcome depends on that. The default is this process.
#[derive(Debug, Default)]
pub struct Caller {
    /// The tarball to publish, opened by the caller: a pipe, or a file that only the caller can open. The path in the
    /// request only names it then. It is read from where it stands to its end.
    pub input: Option<File>,
}
