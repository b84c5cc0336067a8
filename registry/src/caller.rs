//! Resources that the caller of an operation has and the process that performs it lacks: a daemon performs operations
//! for commands in other processes.

use std::fs::File;

/// The caller of an operation, as far as the outcome depends on it. The default is this process.
#[derive(Debug, Default)]
pub struct Caller {
    /// The tarball to publish, opened by the caller: a pipe, or a file that only the caller can open. The path in the
    /// request is then only its name. It is read from its current position to its end.
    pub input: Option<File>,
}
