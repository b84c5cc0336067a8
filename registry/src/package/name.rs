//! Package ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::package::NameError;

/// Longest namespace or name, in characters (all of them ASCII).
pub const MAX_NAME_CHARS: usize = 64;
/// First segments of IPFS paths. They are reserved, so that a package id cannot be mistaken for a path.
const RESERVED_NAMESPACES: [&str; 2] = ["ipfs", "ipns"];

/// `namespace/name`. Both parts: 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`, beginning with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId {
    text: String,
    slash: usize,
}

impl PackageId {
    /// Joins a namespace and a name that are constants of the program. For any other input use
    /// [`try_new`](Self::try_new) or `parse`.
    ///
    /// # Panics
    /// If one of them violates the grammar.
    #[track_caller]
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        match Self::try_new(namespace.as_ref(), name.as_ref()) {
            Ok(id) => id,
            Err(error) => panic!("{error}"),
        }
    }

    /// Joins a namespace and a name.
    ///
    /// # Errors
    /// [`NameError::Grammar`] with the part and the rule it breaks.
    pub fn try_new(namespace: &str, name: &str) -> Result<Self, NameError> {
        check_part("namespace", namespace)?;
        check_part("package name", name)?;
        if RESERVED_NAMESPACES.contains(&namespace) {
            let reason = "it is reserved for IPFS paths".to_owned();
            return Err(NameError::Grammar { what: "namespace", text: namespace.to_owned(), reason });
        }
        Ok(Self { text: format!("{namespace}/{name}"), slash: namespace.len() })
    }

    /// Checks a name alone, before its namespace is known.
    ///
    /// # Errors
    /// [`NameError::Grammar`].
    pub fn check_name(name: &str) -> Result<(), NameError> {
        check_part("package name", name)
    }

    /// Checks a namespace alone.
    ///
    /// # Errors
    /// [`NameError::Grammar`].
    pub fn check_namespace(namespace: &str) -> Result<(), NameError> {
        Self::try_new(namespace, "x").map(|_| ())
    }

    /// The part before the slash.
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn check_part(what: &'static str, text: &str) -> Result<(), NameError> {
    let refuse = |reason: String| {
        let shown = text.chars().take(MAX_NAME_CHARS + 1).collect();
        Err(NameError::Grammar { what, text: shown, reason })
    };
    if text.is_empty() {
        return refuse("it is empty".to_owned());
    }
    if text.len() > MAX_NAME_CHARS {
        return refuse(format!("it has more than {MAX_NAME_CHARS} characters"));
    }
    if let Some(wrong) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.')) {
        return refuse(format!("`{}` is not one of a-z, 0-9, `-`, `_`, `.`", wrong.escape_default()));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("it does not begin with a letter or a digit".to_owned());
    }
    Ok(())
}

impl FromStr for PackageId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((namespace, name)) if !name.contains('/') => Self::try_new(namespace, name),
            _ => Err(NameError::NotPackage { text: text.chars().take(2 * MAX_NAME_CHARS).collect() }),
        }
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for PackageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PackageId({})", self.text)
    }
}

impl Serialize for PackageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for PackageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_grammar_read_back() {
        for text in ["acme/http", "a/b", "0/9", "my_org/rust.web-app", &format!("{}/x", "n".repeat(64))] {
            let id: PackageId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(format!("{}/{}", id.namespace(), id.name()), text);
        }
    }

    #[test]
    fn ids_against_the_grammar_are_refused_with_the_reason() {
        for (text, reason) in [
            ("Acme/http", "`A` is not one of"),
            ("acme/", "it is empty"),
            ("/http", "it is empty"),
            ("acme/.http", "does not begin"),
            ("acme/../x", "namespace/name"),
            ("acme", "namespace/name"),
            ("ipfs/x", "reserved"),
            ("acme/h\u{e9}", "\\u{e9}"),
            (&format!("acme/{}", "n".repeat(65)), "more than 64"),
        ] {
            let error = text.parse::<PackageId>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
