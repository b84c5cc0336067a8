//! Package metadata.

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

/// Descriptive metadata of a package, for display and search. It is trusted for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// A description of one or a few sentences.
    pub description: String,
    /// A display name, if it differs from the package's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// An SPDX expression, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The one category of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Tags to filter by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Keywords for search.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// The authors, as given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// The location of the source repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The homepage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
}

impl Metadata {
    /// Checks the bounds of every field.
    ///
    /// # Errors
    /// The field and the limit it exceeds.
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

/// A dependency on another package of this registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// The package.
    pub package: PackageId,
    /// The accepted versions; see [`Requirement`].
    pub requirement: String,
    /// The publisher, if the author named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublisherId>,
}

impl Dependency {
    /// The requirement, parsed.
    ///
    /// # Errors
    /// [`NameError`](crate::package::NameError); never for a dependency of a verified release.
    pub fn parsed_requirement(&self) -> Result<Requirement, crate::package::NameError> {
        self.requirement.parse()
    }
}
