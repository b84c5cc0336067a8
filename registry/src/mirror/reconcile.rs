//! Compares the pins with `mirror.db`. After a crash, or after a rule was removed during a fetch, no pin may remain
//! that nothing ever removes, and no release may be marked as held that is not pinned. Performs no I/O.

use std::collections::{BTreeMap, BTreeSet};

use ggen_blockstore::{Pin, PinMode};
use semver::Version;

use crate::{
    identity::PublisherId,
    mirror::plan::{Candidate, Chosen},
    package::PackageId,
};

/// Prefix of the labels of all mirror pins.
const MIRROR: &str = "mirror/";

/// A change that makes database and pins agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// It is pinned: it is held.
    Adopt(Candidate),
    /// The release is not pinned: mark it as not held.
    Lost(Candidate),
    /// No rule wants what this pin keeps.
    Unpin(Pin),
}

/// Label of the pins of a release.
pub(crate) fn label(release: &Candidate) -> String {
    format!("{MIRROR}{}/{}@{}", release.publisher, release.package, release.version)
}

/// Label of the path through the catalog tree that proves a package's name.
pub(crate) fn proof_label(publisher: &PublisherId, package: &PackageId) -> String {
    format!("{MIRROR}{publisher}/{package}")
}

/// Parses the label of a mirror pin into publisher and package, and the version if it is the pin of a release.
fn read_label(label: &str) -> Option<(PublisherId, PackageId, Option<Version>)> {
    let (publisher, rest) = label.strip_prefix(MIRROR)?.split_once('/')?;
    let (package, version) = match rest.split_once('@') {
        Some((package, version)) => (package, Some(version.parse().ok()?)),
        None => (rest, None),
    };
    Some((publisher.parse().ok()?, package.parse().ok()?, version))
}

/// Compares. A pin of which the book knows nothing stays as long as a rule may be about it and its package was not
/// looked at yet: the book may be new, and the publisher gone.
pub(crate) fn repairs(rules: &[Chosen], releases: &[Candidate], pins: &[Pin]) -> Vec<Repair> {
    let mut repairs = Vec::new();
    let mut packages: BTreeMap<(PublisherId, &PackageId), Vec<&Candidate>> = BTreeMap::new();
    for release in releases {
        packages.entry((release.publisher, &release.package)).or_default().push(release);
    }
    let pinned: BTreeSet<_> =
        pins.iter().filter(|pin| pin.mode == PinMode::Recursive).map(|pin| (&*pin.label, pin.cid)).collect();
    let is_pinned = |release: &Candidate| pinned.contains(&(label(release).as_str(), release.release));
    for release in releases {
        match (release.held, is_pinned(release)) {
            (true, false) => repairs.push(Repair::Lost(release.clone())),
            (false, true) => repairs.push(Repair::Adopt(release.clone())),
            _ => {}
        }
    }
    for pin in pins {
        let Some((publisher, package, version)) = read_label(&pin.label) else { continue };
        let stays = match packages.get(&(publisher, &package)) {
            Some(known) => known.iter().any(|release| {
                let of_it = version.as_ref().is_none_or(|version| release.version == *version);
                let is_it = pin.mode == PinMode::Direct || pin.cid == release.release;
                of_it && is_it && is_pinned(release)
            }),
            None => rules.iter().any(|rule| rule.rule.what.covers(&publisher, &package)),
        };
        if !stays {
            repairs.push(Repair::Unpin(pin.clone()));
        }
    }
    repairs
}

#[cfg(test)]
mod tests {
    use super::{
        super::plan::tests::{candidate, rule},
        *,
    };

    fn pins_of(release: &Candidate) -> Vec<Pin> {
        let pin = |label, cid, mode| Pin { label, cid, mode };
        vec![
            pin(label(release), release.release, PinMode::Recursive),
            pin(label(release), release.content, PinMode::Direct),
            pin(proof_label(&release.publisher, &release.package), release.content, PinMode::Direct),
        ]
    }

    #[test]
    fn what_agrees_is_left_alone() {
        let held = Candidate { held: true, ..candidate("a/x", "1.0.0-rc.1+build", 1) };
        let offered = candidate("a/x", "1.1.0", 2);
        let mut pins = pins_of(&held);
        pins.push(Pin { label: "user/a/x@9.0.0".to_owned(), cid: held.content, mode: PinMode::Recursive });
        assert_eq!(repairs(&[rule("a/x", None, None)], &[held, offered], &pins), []);
    }

    #[test]
    fn a_crash_between_pin_and_book_is_made_good_either_way() {
        let rules = [rule("a/x", None, None)];
        let release = candidate("a/x", "1.0.0", 1);
        let held = Candidate { held: true, ..release.clone() };
        let pins = pins_of(&release);
        assert_eq!(repairs(&rules, std::slice::from_ref(&release), &pins), [Repair::Adopt(release.clone())]);
        assert_eq!(repairs(&rules, std::slice::from_ref(&held), &[]), [Repair::Lost(held.clone())]);
        // Only the pins of the catalog path are left, which no held release needs.
        assert_eq!(
            repairs(&rules, std::slice::from_ref(&held), &pins[2..]),
            [Repair::Lost(held), Repair::Unpin(pins[2].clone())]
        );
    }

    #[test]
    fn a_pin_that_nothing_speaks_for_is_dropped_and_one_that_a_rule_may_want_waits_for_a_look() {
        let gone = candidate("a/x", "1.0.0", 1);
        let pins = pins_of(&gone);
        let all_go: Vec<_> = pins.iter().cloned().map(Repair::Unpin).collect();
        assert_eq!(repairs(&[], &[], &pins), all_go, "the rule was dropped");
        assert_eq!(repairs(&[rule("a/*", None, None)], &[], &pins), [], "the book was lost");
        let looked_at = candidate("a/x", "1.1.0", 2);
        assert_eq!(repairs(&[rule("a/*", Some(1), None)], &[looked_at], &pins), all_go, "it is not among the newest");
    }
}
