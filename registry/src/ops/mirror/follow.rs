//! Follows one publisher: reads the packages that the rules cover from its catalog tree under the newest head.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use ggen_blockstore::Cid;

use super::{
    MirrorState,
    followed::{Followed, Publishers},
    keep::Keeper,
    tell::Teller,
};
use crate::{
    Failure, MirrorScope,
    identity::{PublisherId, Timestamp},
    index::{TreeListing, VersionEntry},
    mirror::{
        Book,
        plan::{Candidate, Chosen, Key, missing},
    },
    ops::{
        clock,
        download::Download,
        failure,
        resolve::{release_of, walk},
        storage::Storage,
    },
    package::PackageId,
};

/// Maximum number of versions of one package that a rule without a bound covers.
const MAX_VERSIONS: usize = 256;
/// Maximum number of packages of one publisher.
const MAX_PACKAGES: usize = 65_536;
/// Maximum bytes of catalog nodes fetched for a list of a publisher's packages.
const MAX_LISTING_BYTES: u64 = 64 << 20;
/// Maximum number of publishers remembered as up to date.
const MAX_DONE: usize = 65_536;
/// Maximum number of releases remembered as unavailable.
const MAX_OUT_OF_REACH: usize = 4096;

/// The inputs on which reading a publisher's catalog depends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    head: Cid,
    issued: Timestamp,
    documents: usize,
    rules: u64,
}

impl Look {
    fn of(followed: &Followed, rules: &[Chosen]) -> Self {
        let mut hasher = DefaultHasher::new();
        rules.hash(&mut hasher);
        Self {
            head: *followed.head.head().cid(),
            issued: followed.head.issued(),
            documents: followed.entry.chain.documents().len(),
            rules: hasher.finish(),
        }
    }
}

/// What a running mirror remembers of the catalogs it has read. It only saves work.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The inputs for which a publisher is up to date.
    done: Mutex<BTreeMap<PublisherId, Look>>,
    out_of_reach: Mutex<BTreeSet<Key>>,
}

impl Looks {
    /// Forgets that publishers are up to date, because the held releases changed for another reason than a new head or
    /// rule.
    pub(super) fn forget_done(&self) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn is_done(&self, publisher: &PublisherId, look: &Look) -> bool {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).get(publisher) == Some(look)
    }

    fn set_done(&self, publisher: PublisherId, look: Look) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() >= MAX_DONE {
            done.clear();
        }
        done.insert(publisher, look);
    }

    fn out_of_reach(&self) -> BTreeSet<Key> {
        self.out_of_reach.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reached(&self, key: Key, reached: bool) {
        let mut out_of_reach = self.out_of_reach.lock().unwrap_or_else(PoisonError::into_inner);
        if reached {
            out_of_reach.remove(&key);
        } else if out_of_reach.len() < MAX_OUT_OF_REACH {
            out_of_reach.insert(key);
        }
    }
}

/// Brings mirrored publishers up to date.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Follower {
    pub(in crate::ops) mirror: MirrorState,
    pub(in crate::ops) storage: Storage,
    pub(in crate::ops) publishers: Publishers,
    pub(in crate::ops) keeper: Keeper,
    pub(in crate::ops) teller: Teller,
    /// Most bytes of a package.
    pub(in crate::ops) package_bytes: u64,
}

impl Follower {
    /// Brings the mirrored releases of a publisher up to date with its newest head.
    pub(super) async fn follow_publisher(&self, publisher: PublisherId) -> Result<(), Failure> {
        let rules = self.keeper.rules.chosen().await?;
        let Some(followed) = self.publishers.followed(publisher).await? else { return Ok(()) };
        let look = Look::of(&followed, &rules);
        let mut failed = None;
        let mut note = |outcome: Result<(), Failure>| {
            if let Err(failure) = outcome {
                failed.get_or_insert(failure);
            }
        };
        let mut packages = BTreeSet::new();
        if !self.mirror.looks.is_done(&publisher, &look) {
            packages = self.covered(&rules, &followed).await?;
            note(self.learn_all(&rules, &followed, &packages).await);
        }
        // The plan uses the releases of all publishers, because they share a rule's budget.
        let releases = self.mirror.book.with(Book::releases).await?;
        let limit = self.package_bytes;
        let missing = missing(&rules, &releases, limit, &self.mirror.looks.out_of_reach());
        let is_bounded = rules.iter().any(|rule| rule.rule.max_bytes.is_some());
        for release in missing.iter().filter(|release| release.publisher == publisher) {
            let outcome = self.keeper.hold(&followed, release).await;
            self.mirror.looks.reached(release.key(), outcome.is_ok());
            packages.insert(release.package.clone());
            note(outcome);
            if is_bounded {
                // At most one release exceeds the budget, for a short time.
                self.keeper.let_go_of_unwanted().await?;
            }
        }
        // The rules may have changed, and newly held releases may replace others.
        if !packages.is_empty() {
            self.keeper.let_go_of_unwanted().await?;
            note(self.teller.tell_of(&followed, &packages).await);
        }
        if failed.is_none() {
            self.mirror.looks.set_done(publisher, look);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Returns the publisher's packages that the rules cover. A rule for one package needs no list of all packages.
    async fn covered(&self, rules: &[Chosen], followed: &Followed) -> Result<BTreeSet<PackageId>, Failure> {
        let publisher = followed.entry.chain.publisher();
        let mut packages = BTreeSet::new();
        let mut wide = false;
        for rule in rules.iter().filter(|rule| rule.admits(&publisher)) {
            match &rule.rule.what {
                MirrorScope::Package(package) | MirrorScope::PackageOf(_, package) => {
                    packages.insert(package.clone());
                }
                MirrorScope::Namespace(_) | MirrorScope::Publisher(_) | MirrorScope::All => wide = true,
            }
        }
        if wide {
            let listed = self.list(followed).await?;
            let covers = |package: &PackageId| rules.iter().any(|rule| rule.covers(&publisher, package));
            packages.extend(listed.into_iter().filter(covers));
        }
        Ok(packages)
    }

    /// Returns all packages under the head.
    async fn list(&self, followed: &Followed) -> Result<Vec<PackageId>, Failure> {
        let mut download = self.publishers.following(followed).await?;
        download.limit_bytes(MAX_LISTING_BYTES);
        let mut listing = TreeListing::new(followed.head.head().record().catalog, MAX_PACKAGES);
        loop {
            let wants = listing.wants();
            if wants.is_empty() {
                return Ok(listing.finish());
            }
            let root = wants[0];
            let list = wants.into_iter().map(|cid| (cid, None).into()).collect();
            download.list(list).await.map_err(|error| failure::download(&root, error))?;
            let store = self.storage.store.clone();
            listing = self
                .storage
                .run(move || {
                    listing.supply(|cid| store.get(cid)).map_err(failure::verification)?;
                    Ok(listing)
                })
                .await?;
        }
    }

    /// Determines which releases of these packages the rules cover, and their sizes.
    async fn learn_all(
        &self,
        rules: &[Chosen],
        followed: &Followed,
        packages: &BTreeSet<PackageId>,
    ) -> Result<(), Failure> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        let mut download = self.publishers.following(followed).await?;
        for package in packages {
            if let Err(failure) = self.learn(&mut download, rules, followed, package).await {
                failed.get_or_insert(failure);
                // A new download, because the failed one still has open wants.
                download = self.publishers.following(followed).await?;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn learn(
        &self,
        download: &mut Download,
        rules: &[Chosen],
        followed: &Followed,
        package: &PackageId,
    ) -> Result<(), Failure> {
        let publisher = followed.entry.chain.publisher();
        let covering = rules.iter().filter(|rule| rule.covers(&publisher, package));
        let most = covering.map(|rule| rule.rule.versions.map_or(MAX_VERSIONS, |versions| versions as usize)).max();
        let most = most.unwrap_or(0).min(MAX_VERSIONS);
        let versions = walk(download, followed.head.head().record().catalog, package).await?;
        let name = package.clone();
        let known = self.mirror.book.with(move |book| book.releases_of(&publisher, &name)).await?;
        let mut offered = Vec::new();
        let mut failed = None;
        for entry in looked_at(&versions, most, &known) {
            match known.iter().find(|known| known.release == *entry.release.cid()) {
                Some(known) => offered.push(known.clone()),
                None => match self.candidate(download, followed, package, entry).await {
                    Ok(candidate) => offered.push(candidate),
                    Err(failure) => {
                        failed.get_or_insert(failure);
                        *download = self.publishers.following(followed).await?;
                    }
                },
            }
        }
        let package = package.clone();
        self.mirror.book.with(move |book| book.offer(&publisher, &package, &offered)).await?;
        failed.map_or(Ok(()), Err)
    }

    async fn candidate(
        &self,
        download: &mut Download,
        followed: &Followed,
        package: &PackageId,
        entry: &VersionEntry,
    ) -> Result<Candidate, Failure> {
        download.search_under(entry.release.cid());
        let release = release_of(&self.storage, download, &followed.entry.chain, package, entry).await?;
        let record = release.record();
        // The size of the blocks, not the size that the release states, so that a publisher cannot evade the budget.
        let on_error = |error| failure::download(&record.manifest, error);
        let root = download.block(record.manifest).await.map_err(on_error)?;
        let manifest = record.read_manifest(&root).map_err(failure::verification)?;
        let records = record.manifest_bytes.saturating_add(release.envelope().payload().len() as u64);
        Ok(Candidate {
            publisher: record.publisher,
            package: package.clone(),
            version: entry.version.clone(),
            release: *release.cid(),
            content: record.content,
            bytes: manifest.content_bytes().saturating_add(records),
            created: record.created.min(clock::now()),
            offered: true,
            held: false,
        })
    }
}

/// Returns the relevant versions of a package: the newest `most` that are not yanked, and those that are held, which
/// stay until newer ones are held.
fn looked_at<'a>(versions: &'a [VersionEntry], most: usize, known: &[Candidate]) -> Vec<&'a VersionEntry> {
    let is_held = |entry: &VersionEntry| known.iter().any(|known| known.held && known.release == *entry.release.cid());
    let offered = versions.iter().rev().filter(|entry| !entry.yanked).enumerate();
    offered.filter(|(place, entry)| *place < most || is_held(entry)).map(|(_, entry)| entry).collect()
}
