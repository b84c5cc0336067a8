//! `config show`: every value, and where it came from.

use clap::Subcommand;
use ggen_marketplace::Failure;
use serde_json::{Map, Value, json};

use crate::{
    config::{Assignment, Resolved},
    context::Context,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print each value and where it came from
    #[command(after_help = "Example:\n  ggen marketplace p2p config show --format json")]
    Show,
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
    }
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
