//! The report of `doctor`.

use serde::{Deserialize, Serialize};

use crate::{ErrorKind, Hint};

/// The findings, stage by stage. A stage that cannot be checked because an earlier one failed is omitted, so every
/// failed stage is a separate fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// In this order: `store`, `listen`, `reachability`, `bootstrap`, `dht`; for a target `name`, `record`,
    /// `providers`, `dial`, `blocks`, `verify`.
    pub stages: Vec<Stage>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Whether it passed; `None` (JSON `null`) if unknown.
    pub ok: Option<bool>,
    /// What was found.
    pub detail: String,
    /// What the user can do about it.
    pub hint: Option<Hint>,
    /// The kind of failure, if the stage failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
}

impl Stage {
    /// A stage that passed.
    pub fn fine(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: Some(true), detail: detail.into(), hint: None, kind: None }
    }

    /// A stage that failed.
    pub fn failed(name: &str, kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: Some(false), detail: detail.into(), hint: None, kind: Some(kind) }
    }

    /// A stage whose outcome is unknown.
    pub fn unknown(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: None, detail: detail.into(), hint: None, kind: None }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Diagnosis {
    /// The first stage that failed.
    pub fn fault(&self) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.ok == Some(false))
    }
}
