//! The name of one version of a package in messages.

use semver::Version;

use crate::{
    identity::{PublisherId, Timestamp},
    ops::{download::Subject, peers::provision},
    package::PackageId,
};

/// Returns one version of a package, for messages. `signed` is the date of its publisher's newest known head.
pub(in crate::ops) fn subject_of(
    publisher: &PublisherId,
    package: &PackageId,
    version: &Version,
    signed: Option<Timestamp>,
) -> Subject {
    Subject { name: format!("{package}@{version}"), provision: Some(provision(publisher, package)), signed }
}
