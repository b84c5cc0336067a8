//! What can be wrong with names and gpack.toml files.

/// Why a name or a target could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A namespace or name against the grammar.
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
        /// The parser's words.
        reason: String,
    },
    /// A CID under a hash with which no block can be verified here.
    #[error("the blocks of `{text}` cannot be verified: {reason}")]
    Unverifiable {
        /// What was parsed.
        text: String,
        /// Which hash, and what is wrong with it.
        reason: String,
    },
    /// A part of a CID, or one with a wrong character.
    #[error("`{text}` is not a {} CID", if *is_short { "complete" } else { "valid" })]
    BrokenCid {
        /// What was given.
        text: String,
        /// It has fewer characters than the CIDs that begin like it.
        is_short: bool,
    },
    /// Neither a CID, a path nor a package.
    #[error("`{text}` is neither a CID, an /ipfs or /ipns path, nor a package: {reason}")]
    Target {
        /// What was given.
        text: String,
        /// What was tried, and the form a package has.
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
        /// The parser's words.
        reason: String,
    },
    /// Over [`MAX_GPACK_BYTES`](crate::package::MAX_GPACK_BYTES).
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
        /// A table of it whose name resembles one of them, and the one that it resembles.
        nearest: Option<(String, &'static str)>,
    },
    /// Required fields that are not there.
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
    /// A field that is there and wrong.
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
        /// What to write instead, where that can be said.
        hint: Option<String>,
    },
}

/// What a gpack.toml is, at the least.
const SHORTEST: &str =
    "it begins like this: `[package]`, `name = \"http\"`, `version = \"1.0.0\"`, `description = \"...\"`";

impl GpackError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoTable { nearest: Some((found, meant)), .. } => {
                format!("did you mean `[{meant}]` instead of `[{found}]`?")
            }
            Self::NoTable { .. } | Self::Missing { .. } => SHORTEST.to_owned(),
            Self::Field { hint: Some(hint), .. } => hint.clone(),
            Self::Syntax { .. } | Self::TooLarge { .. } | Self::Field { .. } => {
                "`ggen help gpack` describes every key, with an example".to_owned()
            }
        }
    }
}

fn quoted(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ")
}
