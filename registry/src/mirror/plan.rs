//! Selects the releases that a mirror holds, from its rules and the known releases. Performs no I/O.

use std::collections::{BTreeMap, BTreeSet};

use ggen_blockstore::Cid;
use semver::Version;

use crate::{
    MirrorRule, MirrorScope,
    identity::{PublisherId, Timestamp},
    package::PackageId,
};

/// Identifies one release among all of a network.
pub(crate) type Key = (PublisherId, PackageId, Version);

/// A release that a rule covers or has covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) publisher: PublisherId,
    pub(crate) package: PackageId,
    pub(crate) version: Version,
    pub(crate) release: Cid,
    pub(crate) content: Cid,
    /// Total bytes of its blocks.
    pub(crate) bytes: u64,
    /// Its publisher's creation date, but not later than this home learned of it.
    pub(crate) created: Timestamp,
    /// Whether the publisher's newest catalog lists it and it is not yanked.
    pub(crate) offered: bool,
    pub(crate) held: bool,
}

impl Candidate {
    pub(crate) fn key(&self) -> Key {
        (self.publisher, self.package.clone(), self.version.clone())
    }
}

/// A rule, and the publisher that its name resolves to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chosen {
    pub(crate) rule: MirrorRule,
    /// The publisher of a bare name or namespace; `None` while it has no claimant or several.
    pub(crate) meant: Option<PublisherId>,
}

impl Chosen {
    /// Returns whether this rule may select packages of this publisher.
    pub(crate) fn admits(&self, publisher: &PublisherId) -> bool {
        match &self.rule.what {
            MirrorScope::Publisher(chosen) | MirrorScope::PackageOf(chosen, _) => chosen == publisher,
            MirrorScope::All => true,
            MirrorScope::Package(_) | MirrorScope::Namespace(_) => self.meant.as_ref() == Some(publisher),
        }
    }

    /// Returns whether the rule covers a package of this publisher.
    pub(crate) fn covers(&self, publisher: &PublisherId, package: &PackageId) -> bool {
        self.admits(publisher) && self.rule.what.covers(publisher, package)
    }
}

/// Returns the releases that at least one rule selects.
///
/// Each rule selects the newest `versions` of each package, and of these the most recently created that fit into
/// `max_bytes` together. A release that alone exceeds `max_bytes` is skipped. The first other one that does not fit
/// ends the selection. A release that several rules select counts towards the budget of each.
pub(crate) fn wanted(rules: &[Chosen], candidates: &[Candidate]) -> BTreeSet<Key> {
    rules.iter().flat_map(|rule| wanted_by(rule, candidates)).map(Candidate::key).collect()
}

/// Returns the releases to fetch, newest first: those that the rules select among all releases, and those that they
/// select without the unavailable ones in `out_of_reach`, so that an unavailable release does not exclude others. A
/// release of more than `most_bytes` is never fetched.
pub(crate) fn missing(
    rules: &[Chosen],
    releases: &[Candidate],
    most_bytes: u64,
    out_of_reach: &BTreeSet<Key>,
) -> Vec<Candidate> {
    let possible: Vec<_> = releases.iter().filter(|c| c.held || c.bytes <= most_bytes).cloned().collect();
    let in_reach: Vec<_> = possible.iter().filter(|c| c.held || !out_of_reach.contains(&c.key())).cloned().collect();
    let mut chosen = wanted(rules, &possible);
    chosen.extend(wanted(rules, &in_reach));
    let mut missing: Vec<_> = possible.into_iter().filter(|c| !c.held && chosen.contains(&c.key())).collect();
    missing.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| b.key().cmp(&a.key())));
    missing
}

/// Returns the held releases to remove. Only held releases count: an announced release that is not fetched yet replaces
/// none.
pub(crate) fn surplus(rules: &[Chosen], releases: &[Candidate]) -> Vec<Candidate> {
    let held: Vec<_> = releases.iter().filter(|release| release.held).cloned().collect();
    let wanted = wanted(rules, &held);
    held.into_iter().filter(|release| !wanted.contains(&release.key())).collect()
}

/// Returns how many more releases a rule would select without `max_bytes`.
pub(crate) fn over_budget(chosen: &Chosen, candidates: &[Candidate]) -> u64 {
    let rule = MirrorRule { max_bytes: None, ..chosen.rule.clone() };
    let unbounded = Chosen { rule, ..chosen.clone() };
    (wanted_by(&unbounded, candidates).len() - wanted_by(chosen, candidates).len()) as u64
}

/// Returns the releases that one rule selects.
pub(crate) fn wanted_by<'a>(chosen: &Chosen, candidates: &'a [Candidate]) -> Vec<&'a Candidate> {
    let rule = &chosen.rule;
    let mut packages: BTreeMap<_, Vec<&Candidate>> = BTreeMap::new();
    let covered = candidates.iter().filter(|c| c.offered && chosen.covers(&c.publisher, &c.package));
    for candidate in covered {
        packages.entry((candidate.publisher, &candidate.package)).or_default().push(candidate);
    }
    let versions = rule.versions.map_or(usize::MAX, |versions| versions as usize);
    let mut chosen = Vec::new();
    for mut releases in packages.into_values() {
        releases.sort_by(|a, b| b.version.cmp(&a.version));
        chosen.extend(releases.into_iter().take(versions));
    }
    let Some(budget) = rule.max_bytes else { return chosen };
    chosen.retain(|candidate| candidate.bytes <= budget);
    chosen.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| b.key().cmp(&a.key())));
    let mut sum = 0_u64;
    let fits = |candidate: &&Candidate| {
        sum = sum.saturating_add(candidate.bytes);
        sum <= budget
    };
    chosen.into_iter().take_while(fits).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use ggen_blockstore::Block;

    use super::*;

    pub(crate) fn candidate(package: &str, version: &str, created: u64) -> Candidate {
        let publisher = publisher(1);
        let cid = |what: &str| *Block::dag_cbor(format!("{what} {package} {version}").into_bytes()).unwrap().cid();
        Candidate {
            publisher,
            package: package.parse().unwrap(),
            version: version.parse().unwrap(),
            release: cid("release"),
            content: cid("content"),
            bytes: 100,
            created: Timestamp::from_unix(created),
            offered: true,
            held: false,
        }
    }

    pub(crate) fn publisher(seed: u8) -> PublisherId {
        PublisherId::new(*Block::dag_cbor(vec![seed]).unwrap().cid()).unwrap()
    }

    pub(crate) fn rule(what: &str, versions: Option<u32>, max_bytes: Option<u64>) -> Chosen {
        let rule = MirrorRule { what: what.parse().unwrap(), versions, max_bytes };
        Chosen { rule, meant: Some(publisher(1)) }
    }

    fn names(rules: &[Chosen], candidates: &[Candidate]) -> Vec<String> {
        wanted(rules, candidates).into_iter().map(|(_, package, version)| format!("{package}@{version}")).collect()
    }

    fn versions(candidates: &[Candidate]) -> Vec<String> {
        candidates.iter().map(|candidate| candidate.version.to_string()).collect()
    }

    #[test]
    fn what_is_held_goes_only_when_something_held_takes_its_place() {
        let rules = [rule("a/x", Some(1), None)];
        let mut all = [candidate("a/x", "1.0.0", 1), candidate("a/x", "1.1.0", 2)];
        all[0].held = true;
        assert_eq!(versions(&missing(&rules, &all, u64::MAX, &BTreeSet::new())), ["1.1.0"]);
        assert_eq!(surplus(&rules, &all), [], "1.1.0 is announced, and nobody has it");
        all[1].held = true;
        assert_eq!(versions(&surplus(&rules, &all)), ["1.0.0"]);
        all[1].offered = false;
        assert_eq!(versions(&surplus(&rules, &all)), ["1.1.0"], "it was yanked");
        assert_eq!(surplus(&[], &all).len(), 2, "no rule wants anything");
    }

    #[test]
    fn what_cannot_be_fetched_takes_no_place_in_a_budget() {
        let rules = [rule("all", None, Some(250))];
        let mut all = [candidate("a/x", "1.0.0", 1), candidate("a/x", "1.1.0", 2), candidate("b/bait", "9.0.0", 3)];
        all[0].held = true;
        all[2].bytes = 249;
        assert_eq!(surplus(&rules, &all), []);
        assert_eq!(versions(&missing(&rules, &all, u64::MAX, &BTreeSet::new())), ["9.0.0"]);
        let out_of_reach = BTreeSet::from([all[2].key()]);
        assert_eq!(versions(&missing(&rules, &all, u64::MAX, &out_of_reach)), ["9.0.0", "1.1.0"]);
        assert_eq!(versions(&missing(&rules, &all, 248, &BTreeSet::new())), ["1.1.0"], "over `limits.package_bytes`");
    }

    #[test]
    fn a_name_means_one_publisher_whatever_other_rules_admit() {
        let mut all = [candidate("a/x", "1.0.0", 1), candidate("a/y", "1.0.0", 2)];
        all[1].publisher = publisher(2);
        let budget = rule("all", None, Some(99));
        assert_eq!(names(&[rule("a/*", None, None), budget.clone()], &all), ["a/x@1.0.0"]);
        assert_eq!(names(&[rule("a/y", None, None), budget], &all), [""; 0]);
        let contested = Chosen { meant: None, ..rule("a/*", None, None) };
        assert_eq!(names(&[contested], &all), [""; 0]);
    }

    #[test]
    fn nothing_is_wanted_that_no_rule_is_about() {
        let all = [candidate("a/x", "1.0.0", 1), candidate("b/x", "1.0.0", 1)];
        assert_eq!(names(&[], &all), [""; 0]);
        assert_eq!(names(&[rule("a/*", None, None)], &all), ["a/x@1.0.0"]);
        assert_eq!(names(&[rule("b/x", None, None), rule("a/y", None, None)], &all), ["b/x@1.0.0"]);
    }

    #[test]
    fn the_newest_versions_of_each_package_are_wanted() {
        let all = [
            candidate("a/x", "1.9.0", 5),
            candidate("a/x", "1.10.0", 3),
            candidate("a/x", "2.0.0", 1),
            candidate("a/y", "0.1.0", 1),
        ];
        assert_eq!(names(&[rule("all", Some(2), None)], &all), ["a/x@1.10.0", "a/x@2.0.0", "a/y@0.1.0"]);
        let yanked = all.clone().map(|c| Candidate { offered: c.version.major < 2, ..c });
        assert_eq!(names(&[rule("a/x", Some(1), None)], &yanked), ["a/x@1.10.0"], "2.0.0 was yanked");
        assert_eq!(names(&[rule("all", Some(0), None)], &all), [""; 0]);
    }

    #[test]
    fn over_budget_the_oldest_goes_first_and_what_alone_is_too_large_blocks_nothing() {
        let mut all = [candidate("a/x", "1.0.0", 1), candidate("a/x", "1.1.0", 2), candidate("a/y", "1.0.0", 3)];
        assert_eq!(names(&[rule("all", None, Some(250))], &all), ["a/x@1.1.0", "a/y@1.0.0"]);
        assert_eq!(names(&[rule("all", None, Some(300))], &all).len(), 3);
        assert_eq!(names(&[rule("all", None, Some(99))], &all), [""; 0]);
        assert_eq!(over_budget(&rule("all", None, Some(250)), &all), 1);
        assert_eq!(over_budget(&rule("all", None, None), &all), 0);
        assert_eq!(over_budget(&rule("all", Some(1), Some(150)), &all), 1, "an older version counts for nothing");
        all[2].bytes = 1000;
        assert_eq!(names(&[rule("all", None, Some(250))], &all), ["a/x@1.0.0", "a/x@1.1.0"]);
    }

    #[test]
    fn a_release_stays_as_long_as_one_of_its_rules_wants_it() {
        let all = [candidate("a/x", "1.0.0", 1), candidate("a/x", "1.1.0", 2)];
        let rules = [rule("a/x", Some(1), None), rule("all", None, None)];
        assert_eq!(names(&rules, &all).len(), 2);
        assert_eq!(names(&rules[..1], &all), ["a/x@1.1.0"]);
    }
}
