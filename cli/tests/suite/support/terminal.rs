//! A command on a terminal.

use std::process::{Command, Stdio};

use super::{Home, Output, finish};

/// Runs `ggen marketplace p2p <args>` with a terminal as stderr, and its stdout in the file `stdout` of the working
/// directory. The returned stdout contains the terminal's content.
pub(crate) fn on_a_terminal(home: &Home, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let ggen = home.command(&[&["marketplace", "p2p"], args].concat());
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let words = std::iter::once(ggen.get_program()).chain(ggen.get_args()).map(quoted);
    let line = format!("{} > '{}'", words.collect::<Vec<_>>().join(" "), home.work().join("stdout").display());
    // `script` of util-linux runs a command on a terminal of its own, and ends with its exit code.
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(home.work());
    let set = ggen.get_envs().filter_map(|(name, value)| Some((name, value?)));
    script.envs(set).env_remove("NO_COLOR").env("SHELL", "/bin/sh").envs(variables.iter().copied());
    finish(script.stdin(Stdio::null()))
}
