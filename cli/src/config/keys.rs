//! The keys of a [`Config`], derived from its serialised form.

use ggen_marketplace::{Config, ErrorKind, Failure};
use serde_json::{Map, Value};

use super::{Assignment, Origin, place};
use crate::error;

/// Keys whose values are multiaddresses, a notation that many users do not know.
const ADDRESS_KEYS: [&str; 2] = ["bootstrap_nodes", "listen_addresses"];
/// Keys whose values are lists of strings.
const LIST_KEYS: [&str; 3] = ["bootstrap_nodes", "listen_addresses", "dns_servers"];
/// Least similarity (0 to 1) between a misspelt key and a known one for a suggestion.
const SUGGESTION_SIMILARITY: f64 = 0.6;

/// Every key with its default.
pub(super) fn defaults() -> Result<Vec<Assignment>, Failure> {
    let mut entries = Vec::new();
    flatten("", &default_tree()?, &mut entries);
    Ok(entries)
}

/// What a key path refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Value,
    Table,
    Unknown,
}

/// Determines what `key` refers to among `known`.
pub(super) fn role(known: &[Assignment], key: &str) -> Role {
    let below = format!("{key}.");
    if known.iter().any(|entry| entry.key == key) {
        Role::Value
    } else if known.iter().any(|entry| entry.key.starts_with(&below)) {
        Role::Table
    } else {
        Role::Unknown
    }
}

/// The known key that resembles `key`, by its whole path or, if it is in the wrong table, by its name.
fn nearest(known: &[Assignment], key: &str) -> Option<String> {
    let name = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let likeness = |candidate: &str| {
        let paths = strsim::normalized_damerau_levenshtein(candidate, key);
        paths.max(strsim::normalized_damerau_levenshtein(&name(candidate), &name(key)))
    };
    let scored = known.iter().map(|entry| (likeness(&entry.key), &entry.key));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= SUGGESTION_SIMILARITY).then(|| best.1.clone())
}

/// Checks that the value is valid for its key. For a list, the error names the invalid entry.
pub(super) fn check(assignment: &Assignment) -> Result<(), Failure> {
    let Assignment { key, value, origin } = assignment;
    let refuse = |message: String, cause: serde_json::Error| {
        let failure = Failure::from_error(ErrorKind::Usage, &cause).while_doing(message);
        match hint(key) {
            Some(hint) => failure.hinted(hint),
            None => failure,
        }
    };
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            if ADDRESS_KEYS.contains(&key.as_str()) && item.as_str().is_some_and(|text| text.trim().is_empty()) {
                let failure = error::usage(format!("an entry of `{key}` is empty in {}", place(origin)));
                return Err(failure.hinted(hint(key).unwrap_or_default()));
            }
            let message = || match origin {
                // Addresses in a flag have no visible number.
                Origin::Flag(name) => format!("invalid {} `{}` in `{name}`", noun(key), shown(item)),
                origin => wrong_entry(key, index, &shown(item), &format!("in {}", place(origin))),
            };
            with(key, Value::Array(vec![item.clone()])).map_err(|cause| refuse(message(), cause))?;
        }
    }
    let message = || format!("the value of `{key}` is wrong in {}", place(origin));
    with(key, value.clone()).map_err(|cause| refuse(message(), cause))?;
    Ok(())
}

/// The failure for one entry of a list, counted from 0.
pub(super) fn wrong_entry(key: &str, index: usize, shown: &str, place: &str) -> String {
    format!("invalid {} `{shown}`: entry {} of `{key}` {place}", noun(key), index + 1)
}

/// The noun for an entry of a list.
fn noun(key: &str) -> &'static str {
    if ADDRESS_KEYS.contains(&key) { "address" } else { "value" }
}

/// A hint with an example, for values whose parser errors are hard to understand.
fn hint(key: &str) -> Option<String> {
    if key == "listen_addresses" {
        return Some(
            "an address to listen on looks like `/ip4/0.0.0.0/tcp/4001`, or `/ip4/127.0.0.1/tcp/4001` for this machine alone"
                .to_owned(),
        );
    }
    if ADDRESS_KEYS.contains(&key) {
        return Some("an address looks like `/ip4/127.0.0.1/tcp/4001` or `/dnsaddr/bootstrap.libp2p.io`".to_owned());
    }
    if let Some(range) = Config::range(key) {
        return Some(format!("`{key}` is a whole number {range}"));
    }
    match default_of(key)? {
        Value::Bool(_) => Some(format!("`{key}` is `true` or `false`")),
        Value::Array(_) if LIST_KEYS.contains(&key) => Some("a DNS server looks like `192.0.2.1:53`".to_owned()),
        _ => None,
    }
}

/// Returns whether the value of a key is a list of strings, as opposed to a list of tables.
pub(super) fn is_list_of_texts(key: &str) -> bool {
    LIST_KEYS.contains(&key)
}

fn default_of(key: &str) -> Option<Value> {
    defaults().ok()?.into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
}

/// The failure for an unknown key; `place` follows the key in the message.
pub(super) fn unknown(known: &[Assignment], key: &str, place: &str) -> Failure {
    let failure = error::usage(format!("unknown key `{key}`{place}"));
    match nearest(known, key) {
        Some(near) => failure.hinted(format!("did you mean `{near}`?")),
        None => failure.hinted("`ggen marketplace p2p config show` lists the keys"),
    }
}

/// Builds the configuration from all `entries`.
pub(super) fn assemble(entries: &[Assignment]) -> Result<Config, Failure> {
    let mut tree = default_tree()?;
    for entry in entries {
        *slot(&mut tree, &entry.key) = entry.value.clone();
    }
    serde_json::from_value(tree)
        .map_err(|cause| error::usage(format!("the configuration does not hold together: {cause}")))
}

/// Replaces sizes with a unit by their number of bytes, because scripts parse `config show`.
pub(super) fn spell_out_sizes(entries: &mut [Assignment], config: &Config) -> Result<(), Failure> {
    let mut tree = tree_of(config)?;
    for entry in entries {
        let value = slot(&mut tree, &entry.key);
        let is_size = entry.value.is_string() && value.is_u64();
        if is_size || entry.value.is_array() && entry.value != *value && holds_tables(&entry.value) {
            entry.value = value.clone();
        }
    }
    Ok(())
}

/// Returns whether the entries of a list are tables, which may contain sizes too.
fn holds_tables(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| entries.iter().any(Value::is_object))
}

/// The default configuration with one value replaced.
fn with(key: &str, value: Value) -> serde_json::Result<Config> {
    let mut tree = serde_json::to_value(Config::default())?;
    *slot(&mut tree, key) = value;
    serde_json::from_value(tree)
}

fn default_tree() -> Result<Value, Failure> {
    tree_of(&Config::default())
}

fn tree_of(config: &Config) -> Result<Value, Failure> {
    serde_json::to_value(config)
        .map_err(|cause| Failure::from_error(ErrorKind::Failed, &cause).while_doing("cannot lay out the configuration"))
}

/// The slot of a key in a tree of tables; created if it does not exist.
fn slot<'a>(tree: &'a mut Value, key: &str) -> &'a mut Value {
    key.split('.').fold(tree, |table, name| {
        if !table.is_object() {
            *table = Value::Object(Map::new());
        }
        &mut table[name]
    })
}

fn flatten(prefix: &str, value: &Value, entries: &mut Vec<Assignment>) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, value, entries);
            }
        }
        value => {
            entries.push(Assignment { key: prefix.to_owned(), value: value.clone(), origin: Origin::Default });
        }
    }
}

/// A string without its quotes, anything else as JSON.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
