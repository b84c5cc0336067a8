//! Failures of operations: a kind to branch on, a message, a hint.

mod hint;

use serde::{Deserialize, Serialize};

pub(crate) use hint::hint;
pub use hint::{Action, Hint, Operation, Setting};

/// The kind of a failure. The command line derives its exit code from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operation failed (exit 1).
    Failed,
    /// The request or the configuration is wrong (exit 2).
    Usage,
    /// A hash, a signature, a record or a name is invalid (exit 3).
    Verification,
    /// It does not exist (exit 4).
    NotFound,
    /// It took too long, or no provider was found (exit 5).
    TimedOut,
    /// Another process uses the home (exit 1).
    InUse,
    /// The user interrupted it (exit 130).
    Interrupted,
}

/// A failed operation, in the form that the daemon's socket carries and that is displayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// What was attempted, and the cause; lower case, without a final period.
    pub message: String,
    /// The chain of causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
}

impl Failure {
    /// A failure without causes or hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A failure whose message and causes are those of `error`.
    pub fn from_error(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { kind, message: error.to_string(), causes, hint: None }
    }

    /// Prepends what was attempted; the former message becomes the first cause.
    #[must_use]
    pub fn while_doing(mut self, attempted: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.message, attempted.into());
        self.causes.insert(0, cause);
        self
    }

    /// The message and its causes on one line.
    pub fn in_one_line(&self) -> String {
        std::iter::once(&self.message).chain(&self.causes).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// Adds a hint.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
