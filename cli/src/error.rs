//! Failures of commands: exit codes, and constructors for the failures of this crate.

use std::{io, path::Path};

use ggen_marketplace::{ErrorKind, Failure};

/// The exit code of `kind` according to the command line contract.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => 2,
        ErrorKind::Verification => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::TimedOut => 5,
        ErrorKind::Interrupted => 130,
        // The enum is non-exhaustive; unknown kinds count as plain failures.
        _ => 1,
    }
}

/// An invalid command line or configuration.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Usage, message)
}

/// A failed system call on `path`: `cannot <action> <path>`.
pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, error).while_doing(format!("cannot {action} `{}`", path.display()))
}

/// The failure of a command that needs a running node.
pub(crate) fn no_node(home: &Path) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("no node is running in `{}`", home.display()))
        .hinted("start one with `ggen marketplace p2p start --daemon`")
}

/// Replaces a hint to use `bootstrap`, which needs a running node, by a hint to start one that bootstraps.
pub(crate) fn start_instead_of_bootstrap(hint: &str) -> String {
    hint.replace(
        "`ggen marketplace p2p bootstrap ADDRESS`",
        "`ggen marketplace p2p start --daemon --bootstrap ADDRESS`",
    )
}

/// The failure of a command that a signal ended.
pub(crate) fn interrupted() -> Failure {
    Failure::new(ErrorKind::Interrupted, "interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_exit_code_of_the_contract() {
        let codes = [
            (ErrorKind::Failed, 1),
            (ErrorKind::Usage, 2),
            (ErrorKind::Verification, 3),
            (ErrorKind::NotFound, 4),
            (ErrorKind::TimedOut, 5),
            (ErrorKind::Interrupted, 130),
        ];
        for (kind, code) in codes {
            assert_eq!(exit_code(kind), code, "{kind:?}");
        }
    }
}
