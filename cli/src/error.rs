//! Failures of commands: exit codes, and constructors for the failures of this crate.

use std::{io, path::Path};

use ggen_marketplace::{Action, ErrorKind, Failure, Hint, Operation, Setting};

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

/// Returns the hint with the commands that its actions are.
pub(crate) fn with_commands(hint: &Hint) -> String {
    hint.worded(|action| format!("`{}`", command(action)))
}

/// The command line, or the flags, of an action.
fn command(action: &Action) -> String {
    let Action { operation, on, settings, is_mention } = action;
    let name = operation.map(|operation| match operation {
        Operation::Bootstrap => "bootstrap",
        Operation::Config => "config show",
        Operation::Doctor => "doctor",
        Operation::Fetch => "fetch",
        Operation::Gc => "gc",
        Operation::GpackGuide => "ggen help gpack",
        Operation::Info => "info",
        Operation::Keys => "key list",
        Operation::MirrorAdd => "mirror add",
        Operation::MirrorLs => "mirror ls",
        Operation::PeerList => "peer-list",
        Operation::PeerReset => "peer reset",
        Operation::PinAdd => "pin add",
        Operation::PinLs => "pin ls",
        Operation::Publish => "publish",
        Operation::RecoveryKeyConfirm => "key recovery confirm",
        Operation::RecoveryKeyShow => "key recovery show",
        Operation::Search => "search",
        Operation::Start => "start",
        Operation::Stop => "stop",
        Operation::TrustAdd => "trust add",
        Operation::TrustList => "trust list",
        Operation::Verify => "verify",
        Operation::Yank => "yank",
    });
    let is_alone = *is_mention || matches!(operation, None | Some(Operation::GpackGuide));
    let flags = settings.iter().map(|(setting, value)| match (setting, value.as_deref().unwrap_or_default()) {
        (Setting::Output, path) => format!("-o {path}"),
        (Setting::User, id) => format!("sudo -u '#{id}' -H ggen ..."),
        (_, "") => format!("--{}", setting.to_string().replace('_', "-")),
        (_, value) => format!("--{} {value}", setting.to_string().replace('_', "-")),
    });
    let program = (!is_alone).then_some("ggen marketplace p2p");
    let words = program.into_iter().chain(name).chain(on.as_deref()).map(ToOwned::to_owned);
    words.chain(flags).collect::<Vec<_>>().join(" ")
}

/// Replaces `bootstrap`, which needs a running node, by the start of a node that bootstraps.
pub(crate) fn start_instead_of_bootstrap(hint: &mut Hint) {
    for action in hint.actions_mut().filter(|action| action.operation == Some(Operation::Bootstrap)) {
        *action = Operation::Start.with(Setting::Daemon).with(Setting::Bootstrap.to("ADDRESS"));
    }
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

    fn connect() -> Hint {
        let fetch = Operation::Fetch.on("acme/http").with(Setting::Provider.to("ADDRESS"));
        let hint = Hint::from("connect with ").and(Operation::Bootstrap.on("ADDRESS")).and(", or ").and(fetch);
        hint.and("; see ").and(Operation::PinLs.mentioned()).and(", without ").and(Setting::MinReputation)
    }

    #[test]
    fn actions_of_a_hint_are_commands_and_flags() {
        let mut hint = connect();
        let rest =
            ", or `ggen marketplace p2p fetch acme/http --provider ADDRESS`; see `pin ls`, without `--min-reputation`";
        assert_eq!(with_commands(&hint), format!("connect with `ggen marketplace p2p bootstrap ADDRESS`{rest}"));
        start_instead_of_bootstrap(&mut hint);
        let start = "`ggen marketplace p2p start --daemon --bootstrap ADDRESS`";
        assert_eq!(with_commands(&hint), format!("connect with {start}{rest}"));
        let hint = Hint::from(Setting::Output.to("DIR")).and(Operation::GpackGuide).and(Setting::User.to("1"));
        assert_eq!(with_commands(&hint), "`-o DIR``ggen help gpack``sudo -u '#1' -H ggen ...`");
    }

    #[test]
    fn hint_survives_the_socket_and_is_a_string_where_it_names_no_action() {
        for (hint, is_string) in [(connect(), false), (Hint::from("check ").and("the name"), true)] {
            let written = serde_json::to_value(&hint).unwrap();
            assert_eq!(written.is_string(), is_string, "{written}");
            let read: Hint = serde_json::from_value(written).unwrap();
            assert_eq!(with_commands(&read), with_commands(&hint));
        }
    }
}
