//! What `doctor` answers.

use serde::{Deserialize, Serialize};

use crate::ErrorKind;

/// The findings, stage by stage. A stage that cannot be judged because an earlier one failed is left out, so each stage
/// that failed is a fault of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// In this order: `store`, `listen`, `reachability`, `bootstrap`, `dht`; for a target `name`, `record`, `providers`,
    /// `dial`, `blocks`, `verify`.
    pub stages: Vec<Stage>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Whether it is as it should be; `None` (JSON `null`) if that is not known.
    pub ok: Option<bool>,
    /// What was found.
    pub detail: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// What sort of failure it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
}

impl Stage {
    /// A stage that is as it should be.
    pub fn fine(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: Some(true), detail: detail.into(), hint: None, kind: None }
    }

    /// A stage that failed.
    pub fn failed(name: &str, kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: Some(false), detail: detail.into(), hint: None, kind: Some(kind) }
    }

    /// A stage that could not be judged.
    pub fn unknown(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: None, detail: detail.into(), hint: None, kind: None }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
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
