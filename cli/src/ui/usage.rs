//! What clap says: help on stdout, usage errors on stderr or as the JSON error on stdout.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
};

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};
use ggen_marketplace::Failure;

use super::{color_wanted, json, put};
use crate::error;

/// Where most commands are.
const P2P: [&str; 2] = ["marketplace", "p2p"];
/// How alike (0 to 1) a word and a command must be for the command to be suggested.
const SUGGESTION_SIMILARITY: f64 = 0.75;
/// What other tools call it.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("get", "fetch"),
    ("download", "fetch"),
    ("pull", "fetch"),
    ("find", "search"),
    ("peers", "peer-list"),
    ("id", "status"),
    ("unpublish", "yank"),
    ("check", "doctor"),
];

/// Prints what clap made of a command line of `program` that is not to be run, and returns the exit code.
pub(crate) fn answer(args: &[OsString], mut refusal: clap::Error, program: Command) -> u8 {
    point_to_the_command(&mut refusal, program);
    let refusal = &refusal;
    if matches!(refusal.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = styled(refusal, io::stdout().is_terminal());
        return u8::from(put(&mut io::stdout().lock(), text.as_bytes()).is_err());
    }
    let failure = failure(refusal);
    let written = if wants_json(args) {
        put(&mut io::stdout().lock(), json::failure(&failure).as_bytes())
    } else {
        io::stderr().lock().write_all(styled(refusal, io::stderr().is_terminal()).as_bytes())
    };
    // If even the refusal cannot be written, the exit code still tells.
    drop(written);
    error::exit_code(failure.kind)
}

/// A command that was typed without the words before it, or by the name it has elsewhere, is suggested in full.
fn point_to_the_command(refusal: &mut clap::Error, program: Command) {
    let knows_better = refusal.get(ContextKind::SuggestedSubcommand).is_some();
    if refusal.kind() != ErrorKind::InvalidSubcommand || knows_better {
        return;
    }
    if let Some(ContextValue::String(word)) = refusal.get(ContextKind::InvalidSubcommand)
        && let Some(command) = command_like(word, program)
    {
        let tip = ContextValue::Strings(vec![format!("ggen {command}")]);
        refusal.insert(ContextKind::SuggestedSubcommand, tip);
    }
}

/// The command, with all its words, that `word` may stand for.
fn command_like(word: &str, program: Command) -> Option<String> {
    if P2P.contains(&word) {
        return Some(P2P.join(" "));
    }
    let word = OTHER_NAMES.iter().find(|(other, _)| *other == word).map_or(word, |(_, ours)| ours);
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

/// Whether `--format json` stands on a command line that could not be parsed.
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

/// Clap's refusal as a failure: its first paragraph is the message; a tip, or else the usage, is the hint.
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
        // Clap puts the likeliest last.
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
        assert_eq!(failure.hint.as_deref(), Some("did you mean `--listen`?"));
    }

    #[test]
    fn command_without_the_words_before_it_is_shown_in_full() {
        for (line, full) in [
            ("ggen download x", "ggen marketplace p2p fetch"),
            ("ggen marketplace fetch x", "ggen marketplace p2p fetch"),
            ("ggen p2p status", "ggen marketplace p2p"),
            ("ggen marketplace p2p download x", "ggen marketplace p2p fetch"),
        ] {
            let mut refusal = Args::try_parse_from(words(line)).unwrap_err();
            point_to_the_command(&mut refusal, Args::command());
            assert_eq!(failure(&refusal).hint, Some(format!("did you mean `{full}`?")), "{line}");
            assert!(refusal.render().to_string().contains(full), "{refusal}");
        }
        let mut refusal = Args::try_parse_from(words("ggen dance")).unwrap_err();
        point_to_the_command(&mut refusal, Args::command());
        assert_eq!(failure(&refusal).hint.as_deref(), Some("add `--help` to see the usage"));
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
            assert_eq!(failure(&refusal).hint, Some(format!("did you mean `{command}`?")), "{line}");
        }
    }

    #[test]
    fn missing_argument_is_named() {
        let refusal = Args::try_parse_from(words("ggen marketplace p2p fetch")).unwrap_err();
        assert!(failure(&refusal).message.contains("<TARGET>"), "{refusal}");
    }
}
