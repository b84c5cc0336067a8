//! Rebuilds a publisher's catalog tree from its log when nodes of the tree are lost.
//!
//! The tree is a function of the log alone. The root of the rebuilt tree shows whether the log is complete: a head
//! names both.

use std::collections::BTreeMap;

use ggen_blockstore::{Block, Cid};
use semver::Version;

use crate::{
    identity::{RecordCid, Signature},
    index::{LogAction, LogEntry, TreeError, VersionEntry, tree::write_tree},
    package::PackageId,
};

/// The root and the blocks of the catalog that results from a log, starting with its first entry. `signatures` returns
/// those of a release. Returns `None` if it returns none for one of them, or if nothing was released.
///
/// # Errors
/// [`TreeError`]: more versions of one package than a catalog can hold.
pub(crate) fn replay<'a>(
    log: impl IntoIterator<Item = &'a LogEntry>,
    signatures: impl Fn(&Cid) -> Option<Vec<Signature>>,
) -> Result<Option<(RecordCid, Vec<Block>)>, TreeError> {
    let mut packages: BTreeMap<PackageId, BTreeMap<Version, VersionEntry>> = BTreeMap::new();
    for entry in log {
        match &entry.action {
            LogAction::Release { package, version, release } => {
                let Some(signatures) = signatures(release.cid()) else { return Ok(None) };
                let (version, release) = (version.clone(), *release);
                let entry = VersionEntry { version: version.clone(), release, yanked: false, reason: None, signatures };
                packages.entry(package.clone()).or_default().insert(version, entry);
            }
            LogAction::Yank { package, version, reason, .. } => {
                flag(&mut packages, package, version, true, reason.clone());
            }
            LogAction::Unyank { package, version, .. } => flag(&mut packages, package, version, false, None),
            LogAction::Advisory { .. } | LogAction::Rotation { .. } => {}
        }
    }
    write_tree(packages.into_iter().map(|(package, versions)| (package, versions.into_values().collect())).collect())
}

fn flag(
    packages: &mut BTreeMap<PackageId, BTreeMap<Version, VersionEntry>>,
    package: &PackageId,
    version: &Version,
    yanked: bool,
    reason: Option<String>,
) {
    // A log that yanks an unknown version does not produce any signed root.
    if let Some(entry) = packages.get_mut(package).and_then(|versions| versions.get_mut(version)) {
        (entry.yanked, entry.reason) = (yanked, reason);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ggen_blockstore::Blockstore as _;

    use super::*;
    use crate::index::{Publication, actor::Actor};

    /// The log, the signatures of the releases, and the blocks of each step.
    #[derive(Default)]
    struct Kept {
        log: Vec<LogEntry>,
        signatures: BTreeMap<Cid, Vec<Signature>>,
    }

    impl Kept {
        fn keep(&mut self, publication: &Publication) {
            self.log.push(publication.log.record().clone());
            if let Some(release) = &publication.release {
                self.signatures.insert(*release.cid(), release.envelope().signatures().to_vec());
            }
        }

        fn replayed(&self) -> Option<(RecordCid, Vec<Block>)> {
            replay(&self.log, |cid| self.signatures.get(cid).cloned()).unwrap()
        }
    }

    #[test]
    fn the_catalog_that_every_step_signed_is_made_again_from_the_log() {
        let (mut alice, mut kept) = (Actor::new(1), Kept::default());
        assert!(kept.replayed().is_none(), "nothing is published");
        // More packages than one leaf can hold, and more versions than one node can hold.
        for number in 0..40 {
            kept.keep(&alice.publish(&format!("acme/p{number}"), "1.0.0"));
            kept.keep(&alice.publish("acme/many", &format!("1.{}.0", 97 * number % 80)));
            kept.keep(&alice.publish("acme/many", &format!("2.{number}.0")));
            if number % 7 == 0 {
                kept.keep(&alice.yank("acme/many", &format!("2.{number}.0"), true).unwrap());
            }
            if number % 14 == 0 {
                kept.keep(&alice.yank("acme/many", &format!("2.{number}.0"), false).unwrap());
            }
            let (root, blocks) = kept.replayed().unwrap();
            assert_eq!(root, alice.head().head().record().catalog, "after step {}", kept.log.len());
            for block in &blocks {
                assert_eq!(alice.store.get(block.cid()).unwrap().as_ref(), Some(block.data()));
            }
        }
        let signing = alice.identity.signing.clone();
        kept.keep(&alice.rotate(42, &signing).unwrap());
        kept.keep(&alice.publish("acme/p0", "1.1.0"));
        assert_eq!(kept.replayed().unwrap().0, alice.head().head().record().catalog);

        let mut less = Kept { log: kept.log.clone(), signatures: kept.signatures.clone() };
        less.log.remove(0);
        assert_ne!(less.replayed().unwrap().0, alice.head().head().record().catalog, "an entry is missing");
        kept.signatures.pop_first();
        assert!(kept.replayed().is_none(), "signatures are missing");
    }
}
