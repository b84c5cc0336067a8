//! What a package says of itself.

use serde::{Deserialize, Serialize};

use crate::{
    identity::PublisherId,
    package::{PackageId, Requirement},
};

/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 4096;
/// Longest other text, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// Most tags, keywords or authors.
const MAX_LIST_ITEMS: usize = 64;
/// Most dependencies.
pub const MAX_DEPENDENCIES: usize = 256;

/// What a package says of itself, for people and for search. Nothing of it is trusted for anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// One sentence or a few.
    pub description: String,
    /// A name for people, where it differs from the package's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// An SPDX expression, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The one category it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Words to filter by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Words to be found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Who wrote it, as given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Where its source lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Its page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
}

impl Metadata {
    /// Checks the bounds of every field.
    ///
    /// # Errors
    /// The field and the bound it passes.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        let check = |field: &'static str, text: &str, limit: usize| match text.len() > limit {
            true => Err((field, format!("has {} bytes, the limit is {limit}", text.len()))),
            false => Ok(()),
        };
        check("description", &self.description, MAX_DESCRIPTION_BYTES)?;
        for (field, text) in [
            ("title", &self.title),
            ("license", &self.license),
            ("category", &self.category),
            ("repository", &self.repository),
            ("homepage", &self.homepage),
        ] {
            check(field, text.as_deref().unwrap_or_default(), MAX_TEXT_BYTES)?;
        }
        for (field, list) in [("tags", &self.tags), ("keywords", &self.keywords), ("authors", &self.authors)] {
            if list.len() > MAX_LIST_ITEMS {
                return Err((field, format!("has {} items, the limit is {MAX_LIST_ITEMS}", list.len())));
            }
            list.iter().try_for_each(|item| check(field, item, MAX_TEXT_BYTES))?;
        }
        Ok(())
    }
}

/// Another package of this registry that a package needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// Which.
    pub package: PackageId,
    /// Which versions will do; see [`Requirement`].
    pub requirement: String,
    /// Whose, where the author said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherId>,
}

impl Dependency {
    /// The requirement, parsed.
    ///
    /// # Errors
    /// [`NameError`](crate::package::NameError), which a dependency of a checked release never gives.
    pub fn parsed_requirement(&self) -> Result<Requirement, crate::package::NameError> {
        self.requirement.parse()
    }
}
