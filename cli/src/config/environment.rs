//! The environment variables of a node.

use std::ffi::OsString;

use ggen_marketplace::Failure;
use serde_json::Value;

use super::{Assignment, Origin};
use crate::error;

/// Converts the text of a variable to a value.
type Reading = fn(&str) -> Option<Value>;

/// Variable, key, conversion, and the expected form.
const VARIABLES: [(&str, &str, Reading, &str); 3] = [
    ("GGEN_P2P_BOOTSTRAP", "bootstrap_nodes", list, "addresses separated by commas"),
    ("GGEN_P2P_LISTEN", "listen_addresses", list, "addresses separated by commas"),
    ("GGEN_P2P_DHT_SERVER", "dht_server_mode", truth, "`true` or `false`"),
];

/// Reads the variables that are set. An empty variable counts as not set.
pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<Assignment>, Failure> {
    let mut assignments = Vec::new();
    for (name, key, reading, wanted) in VARIABLES {
        let Some(text) = variable(name).filter(|text| !text.is_empty()) else { continue };
        let value = text.to_str().and_then(reading).ok_or_else(|| {
            let text = text.to_string_lossy();
            error::usage(format!("the environment variable `{name}` is `{text}`, not {wanted}"))
        })?;
        assignments.push(Assignment { key: key.to_owned(), value, origin: Origin::Environment(name) });
    }
    Ok(assignments)
}

fn list(text: &str) -> Option<Value> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Some(entries.map(Value::from).collect())
}

fn truth(text: &str) -> Option<Value> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(Value::Bool(true)),
        "false" | "0" | "no" | "off" => Some(Value::Bool(false)),
        _ => None,
    }
}
