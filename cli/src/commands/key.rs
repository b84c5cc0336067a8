//! `key list`: the keys of the home.

use clap::Subcommand;
use ggen_marketplace::{Failure, KeyReport, Mode};

use crate::{context::Context, control::Call};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the keys with their peer ids and publishers
    #[command(after_help = "Example:\n  ggen marketplace p2p key list")]
    List,
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
    }
}

fn render(keys: &[KeyReport]) -> String {
    let width = keys.iter().map(|key| key.name.chars().count()).max().unwrap_or(0);
    let line = |key: &KeyReport| {
        let publisher =
            key.publisher.as_deref().map_or_else(String::new, |publisher| format!("  publisher {publisher}"));
        format!("{:<width$}  {}{publisher}\n", key.name, key.peer_id)
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
        };
        let text = render(&[key("node", None), key("default", Some("bafy"))]);
        assert_eq!(text, "node     12D3\ndefault  12D3  publisher bafy\n");
    }
}
