//! Resources that the caller of an operation passes to the process that runs it, such as the daemon.

use std::fs::File;

/// Resources of the caller of an operation. The default has none: this process opens all files itself.
#[derive(Debug, Default)]
pub struct Caller {
    /// The tarball to publish, opened by the caller: a pipe, or a file that only the caller can open. It is read from
    /// its current position to its end. The path in the request then serves only as its name.
    pub input: Option<File>,
}
