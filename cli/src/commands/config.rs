//! `config`: shows every value and its origin, and changes values of the file.

use clap::Subcommand;
use ggen_marketplace::Failure;
use serde_json::{Map, Value, json};

use crate::{
    config::{self, Assignment, Origin, Resolved},
    context::Context,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print each value and where it came from
    #[command(after_help = "Example:\n  ggen marketplace p2p config show --format json")]
    Show,
    /// Set a value in the configuration file
    #[command(
        after_help = "Example:\n  ggen marketplace p2p config set namespace acme\n  ggen marketplace p2p config set \
                      limits.connections 512\n  ggen marketplace p2p config set bootstrap_nodes \
                      /dnsaddr/bootstrap.libp2p.io"
    )]
    Set {
        /// Key, as `config show` prints it
        key: String,
        /// Value, as in TOML; a string needs no quotes, and a list no brackets: `a,b`
        value: String,
    },
    /// Remove a value from the configuration file, so that the default holds
    #[command(after_help = "Example:\n  ggen marketplace p2p config unset namespace")]
    Unset {
        /// Key, as `config show` prints it
        key: String,
    },
}

pub(crate) fn run(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show => {
            let file = context.config_file()?;
            let resolved = context.configuration(Vec::new())?;
            let absent = if file.path.exists() { "" } else { " (does not exist)" };
            context.ui.note(&format!("configuration file: {}{absent}", file.path.display()));
            context.ui.answer(&document(&resolved), |_| render(&resolved))
        }
        Command::Set { key, value } => change(context, key, Some(value)),
        Command::Unset { key } => change(context, key, None),
    }
}

/// Changes one value of the file, and answers with the resulting value as one entry of `config show`.
fn change(context: &Context, key: &str, value: Option<&str>) -> Result<(), Failure> {
    if context.global.config.is_none() {
        context.home.create_writable()?;
    }
    config::set(&context.config_file()?, key, value)?;
    let resolved = context.configuration(Vec::new())?;
    let below = format!("{key}.");
    let is_meant = |entry: &Assignment| entry.key == key || entry.key.starts_with(&below);
    let holds: Vec<_> = resolved.entries.into_iter().filter(is_meant).collect();
    if let Some(Assignment { origin: origin @ Origin::Environment(_), .. }) = holds.first() {
        context.ui.note(&format!("the environment variable {origin} overrides the file"));
    }
    if context.is_served() {
        context.ui.note("the running node keeps its configuration until it is started again");
    }
    let resolved = Resolved { config: resolved.config, entries: holds };
    context.ui.answer(&document(&resolved), |_| render(&resolved))
}

/// `{"<key path>": {"value": ..., "origin": "<layer>", "source": "<line, variable or flag>"}}`.
fn document(resolved: &Resolved) -> Map<String, Value> {
    let entry = |Assignment { key, value, origin }: &Assignment| {
        (key.clone(), json!({ "value": value, "origin": origin.layer(), "source": origin.to_string() }))
    };
    resolved.entries.iter().map(entry).collect()
}

fn render(resolved: &Resolved) -> String {
    let line = |Assignment { key, value, origin }: &Assignment| match value {
        Value::Null => format!("# {key} is not set\n"),
        value => format!("{key} = {value}  # {origin}\n"),
    };
    resolved.entries.iter().map(line).collect()
}
