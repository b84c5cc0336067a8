//! Mirror rules of an operator.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    identity::PublisherId,
    package::{NameError, PackageId},
};

/// Most rules of a node, including those of its configuration.
pub const MAX_RULES: usize = 1024;

/// The packages that a mirror keeps, and their limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorRule {
    /// The packages that the rule applies to.
    pub what: MirrorScope,
    /// At most this many of the newest versions of each package that are not yanked. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<u32>,
    /// At most this many bytes of packages, the newest first; a size with a unit is accepted too. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::size::deserialize_optional")]
    pub max_bytes: Option<u64>,
}

/// The scope of a mirror rule: `ns/name`, `ns/*`, a publisher, or `all`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MirrorScope {
    /// One package, of the only publisher that claims its name.
    Package(PackageId),
    /// One package of this publisher, whatever others claim.
    PackageOf(PublisherId, PackageId),
    /// All packages of a namespace.
    Namespace(String),
    /// All packages of a publisher.
    Publisher(PublisherId),
    /// All packages.
    All,
}

impl MirrorScope {
    /// Returns whether the scope contains a package.
    pub fn covers(&self, publisher: &PublisherId, package: &PackageId) -> bool {
        match self {
            Self::Package(chosen) => chosen == package,
            Self::PackageOf(theirs, chosen) => theirs == publisher && chosen == package,
            Self::Namespace(namespace) => package.namespace() == namespace,
            Self::Publisher(chosen) => chosen == publisher,
            Self::All => true,
        }
    }
}

impl FromStr for MirrorScope {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(namespace) = text.strip_suffix("/*") {
            PackageId::check_namespace(namespace)?;
            return Ok(Self::Namespace(namespace.to_owned()));
        }
        if let Ok(publisher) = text.parse() {
            return Ok(Self::Publisher(publisher));
        }
        let qualified = text.split_once('/').and_then(|(publisher, package)| Some((publisher.parse().ok()?, package)));
        match qualified {
            Some((publisher, package)) => Ok(Self::PackageOf(publisher, package.parse()?)),
            None => text.parse().map(Self::Package),
        }
    }
}

impl fmt::Display for MirrorScope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(package) => package.fmt(formatter),
            Self::PackageOf(publisher, package) => write!(formatter, "{publisher}/{package}"),
            Self::Namespace(namespace) => write!(formatter, "{namespace}/*"),
            Self::Publisher(publisher) => publisher.fmt(formatter),
            Self::All => formatter.write_str("all"),
        }
    }
}

impl Serialize for MirrorScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MirrorScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wanted = "a mirror rule is about `ns/name`, `<publisher>/ns/name`, `ns/*`, a publisher, or `all`";
        text.parse().map_err(|error| D::Error::custom(format!("{error}; {wanted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_and_covers_what_it_says() {
        let publisher = "bafyreiebvuvzmlu2u5u5nzfoqpn2rljyyhb2jhwl4qpzzpzjhlihcmb4ty";
        let id: PublisherId = publisher.parse().unwrap();
        let other: PublisherId = "bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi".parse().unwrap();
        let package: PackageId = "acme/http".parse().unwrap();
        let qualified = format!("{publisher}/acme/http");
        let cases = [
            (qualified.as_str(), &id, "acme/http", true),
            (qualified.as_str(), &id, "acme/https", false),
            (qualified.as_str(), &other, "acme/http", false),
            ("acme/http", &other, "acme/http", true),
            ("acme/http", &other, "acme/https", false),
            ("acme/*", &other, "acme/x", true),
            ("acme/*", &other, "acmes/x", false),
            (publisher, &id, "any/thing", true),
            (publisher, &other, "any/thing", false),
            ("all", &other, "any/thing", true),
        ];
        for (text, publisher, package, expected) in cases {
            let scope: MirrorScope = text.parse().unwrap();
            assert_eq!(scope.to_string(), text);
            assert_eq!(scope.covers(publisher, &package.parse().unwrap()), expected, "{text} {package}");
        }
        assert!(MirrorScope::Package(package.clone()).covers(&id, &package));
        for wrong in ["", "acme", "*", "/*", "Acme/*", "*/http", "a/b/c", "ipfs/*"] {
            assert!(wrong.parse::<MirrorScope>().is_err(), "{wrong}");
        }
    }
}
