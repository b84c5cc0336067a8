//! `key list`: the keys of the home; `key recovery`: shows the recovery key, until it is confirmed as saved elsewhere.

use clap::Subcommand;
use ggen_marketplace::{Failure, KeyReport, Mode, RecoveryKeyReport, RecoveryKeyRequest};

use crate::{context::Context, control::Call};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys with their peer ids and publishers
    #[command(after_help = "Example:\n  ggen marketplace p2p key list")]
    List,
    /// Print the recovery key, or confirm that you saved it
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Example:\n  ggen marketplace p2p key recovery show"
    )]
    Recovery(Recovery),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recovery {
    /// Print the recovery key as a PEM file
    #[command(after_help = "Example:\n  ggen marketplace p2p key recovery show > /media/stick/recovery.pem")]
    Show(Named),
    /// Delete the recovery key here, once you have saved it elsewhere
    #[command(after_help = "Example:\n  ggen marketplace p2p key recovery confirm")]
    Confirm(Named),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Name of the publisher's key [default: `default`]
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

pub(crate) async fn run(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List => {
            let keys: Vec<KeyReport> = context.perform(Mode::Offline, Call::Keys).await?;
            if keys.is_empty() {
                context.ui.note("no keys yet; the first `ggen marketplace p2p publish` makes them");
            }
            context.ui.answer(&keys, |keys| render(keys))
        }
        Command::Recovery(Recovery::Show(named)) => recovery(context, named, false).await,
        Command::Recovery(Recovery::Confirm(named)) => recovery(context, named, true).await,
    }
}

async fn recovery(context: &Context, named: &Named, confirm: bool) -> Result<(), Failure> {
    let request = RecoveryKeyRequest { key: named.key.clone(), confirm };
    let report: RecoveryKeyReport = context.perform(Mode::Offline, Call::RecoveryKey(request)).await?;
    context.ui.answer(&report, |report| match &report.pem {
        Some(pem) => pem.clone(),
        None => {
            format!("removed {}: keep the recovery key of `{}` where you saved it\n", report.file.display(), report.key)
        }
    })
}

fn render(keys: &[KeyReport]) -> String {
    let width = keys.iter().map(|key| key.name.chars().count()).max().unwrap_or(0);
    let line = |key: &KeyReport| {
        let publisher =
            key.publisher.as_deref().map_or_else(String::new, |publisher| format!("  publisher {publisher}"));
        let problem = key.problem.as_deref().map_or_else(String::new, |problem| format!("  cannot be used: {problem}"));
        format!("{:<width$}  {}{publisher}{problem}\n", key.name, key.peer_id)
    };
    keys.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_aligned_and_publishers_shown_where_there_is_one() {
        let key = |name: &str, publisher: Option<&str>| KeyReport {
            name: name.to_owned(),
            peer_id: "12D3".to_owned(),
            publisher: publisher.map(str::to_owned),
            problem: None,
        };
        let text = render(&[key("node", None), key("default", Some("bafy"))]);
        assert_eq!(text, "node     12D3\ndefault  12D3  publisher bafy\n");
        let damaged = KeyReport { problem: Some("the file is damaged".to_owned()), ..key("node", None) };
        assert_eq!(render(&[damaged]), "node  12D3  cannot be used: the file is damaged\n");
    }
}
