//! `mirror`: manages the packages of other publishers that this node keeps available.

use clap::Subcommand;
use ggen_marketplace::{
    Failure, MirrorReport, MirrorRequest, MirrorRule, MirrorScope, Mode, RULE_VERSIONS, parse_size,
};

use crate::{context::Context, control::Call, ui::text};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow packages: fetch, keep and provide their releases as they appear
    #[command(
        after_help = "Example:\n  ggen marketplace p2p mirror add acme/http\n  ggen marketplace p2p mirror add 'acme/*' \
                      --versions 3 --max-bytes 10GB"
    )]
    Add(Add),
    /// Remove a rule; what no other rule keeps may then be deleted by `gc`
    #[command(after_help = "Example:\n  ggen marketplace p2p mirror rm 'acme/*'")]
    Rm {
        /// What the rule is about: ns/name, <publisher>/ns/name, ns/*, a publisher, or all
        #[arg(value_parser = scope)]
        what: MirrorScope,
    },
    /// List the rules, with what each holds and leaves out
    #[command(after_help = "Example:\n  ggen marketplace p2p mirror ls")]
    Ls,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// ns/name, <publisher>/ns/name, ns/* (quoted, or the shell may take it), a publisher, or all
    #[arg(value_parser = scope)]
    what: MirrorScope,
    /// Keep the N newest versions of each package, instead of all
    #[arg(long, value_name = "N", value_parser = versions)]
    versions: Option<u32>,
    /// Keep at most SIZE of packages, the newest first; with a unit, such as 10GB or 512MiB
    #[arg(long, value_name = "SIZE", value_parser = budget)]
    max_bytes: Option<u64>,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), Failure> {
    let rule = |what: &MirrorScope| MirrorRule { what: what.clone(), versions: None, max_bytes: None };
    let call = match command {
        Command::Add(Add { what, versions, max_bytes }) => {
            let rule = MirrorRule { versions: *versions, max_bytes: *max_bytes, ..rule(what) };
            Call::MirrorAdd(MirrorRequest { rule })
        }
        Command::Rm { what } => Call::MirrorRm(MirrorRequest { rule: rule(what) }),
        Command::Ls => Call::MirrorLs,
    };
    let (rules, served): (Vec<MirrorReport>, bool) = context.perform_where(Mode::Offline, call).await?;
    if rules.is_empty() {
        context.ui.note("no mirror rules; `ggen marketplace p2p mirror add ns/name` makes one");
    } else if !served && matches!(command, Command::Add(_)) {
        context
            .ui
            .note("hint: no node is running, so nothing is fetched yet: run `ggen marketplace p2p start --daemon`");
    }
    // For one added or removed rule, the answer is that rule alone.
    match (command, rules.as_slice()) {
        (Command::Add(_), [rule]) => context.ui.answer(rule, |rule| render(std::slice::from_ref(rule))),
        (Command::Rm { .. }, [rule]) => context.ui.answer(rule, removed),
        _ => context.ui.answer(&rules, |rules| render(rules)),
    }
}

/// Parses a number of versions for a rule.
fn versions(text: &str) -> Result<u32, String> {
    let number: u64 = text.parse().map_err(|_| "it is not a whole number".to_owned())?;
    let number = RULE_VERSIONS.check(number).ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("it is not {RULE_VERSIONS}"))
}

/// Parses a byte limit above 0 that the mirror's database can store.
fn budget(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(bytes) if (1..=i64::MAX as u64).contains(&bytes) => Ok(bytes),
        Ok(_) => Err(format!("a budget is from 1 to {} bytes", i64::MAX)),
        Err(error) => Err(error.to_string()),
    }
}

fn scope(text: &str) -> Result<MirrorScope, String> {
    text.parse()
        .map_err(|error| format!("{error}; a rule is about ns/name, <publisher>/ns/name, ns/*, a publisher, or all"))
}

/// Reports what a removed rule had kept.
fn removed(rule: &MirrorReport) -> String {
    let kept = match rule.releases_held {
        0 => "it held nothing".to_owned(),
        releases => format!(
            "it held {} of {}, {}, which `ggen marketplace p2p gc` deletes unless something else keeps them",
            text::count(releases, "release"),
            text::count(rule.packages_held, "package"),
            text::bytes(rule.bytes_held)
        ),
    };
    format!("removed rule {}; {kept}\n", rule.rule)
}

fn render(rules: &[MirrorReport]) -> String {
    let line = |rule: &MirrorReport| {
        let versions =
            rule.versions.map_or_else(|| "all versions".to_owned(), |versions| text::count(versions.into(), "version"));
        let budget = rule.max_bytes.map_or_else(String::new, |most| format!(" within {}", text::bytes(most)));
        let held = match rule.releases_held {
            0 if !rule.contested_by.is_empty() => contested(rule),
            0 => "nothing held yet".to_owned(),
            releases => format!(
                "{} of {} held, {}",
                text::count(releases, "release"),
                text::count(rule.packages_held, "package"),
                text::bytes(rule.bytes_held)
            ),
        };
        let left_out = match rule.releases_over_budget {
            0 => String::new(),
            releases => format!("; {} left out: too large for the rule", text::count(releases, "release")),
        };
        let origin = if rule.origin == "config" { " (from the configuration)" } else { "" };
        format!("following {}, {versions}{budget}{origin}; {held}{left_out}\n", rule.rule)
    };
    rules.iter().map(line).collect()
}

/// Why nothing is held of a name that several publishers claim, and what chooses one.
fn contested(rule: &MirrorReport) -> String {
    format!(
        "nothing held: {} claim it; name the one you mean with `ggen marketplace p2p mirror add PUBLISHER`: {}",
        text::count(rule.contested_by.len() as u64, "publisher"),
        rule.contested_by.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_what_it_allows_and_what_it_holds() {
        let report = MirrorReport {
            rule: "acme/*".to_owned(),
            versions: Some(3),
            max_bytes: Some(1_000_000),
            origin: "command".to_owned(),
            packages_held: 1,
            releases_held: 2,
            bytes_held: 1500,
            releases_over_budget: 1,
            contested_by: Vec::new(),
        };
        let expected = "following acme/*, 3 versions within 1.00 MB; 2 releases of 1 package held, 1.50 kB; 1 release left \
                        out: too large for the rule\n";
        assert_eq!(render(std::slice::from_ref(&report)), expected);
        let new = MirrorReport {
            versions: None,
            max_bytes: None,
            origin: "config".to_owned(),
            releases_held: 0,
            releases_over_budget: 0,
            ..report.clone()
        };
        assert_eq!(render(&[new]), "following acme/*, all versions (from the configuration); nothing held yet\n");
        let contested = MirrorReport { releases_held: 0, contested_by: vec!["a/x/y".into(), "b/x/y".into()], ..report };
        assert!(render(&[contested]).contains("; nothing held: 2 publishers claim it; "));
    }

    #[test]
    fn a_removed_rule_says_what_it_had_kept() {
        let report = MirrorReport {
            rule: "acme/*".to_owned(),
            versions: None,
            max_bytes: None,
            origin: "command".to_owned(),
            packages_held: 1,
            releases_held: 2,
            bytes_held: 1500,
            releases_over_budget: 0,
            contested_by: Vec::new(),
        };
        assert!(removed(&report).starts_with("removed rule acme/*; it held 2 releases of 1 package, 1.50 kB, which "));
        let empty = MirrorReport { packages_held: 0, releases_held: 0, bytes_held: 0, ..report };
        assert_eq!(removed(&empty), "removed rule acme/*; it held nothing\n");
    }

    #[test]
    fn a_budget_is_a_size_above_nothing() {
        assert_eq!(budget("10GB"), Ok(10_000_000_000));
        assert_eq!(budget("10000000000"), Ok(10_000_000_000));
        assert!(budget("0").unwrap_err().contains("from 1"));
        assert!(budget("10 apples").unwrap_err().contains("GiB"));
    }

    #[test]
    fn a_scope_that_is_none_is_refused_with_the_forms_there_are() {
        assert!(scope("acme").unwrap_err().contains("ns/*"));
    }
}
