//! Version requirements.

use std::{cmp::Ordering, fmt, str::FromStr};

use semver::{Version, VersionReq};

use crate::package::NameError;

/// Longest requirement text, in bytes.
const MAX_REQUIREMENT_BYTES: usize = 256;

/// Accepted versions, by Cargo's rules: a bare `1.2.3` means `^1.2.3`, `=1.2.3` means that version alone; pre-releases
/// match only a requirement that names one of the same major.minor.patch. Build metadata counts only if `=` names it:
/// `=1.2.3+b7` is that build alone, `=1.2.3` any build of 1.2.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Requirement {
    /// `latest`, or no requirement: the newest release. A pre-release matches only if there is no stable version.
    #[default]
    Latest,
    /// A semver requirement. It ignores build metadata.
    Matching(VersionReq),
    /// One build of one version; its build metadata is not empty.
    Build(Version),
}

impl Requirement {
    /// Exactly this version, and exactly this build if it has build metadata.
    pub fn exact(version: &Version) -> Self {
        if !version.build.is_empty() {
            return Self::Build(version.clone());
        }
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

    /// Parses the text after the `@` of a target. A full version means that version alone there: `1.0.5` is `=1.0.5`,
    /// as for `cargo install name@1.0.5` and npm. Everything else is a requirement as in a `gpack.toml`.
    ///
    /// # Errors
    /// [`NameError::Requirement`] for text that is neither a version nor a requirement.
    pub fn of_target(text: &str) -> Result<Self, NameError> {
        match text.len() <= MAX_REQUIREMENT_BYTES {
            true => Version::parse(text.trim()).map_or_else(|_| text.parse(), |version| Ok(Self::exact(&version))),
            false => text.parse(),
        }
    }

    /// Returns whether the requirement is a range: neither a single version nor `latest`.
    pub fn is_range(&self) -> bool {
        matches!(self, Self::Matching(_)) && !self.is_exact()
    }

    /// Returns whether `version` matches.
    pub fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Latest => true,
            Self::Matching(requirement) => requirement.matches(version),
            Self::Build(build) => build == version,
        }
    }

    /// Returns whether the requirement is a single version, with all three numbers and `=`.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Latest => false,
            Self::Matching(requirement) => matches!(&requirement.comparators[..],
                [only] if only.op == semver::Op::Exact && only.patch.is_some()),
            Self::Build(_) => true,
        }
    }

    /// The matching versions among all versions of a package, including yanked ones. For `latest`, pre-releases are
    /// excluded if any stable version was ever published, even if all stable versions are yanked.
    pub fn fitting<'a, T>(&self, all: impl IntoIterator<Item = T>, version: impl Fn(&T) -> &'a Version) -> Vec<T> {
        let mut fitting: Vec<T> = all.into_iter().filter(|one| self.matches(version(one))).collect();
        if *self == Self::Latest && fitting.iter().any(|one| version(one).pre.is_empty()) {
            fitting.retain(|one| version(one).pre.is_empty());
        }
        fitting
    }

    /// Returns the newest matching version of `candidates`. Among builds with the same precedence, which current
    /// publishers never create, it returns the one without build metadata, else the lowest, so that a further build
    /// does not change the result.
    pub fn newest<'a, T>(
        &self,
        candidates: impl IntoIterator<Item = T>,
        version: impl Fn(&T) -> &'a Version,
    ) -> Option<T> {
        let matching = candidates.into_iter().filter(|candidate| self.matches(version(candidate)));
        matching.max_by(|a, b| {
            let (a, b) = (version(a), version(b));
            match self {
                Self::Latest => a.pre.is_empty().cmp(&b.pre.is_empty()).then_with(|| compare(a, b)),
                Self::Matching(_) | Self::Build(_) => compare(a, b),
            }
        })
    }
}

/// Orders versions by precedence. Of builds of one version the one with the lowest metadata is the greatest.
fn compare(a: &Version, b: &Version) -> Ordering {
    a.cmp_precedence(b).then_with(|| b.build.cmp(&a.build))
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
            text => match text.strip_prefix('=').map(|version| Version::parse(version.trim())) {
                Some(Ok(version)) if !version.build.is_empty() => Ok(Self::Build(version)),
                _ => VersionReq::parse(text).map(Self::Matching).map_err(|error| {
                    let bare = text.strip_prefix(['v', 'V']).filter(|bare| VersionReq::parse(bare).is_ok());
                    invalid(bare.map_or_else(|| error.to_string(), |bare| format!("write `{bare}`, without `v`")))
                }),
            },
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::Matching(requirement) => requirement.fmt(formatter),
            Self::Build(version) => write!(formatter, "={version}"),
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
    fn latest_leaves_pre_releases_out_once_there_is_a_stable_version() {
        let fitting = |requirement: &str, versions: &[&str]| {
            let versions: Vec<Version> = versions.iter().map(|text| text.parse().unwrap()).collect();
            let requirement: Requirement = requirement.parse().unwrap();
            let fitting = requirement.fitting(&versions, |version| version);
            fitting.into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(fitting("latest", &["1.0.0", "1.1.0", "2.0.0-rc.1"]), ["1.0.0", "1.1.0"]);
        assert_eq!(fitting("latest", &["2.0.0-rc.1", "2.0.0-rc.2"]), ["2.0.0-rc.1", "2.0.0-rc.2"]);
        assert_eq!(fitting("=2.0.0-rc.1", &["1.0.0", "2.0.0-rc.1"]), ["2.0.0-rc.1"]);
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
    fn build_that_is_named_is_that_build_alone_and_others_of_its_version_do_not_change_the_choice() {
        let builds = ["1.0.0", "1.0.0+a", "1.0.0+b"];
        assert_eq!(pick("=1.0.0+a", &builds).as_deref(), Some("1.0.0+a"));
        assert_eq!(pick("=1.0.0+b", &builds).as_deref(), Some("1.0.0+b"));
        assert_eq!(pick("=1.0.0+c", &builds), None);
        for requirement in ["=1.0.0", "^1", "latest", "*"] {
            assert_eq!(pick(requirement, &builds).as_deref(), Some("1.0.0"), "{requirement}");
            assert_eq!(pick(requirement, &builds[1..]).as_deref(), Some("1.0.0+a"), "{requirement}");
        }
        assert_eq!(pick("latest", &["1.0.0", "1.0.1+a", "1.0.0+z"]).as_deref(), Some("1.0.1+a"));
        let named: Requirement = "= 1.0.0+a".parse().unwrap();
        assert_eq!(named, Requirement::exact(&"1.0.0+a".parse().unwrap()));
        assert!(named.is_exact());
        assert_eq!(named.to_string(), "=1.0.0+a");
    }

    #[test]
    fn full_version_after_the_at_sign_means_that_version_alone() {
        let requirement = |text| Requirement::of_target(text).unwrap();
        assert!(requirement("1.0.5").is_exact());
        assert!(!requirement("1.0.5").matches(&"1.1.0".parse().unwrap()));
        assert!(requirement("2.1.0-rc.1").matches(&"2.1.0-rc.1".parse().unwrap()));
        assert!(!requirement("2.1.0-rc.1").matches(&"2.1.0".parse().unwrap()));
        for range in ["1", "1.0", "^1.0.5", "~1.0.5", ">=1, <2", "*"] {
            assert!(requirement(range).is_range(), "{range}");
            assert_eq!(requirement(range), range.parse().unwrap(), "{range}");
        }
        assert_eq!(requirement("latest"), Requirement::Latest);
        assert!(!Requirement::Latest.is_range());
        assert!(Requirement::of_target(&"1".repeat(300)).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "one", "1.2.3.4", &"1".repeat(300)] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
