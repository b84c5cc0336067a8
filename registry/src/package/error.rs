//! Errors of names and gpack.toml files.

use crate::{Hint, Operation, error::hint};

/// Why a name or a target could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A namespace or name that violates the grammar.
    #[error("invalid {what} `{text}`: {reason}")]
    Grammar {
        /// `namespace` or `package name`.
        what: &'static str,
        /// What was given.
        text: String,
        /// The rule it breaks.
        reason: String,
    },
    /// Not of the form `namespace/name`.
    #[error("`{text}` is not a package id: it has the form `namespace/name`")]
    NotPackage {
        /// What was given.
        text: String,
    },
    /// Not a version requirement.
    #[error("`{text}` is not a version requirement: {reason}")]
    Requirement {
        /// What was given.
        text: String,
        /// The parser's message.
        reason: String,
    },
    /// A CID with a hash function that this program cannot verify.
    #[error("the blocks of `{text}` cannot be verified: {reason}")]
    Unverifiable {
        /// What was parsed.
        text: String,
        /// The hash function, and why it is unsupported.
        reason: String,
    },
    /// An incomplete CID, or one with an invalid character.
    #[error("`{text}` is not a {} CID", if *is_short { "complete" } else { "valid" })]
    BrokenCid {
        /// What was given.
        text: String,
        /// Whether it has fewer characters than CIDs with the same prefix.
        is_short: bool,
    },
    /// Neither a CID, a path nor a package.
    #[error("`{text}` is neither a CID, an /ipfs or /ipns path, nor a package: {reason}")]
    Target {
        /// What was given.
        text: String,
        /// The forms that were tried, and the form of a package id.
        reason: String,
    },
}

/// Why a gpack.toml was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpackError {
    /// Not TOML.
    #[error("{file}:{line}: not valid TOML: {reason}")]
    Syntax {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// The parser's message.
        reason: String,
    },
    /// Larger than [`MAX_GPACK_BYTES`](crate::package::MAX_GPACK_BYTES).
    #[error("{file}: {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Neither `[package]` nor `[gpack]`.
    #[error("{file}: it has neither a `[package]` nor a `[gpack]` table")]
    NoTable {
        /// The file.
        file: String,
        /// A table whose name resembles one of the two, and the name that it resembles.
        nearest: Option<(String, &'static str)>,
    },
    /// Required fields that are missing.
    #[error("{file}:{line}: table `[{table}]` lacks {}", quoted(fields))]
    Missing {
        /// The file.
        file: String,
        /// Line of the table, from 1.
        line: usize,
        /// `package` or `gpack`.
        table: &'static str,
        /// All that are missing.
        fields: Vec<&'static str>,
    },
    /// An invalid field.
    #[error("{file}:{line}: `{field}` {reason}")]
    Field {
        /// The file.
        file: String,
        /// Line of the value, from 1.
        line: usize,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// The text to write instead, if it is known.
        hint: Option<Hint>,
    },
}

/// The shortest valid gpack.toml, for hints.
const SHORTEST: &str =
    "it begins like this: `[package]`, `name = \"http\"`, `version = \"1.0.0\"`, `description = \"...\"`";

impl GpackError {
    /// Advice on how to fix the error.
    pub fn hint(&self) -> Hint {
        match self {
            Self::NoTable { nearest: Some((found, meant)), .. } => {
                format!("did you mean `[{meant}]` instead of `[{found}]`?").into()
            }
            Self::NoTable { .. } | Self::Missing { .. } => SHORTEST.into(),
            Self::Field { hint: Some(hint), .. } => hint.clone(),
            Self::Syntax { .. } | Self::TooLarge { .. } | Self::Field { .. } => {
                hint![Operation::GpackGuide, " describes every key, with an example"]
            }
        }
    }
}

fn quoted(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")
}
