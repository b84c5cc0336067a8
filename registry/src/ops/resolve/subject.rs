//! What messages call one version of a package.

use semver::Version;

use crate::{
    identity::{PublisherId, Timestamp},
    ops::{download::Subject, peers::provision},
    package::PackageId,
};

/// One version of a package, for messages; `signed`: when its publisher last signed something.
pub(in crate::ops) fn subject_of(
    publisher: &PublisherId,
    package: &PackageId,
    version: &Version,
    signed: Option<Timestamp>,
) -> Subject {
    Subject { name: format!("{package}@{version}"), provision: Some(provision(publisher, package)), signed }
}
