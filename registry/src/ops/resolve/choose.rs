//! Selects the version for a requirement.

use semver::Version;

use super::Wanted;
use crate::{ErrorKind, Failure, Operation, error::hint, index::VersionEntry, package::Requirement};

/// Maximum number of yanked versions that an error lists.
const MAX_NAMED: usize = 5;

/// Returns the newest matching version that is not yanked. A yanked one is selected if the requirement names it
/// exactly, or if [`Wanted::yanked_too`] is set and there is no other.
///
/// # Errors
/// [`ErrorKind::NotFound`] if no version matches, or every matching one is yanked.
pub(in crate::ops) fn choose<'a>(
    entries: &'a [VersionEntry],
    wanted: &Wanted<'_>,
) -> Result<&'a VersionEntry, Failure> {
    let Wanted { package, requirement, yanked_too, .. } = wanted;
    let fitting = requirement.fitting(entries, |entry| &entry.version);
    let newest = |yanked: bool| {
        requirement.newest(fitting.iter().copied().filter(|entry| entry.yanked == yanked), |entry| &entry.version)
    };
    let named = || newest(true).filter(|_| requirement.is_exact());
    let chosen = newest(false).or_else(named);
    match chosen.or_else(|| newest(true)) {
        Some(entry) if chosen.is_some() || *yanked_too => Ok(entry),
        Some(yanked) => Err(all_yanked(&fitting, yanked, wanted)),
        None => {
            let others = entries.iter().filter(|entry| !entry.yanked);
            let newest = match Requirement::Latest.newest(others, |entry| &entry.version) {
                Some(entry) => format!("the newest is {}", entry.version),
                None => "every version of it is yanked".to_owned(),
            };
            let message = format!("no version of `{package}` matches `{requirement}`: {newest}");
            let failure = Failure::new(ErrorKind::NotFound, message);
            Err(match pre_release(entries, requirement) {
                Some(version) => failure.hinted(hint![
                    "a pre-release is fetched if it is named: ",
                    Operation::Fetch.on(format!("{package}@{version}"))
                ]),
                None => failure,
            })
        }
    }
}

/// The newest pre-release of a version that would fit.
fn pre_release<'a>(entries: &'a [VersionEntry], requirement: &Requirement) -> Option<&'a Version> {
    let versions = entries.iter().filter(|entry| !entry.yanked).map(|entry| &entry.version);
    let of_fitting = |version: &&Version| {
        let release = Version::new(version.major, version.minor, version.patch);
        !version.pre.is_empty() && requirement.matches(&release)
    };
    versions.filter(of_fitting).max()
}

fn all_yanked(fitting: &[&VersionEntry], newest: &VersionEntry, wanted: &Wanted<'_>) -> Failure {
    let Wanted { package, requirement, .. } = wanted;
    let message = format!("every version of `{package}` that matches `{requirement}` is yanked");
    let causes = fitting.iter().rev().take(MAX_NAMED).map(|entry| match &entry.reason {
        Some(reason) => format!("{} is yanked: {reason}", entry.version),
        None => format!("{} is yanked", entry.version),
    });
    let failure = Failure { causes: causes.collect(), ..Failure::new(ErrorKind::NotFound, message) };
    failure.hinted(hint![
        "a yanked version is fetched if it is named exactly: ",
        Operation::Fetch.on(format!("{package}@={}", newest.version))
    ])
}

#[cfg(test)]
mod tests {
    use ggen_blockstore::Block;

    use super::{super::super::trust::Meaning, *};
    use crate::identity::RecordCid;

    /// Versions, lowest first; those with a reason are yanked.
    fn entries(versions: &[(&str, Option<&str>)]) -> Vec<VersionEntry> {
        let entry = |(version, reason): &(&str, Option<&str>)| VersionEntry {
            version: version.parse().unwrap(),
            release: RecordCid::new(*Block::dag_cbor(version.as_bytes().to_vec()).unwrap().cid()).unwrap(),
            yanked: reason.is_some(),
            reason: reason.map(str::to_owned),
            signatures: Vec::new(),
        };
        versions.iter().map(entry).collect()
    }

    fn pick(requirement: &str, yanked_too: bool, entries: &[VersionEntry]) -> Result<String, Failure> {
        let (package, requirement) = ("acme/x".parse().unwrap(), requirement.parse::<Requirement>().unwrap());
        let wanted = Wanted { meaning: Meaning::OPEN, package: &package, requirement: &requirement, yanked_too };
        choose(entries, &wanted).map(|entry| entry.version.to_string())
    }

    #[test]
    fn a_pre_release_is_not_chosen_because_all_stable_versions_are_yanked() {
        let entries = entries(&[("1.0.0", Some("broken")), ("1.1.0", Some("worse")), ("2.0.0-rc.1", None)]);
        for requirement in ["latest", "^1", "*"] {
            let failure = pick(requirement, false, &entries).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::NotFound);
            assert!(failure.message.contains("every version of `acme/x` that matches"), "{failure:?}");
            assert!(failure.causes[0].contains("1.1.0 is yanked: worse"), "{failure:?}");
            assert_eq!(pick(requirement, true, &entries).unwrap(), "1.1.0");
        }
        assert_eq!(pick("=2.0.0-rc.1", false, &entries).unwrap(), "2.0.0-rc.1");
        assert_eq!(pick("=1.0.0", false, &entries).unwrap(), "1.0.0");
    }

    #[test]
    fn a_requirement_that_pre_releases_alone_would_fit_is_answered_with_the_newest_of_them() {
        let entries = entries(&[("1.0.0", None), ("2.0.0-rc.1", None), ("2.0.0-rc.2", None), ("3.0.0-rc.1", None)]);
        for (requirement, named) in
            [("^2", Some("acme/x@2.0.0-rc.2")), (">=2", Some("acme/x@3.0.0-rc.1")), ("^4", None)]
        {
            let hint = pick(requirement, true, &entries).unwrap_err().hint;
            assert_eq!(hint.is_some(), named.is_some(), "{requirement}");
            assert!(named.is_none_or(|named| hint.unwrap().to_string().contains(named)), "{requirement}");
        }
    }

    #[test]
    fn a_requirement_that_nothing_fits_is_not_answered_with_yanks() {
        let entries = entries(&[("1.0.0", Some("broken"))]);
        for yanked_too in [false, true] {
            let failure = pick("^2", yanked_too, &entries).unwrap_err();
            assert!(failure.message.contains("no version of `acme/x` matches `^2`"), "{failure:?}");
        }
    }
}
