//! Version requirements.

use std::{fmt, str::FromStr};

use semver::{Version, VersionReq};

use crate::package::NameError;

/// Longest requirement text, in bytes.
const MAX_REQUIREMENT_BYTES: usize = 256;

/// Which versions will do. Cargo's rules: a bare `1.2.3` means `^1.2.3`, `=1.2.3` that version alone; pre-releases
/// match only a requirement that names one of the same major.minor.patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Requirement {
    /// `latest`, or none given: the newest release; a pre-release only where there is nothing else.
    #[default]
    Latest,
    /// A semver requirement.
    Matching(VersionReq),
}

impl Requirement {
    /// Exactly this version.
    pub fn exact(version: &Version) -> Self {
        Self::Matching(VersionReq {
            comparators: vec![semver::Comparator {
                op: semver::Op::Exact,
                major: version.major,
                minor: Some(version.minor),
                patch: Some(version.patch),
                pre: version.pre.clone(),
            }],
        })
    }

    /// Says whether `version` will do.
    pub fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Latest => true,
            Self::Matching(requirement) => requirement.matches(version),
        }
    }

    /// Says whether one single version is asked for, by all three numbers and `=`.
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Matching(requirement) if matches!(&requirement.comparators[..],
            [only] if only.op == semver::Op::Exact && only.patch.is_some()))
    }

    /// Picks the newest of `candidates` that will do.
    pub fn newest<'a, T>(
        &self,
        candidates: impl IntoIterator<Item = T>,
        version: impl Fn(&T) -> &'a Version,
    ) -> Option<T> {
        let matching = candidates.into_iter().filter(|candidate| self.matches(version(candidate)));
        matching.max_by(|a, b| {
            let (a, b) = (version(a), version(b));
            match self {
                Self::Latest => (a.pre.is_empty(), a).cmp(&(b.pre.is_empty(), b)),
                Self::Matching(_) => a.cmp(b),
            }
        })
    }
}

impl FromStr for Requirement {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let invalid = |reason: String| NameError::Requirement {
            text: text.chars().take(MAX_REQUIREMENT_BYTES).collect(),
            reason,
        };
        if text.len() > MAX_REQUIREMENT_BYTES {
            return Err(invalid(format!("it is longer than {MAX_REQUIREMENT_BYTES} bytes")));
        }
        match text.trim() {
            "" => Err(invalid("it is empty; write `latest` for the newest".to_owned())),
            "latest" => Ok(Self::Latest),
            text => VersionReq::parse(text).map(Self::Matching).map_err(|error| invalid(error.to_string())),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::Matching(requirement) => requirement.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(requirement: &str, versions: &[&str]) -> Option<String> {
        let versions: Vec<Version> = versions.iter().map(|text| text.parse().unwrap()).collect();
        let requirement: Requirement = requirement.parse().unwrap();
        requirement.newest(&versions, |version| version).map(ToString::to_string)
    }

    #[test]
    fn requirements_pick_what_cargo_would() {
        let versions = ["1.2.2", "1.2.3", "1.9.0", "2.0.0", "2.1.0-rc.1"];
        assert_eq!(pick("1.2.3", &versions).as_deref(), Some("1.9.0"));
        assert_eq!(pick("=1.2.3", &versions).as_deref(), Some("1.2.3"));
        assert_eq!(pick("~1.2", &versions).as_deref(), Some("1.2.3"));
        assert_eq!(pick(">=1.2, <2", &versions).as_deref(), Some("1.9.0"));
        assert_eq!(pick("*", &versions).as_deref(), Some("2.0.0"));
        assert_eq!(pick("latest", &versions).as_deref(), Some("2.0.0"));
        assert_eq!(pick("2.1.0-rc.1", &versions).as_deref(), Some("2.1.0-rc.1"));
        assert_eq!(pick("^3", &versions), None);
    }

    #[test]
    fn latest_takes_a_pre_release_where_there_is_nothing_else() {
        assert_eq!(pick("latest", &["0.1.0-alpha", "0.1.0-beta"]).as_deref(), Some("0.1.0-beta"));
    }

    #[test]
    fn exact_names_one_version() {
        let version: Version = "1.2.3-rc.1".parse().unwrap();
        assert!(Requirement::exact(&version).is_exact());
        assert!(Requirement::exact(&version).matches(&version));
        assert!(!Requirement::exact(&version).matches(&"1.2.3".parse().unwrap()));
        assert!(!"=1.2".parse::<Requirement>().unwrap().is_exact());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "one", "1.2.3.4", &"1".repeat(300)] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
