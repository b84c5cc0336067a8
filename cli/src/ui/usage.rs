//! Output of clap: help on stdout, usage errors on stderr or as the JSON error on stdout.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
};

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};
use ggen_marketplace::Failure;

use super::{color_wanted, describe, json, talk, to_stdout};
use crate::error;

/// The parents of most commands.
const P2P: [&str; 2] = ["marketplace", "p2p"];
/// Least similarity (0 to 1) between an argument and a command for a suggestion.
const SUGGESTION_SIMILARITY: f64 = 0.75;
/// Command names of other tools: the parent command, the other tool's name, and the name in this program.
const OTHER_NAMES: [(&str, &str, &str); 32] = [
    (TOP, "get", "fetch"),
    (TOP, "download", "fetch"),
    (TOP, "pull", "fetch"),
    (TOP, "install", "fetch"),
    (TOP, "add", "fetch"),
    (TOP, "find", "search"),
    (TOP, "view", "info"),
    (TOP, "show", "info"),
    (TOP, "push", "publish"),
    (TOP, "unpublish", "yank"),
    (TOP, "peers", "peer-list"),
    (TOP, "connect", "bootstrap"),
    (TOP, "id", "status"),
    (TOP, "check", "doctor"),
    (TOP, "daemon", "start --daemon"),
    (TOP, "keys", "key list"),
    (TOP, "whoami", "key list"),
    ("config", "get", "config show"),
    ("config", "list", "config show"),
    ("config", "ls", "config show"),
    ("config", "delete", "config unset"),
    ("config", "rm", "config unset"),
    ("key", "ls", "key list"),
    ("mirror", "list", "mirror ls"),
    ("mirror", "remove", "mirror rm"),
    ("peer", "info", "peer-info"),
    ("peer", "list", "peer-list"),
    ("peer", "ls", "peer-list"),
    ("peer", "connect", "bootstrap"),
    ("pin", "list", "pin ls"),
    ("pin", "remove", "pin rm"),
    ("pin", "delete", "pin rm"),
];
/// Marks the top level and the commands that contain the whole registry.
const TOP: &str = "";

/// Prints clap's error or help for a command line of `program` that does not run, and returns the exit code.
pub(crate) fn answer(args: &[OsString], mut refusal: clap::Error, program: Command) -> u8 {
    point_to_the_command(args, &mut refusal, program);
    let refusal = &refusal;
    if matches!(refusal.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = styled(refusal, io::stdout().is_terminal());
        return to_stdout(text.as_bytes()).map_or_else(|failure| not_shown(&failure), |()| 0);
    }
    let failure = failure(refusal);
    // If even the refusal cannot be written, the exit code still says that there was one.
    if wants_json(args) {
        drop(to_stdout(json::failure(&failure).as_bytes()));
    } else {
        talk(&styled(refusal, io::stderr().is_terminal()));
    }
    error::exit_code(failure.kind)
}

/// Says that help cannot be written, and returns the exit code.
fn not_shown(failure: &Failure) -> u8 {
    talk(&describe(failure, io::stderr().is_terminal() && color_wanted()));
    error::exit_code(failure.kind)
}

/// Suggests the full command for one that was typed without its parents, or by the name that another tool uses.
fn point_to_the_command(args: &[OsString], refusal: &mut clap::Error, program: Command) {
    if refusal.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(word)) = refusal.get(ContextKind::InvalidSubcommand) else { return };
    let clap_has_one = refusal.get(ContextKind::SuggestedSubcommand).is_some();
    // Another tool's name may resemble a different command here, even the opposite one.
    let command = called_elsewhere(above(args, word, &program), word)
        .or_else(|| (!clap_has_one).then(|| command_like(word, program)).flatten());
    if let Some(command) = command {
        let tip = ContextValue::Strings(vec![format!("ggen {command}")]);
        refusal.insert(ContextKind::SuggestedSubcommand, tip);
    }
}

/// The command that precedes `word` on the command line; [`TOP`] for the parents of the registry's commands.
fn above<'p>(args: &[OsString], word: &str, program: &'p Command) -> &'p str {
    let mut command = program;
    for arg in args.iter().skip(1).take_while(|arg| *arg != word) {
        command = command.find_subcommand(arg).unwrap_or(command);
    }
    match command.get_name() {
        name if name == program.get_name() || P2P.contains(&name) => TOP,
        name => name,
    }
}

/// The command that other tools call `word`, below the parent `above`.
fn called_elsewhere(above: &str, word: &str) -> Option<String> {
    if (above, word) == (TOP, "version") {
        return Some("--version".to_owned());
    }
    let (.., ours) = OTHER_NAMES.iter().find(|(below, other, _)| (*below, *other) == (above, word))?;
    Some(format!("{} {ours}", P2P.join(" ")))
}

/// The full command that `word` resembles.
fn command_like(word: &str, program: Command) -> Option<String> {
    if P2P.contains(&word) {
        return Some(P2P.join(" "));
    }
    let mut commands = program;
    for name in P2P {
        commands = commands.find_subcommand(name)?.clone();
    }
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(name, word);
    let scored = commands.get_subcommands().map(|command| (likeness(command.get_name()), command.get_name()));
    let (best, name) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best >= SUGGESTION_SIMILARITY).then(|| format!("{} {name}", P2P.join(" ")))
}

fn styled(refusal: &clap::Error, terminal: bool) -> String {
    let text = refusal.render();
    if terminal && color_wanted() { text.ansi().to_string() } else { text.to_string() }
}

/// Returns whether a command line that cannot be parsed contains `--format json`.
fn wants_json(args: &[OsString]) -> bool {
    let mut words = args.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let mut json = false;
    while let Some(word) = words.next() {
        if word == "--format" {
            json = words.next().is_some_and(|value| value == "json");
        } else if let Some(value) = word.strip_prefix("--format=") {
            json = value == "json";
        }
    }
    json
}

/// Clap's error as a failure: its first paragraph is the message; a tip, or else the usage, is the hint.
fn failure(refusal: &clap::Error) -> Failure {
    if matches!(refusal.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        return error::usage("a sub-command is missing").hinted("add `--help` to list the sub-commands");
    }
    let text = refusal.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let message = super::text::one_line(first.strip_prefix("error: ").unwrap_or(first));
    let hint = suggestion(refusal).unwrap_or_else(|| "add `--help` to see the usage".to_owned());
    error::usage(message).hinted(hint)
}

fn suggestion(refusal: &clap::Error) -> Option<String> {
    let kinds = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match refusal.get(kind)? {
        ContextValue::String(word) => Some(format!("did you mean `{word}`?")),
        // Clap lists the most likely suggestion last.
        ContextValue::Strings(words) => words.last().map(|word| format!("did you mean `{word}`?")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Args;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn json_is_recognised_in_both_spellings_and_not_after_the_end_of_flags() {
        assert!(wants_json(&words("ggen --format json x")));
        assert!(wants_json(&words("ggen x --format=json")));
        assert!(!wants_json(&words("ggen x -- --format json")));
        assert!(!wants_json(&words("ggen x --format json --format human")));
        assert!(!wants_json(&words("ggen x --format")));
    }

    #[test]
    fn misspelt_flag_gets_a_message_and_a_suggestion() {
        let refusal = Args::try_parse_from(words("ggen marketplace p2p start --listne x")).unwrap_err();
        let failure = failure(&refusal);
        assert_eq!(failure.message, "unexpected argument '--listne' found");
        assert_eq!(failure.hint, Some("did you mean `--listen`?".into()));
    }

    #[test]
    fn command_without_the_words_before_it_is_shown_in_full() {
        for (line, full) in [
            ("ggen download x", "ggen marketplace p2p fetch"),
            ("ggen marketplace fetch x", "ggen marketplace p2p fetch"),
            ("ggen p2p status", "ggen marketplace p2p"),
            ("ggen marketplace p2p download x", "ggen marketplace p2p fetch"),
            ("ggen unpublish acme/x@1.0.0", "ggen marketplace p2p yank"),
            ("ggen view acme/x", "ggen marketplace p2p info"),
            ("ggen --home /h daemon", "ggen marketplace p2p start --daemon"),
            ("ggen config get mdns", "ggen marketplace p2p config show"),
            ("ggen marketplace p2p config list", "ggen marketplace p2p config show"),
            ("ggen peer info X", "ggen marketplace p2p peer-info"),
            ("ggen peer list", "ggen marketplace p2p peer-list"),
            ("ggen version", "ggen --version"),
        ] {
            let mut refusal = Args::try_parse_from(words(line)).unwrap_err();
            point_to_the_command(&words(line), &mut refusal, Args::command());
            assert_eq!(failure(&refusal).hint, Some(format!("did you mean `{full}`?").into()), "{line}");
            assert!(refusal.render().to_string().contains(full), "{refusal}");
        }
        let mut refusal = Args::try_parse_from(words("ggen dance")).unwrap_err();
        point_to_the_command(&words("ggen dance"), &mut refusal, Args::command());
        assert_eq!(failure(&refusal).hint, Some("add `--help` to see the usage".into()));
    }

    #[test]
    fn every_name_from_elsewhere_leads_to_a_command_that_there_is() {
        for (above, other, ours) in OTHER_NAMES {
            let line = words(&format!("ggen marketplace p2p {ours} --help"));
            let shown = Args::try_parse_from(&line).unwrap_err();
            assert_eq!(shown.kind(), ErrorKind::DisplayHelp, "{ours}: {shown}");
            let typed = [above, other].join(" ");
            let refusal = Args::try_parse_from(words(&format!("ggen marketplace p2p {}", typed.trim()))).unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::InvalidSubcommand, "{typed}");
        }
    }

    #[test]
    fn likeliest_command_is_suggested_for_a_misspelt_one() {
        for (line, command) in [
            ("ggen pubish x", "publish"),
            ("ggen marketplace p2p peer-lst", "peer-list"),
            ("ggen marketplace p2p per-info x", "peer-info"),
            ("ggen marketplace p2p stauts", "status"),
        ] {
            let refusal = Args::try_parse_from(words(line)).unwrap_err();
            assert_eq!(failure(&refusal).hint, Some(format!("did you mean `{command}`?").into()), "{line}");
        }
    }

    #[test]
    fn missing_argument_is_named() {
        let refusal = Args::try_parse_from(words("ggen marketplace p2p fetch")).unwrap_err();
        assert!(failure(&refusal).message.contains("<TARGET>"), "{refusal}");
    }
}
