//! Failures as the shell sees them: exit codes, and shorthands for the failures of this crate.

use std::{io, path::Path};

use ggen_marketplace::{ErrorKind, Failure};

/// Returns the exit code that the command line contract gives to `kind`.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => 2,
        ErrorKind::Verification => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::TimedOut => 5,
        ErrorKind::Interrupted => 130,
        // The kind is open to growth; whatever is not told apart has simply failed.
        _ => 1,
    }
}

/// A wrong command line or configuration.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Usage, message)
}

/// An operation on `path` that the system refused: `cannot <action> <path>`.
pub(crate) fn io(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, error).while_doing(format!("cannot {action} `{}`", path.display()))
}

/// The failure of a command that needs a running node.
pub(crate) fn no_node(home: &Path) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("no node is running in `{}`", home.display()))
        .hinted("start one with `ggen marketplace p2p start --daemon`")
}

/// Without a running node there is none to connect: a hint at `bootstrap` becomes one at a start that does it.
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
