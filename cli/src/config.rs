//! The configuration of a node from its layers: default < file < environment < flag, with the origin of each value.
//!
//! The keys and their types are derived from [`Config`]: the keys are those of its serialised default, and a value is
//! valid if a `Config` with this value deserialises. A key added to the library is therefore supported here, in the
//! file and in `config show`, without a change.

mod edit;
mod environment;
mod file;
mod keys;

use std::{ffi::OsString, fmt, path::PathBuf};

use ggen_marketplace::{Config, ErrorKind, Failure};
use serde_json::Value;

pub(crate) use edit::set;

/// The configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// Whether a missing file is an error.
    pub(crate) required: bool,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    /// A line (counted from 1) of the configuration file.
    File {
        path: PathBuf,
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl Origin {
    /// The name of the layer in JSON output.
    pub(crate) fn layer(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value for a key, with its origin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    /// Key path as in the file: `limits.connections`.
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Assignment {
    /// A flag's value.
    pub(crate) fn flag(name: &'static str, key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.to_owned(), value: value.into(), origin: Origin::Flag(name) }
    }
}

/// The effective configuration, with the origin of its values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) config: Config,
    /// Every key with its value and origin, ordered by key path.
    pub(crate) entries: Vec<Assignment>,
}

/// Reads the layers and merges them.
///
/// # Errors
/// The first invalid value, with its origin (exit 2).
pub(crate) fn resolve(
    file: &ConfigFile,
    variable: impl Fn(&str) -> Option<OsString>,
    flags: Vec<Assignment>,
) -> Result<Resolved, Failure> {
    assemble([file::read(file)?, environment::read(variable)?, flags].into_iter().flatten())
}

/// Checks that the values, merged over the defaults, form a valid configuration.
fn valid(values: Vec<Assignment>) -> Result<(), Failure> {
    assemble(values.into_iter()).map(drop)
}

/// Merges values over the defaults; later values override earlier ones.
fn assemble(values: impl Iterator<Item = Assignment>) -> Result<Resolved, Failure> {
    let mut entries = keys::defaults()?;
    for assignment in values {
        keys::check(&assignment)?;
        match entries.iter_mut().find(|entry| entry.key == assignment.key) {
            Some(entry) => *entry = assignment,
            None => return Err(keys::unknown(&entries, &assignment.key, "")),
        }
    }
    let config = keys::assemble(&entries)?;
    keys::spell_out_sizes(&mut entries, &config)?;
    if let Err(cause) = config.validate() {
        return Err(senseless(&entries, cause.key, &cause));
    }
    Ok(Resolved { config, entries })
}

/// The failure for a value of the right type that is invalid. Its origin is that of the key, or of a key below it that
/// was set.
fn senseless(entries: &[Assignment], key: &str, cause: &dyn std::error::Error) -> Failure {
    let below = format!("{key}.");
    let concerned = |entry: &&Assignment| entry.key == key || entry.key.starts_with(&below);
    let set = entries.iter().filter(concerned).find(|entry| entry.origin != Origin::Default);
    let failure = Failure::from_error(ErrorKind::Usage, cause);
    match set {
        Some(entry) => failure.while_doing(format!("the configuration is wrong in {}", place(&entry.origin))),
        None => failure.while_doing("the configuration is wrong"),
    }
}

/// The origin as a phrase for messages.
fn place(origin: &Origin) -> String {
    match origin {
        Origin::Default => "the defaults".to_owned(),
        Origin::File { path, line } => format!("`{}`, line {line}", path.display()),
        Origin::Environment(name) => format!("the environment variable `{name}`"),
        Origin::Flag(name) => format!("the flag `{name}`"),
    }
}

#[cfg(test)]
mod tests;
