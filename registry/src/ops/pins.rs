//! Pins of the user: data that stays in the store although this home neither published nor mirrors it.
//!
//! The label records the target that was pinned, so that the same target removes the pin: `user` for a CID,
//! `user/<publisher>/ns/name@version` for a name (in former versions of this program: `user/ns/name@version`),
//! `user/ipfs/<cid>/path` for a path. For a name, the path through the publisher's current catalog tree is pinned too,
//! so that the name also resolves offline.

mod kept;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use ggen_blockstore::{Block, Blockstore, Cid, MAX_PIN_LABEL_BYTES, Pin, PinMode};
use semver::Version;

pub(crate) use self::kept::KeptPins;
use super::{
    download::Download,
    downloads::Downloads,
    failure,
    resolve::walk,
    retrieval::{Found, Retriever},
    storage::Storage,
};
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, Operation, PinReport, PinRequest, Reporter,
    error::hint,
    identity::PublisherId,
    index::Walk,
    package::{PackageId, Release, Target, nearest_package},
};

/// Label of pins by CID. The other labels of the user's pins begin with it.
const USER: &str = "user";

/// The user's pins.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    pub(super) storage: Storage,
    pub(super) downloads: Downloads,
    pub(super) retriever: Retriever,
    pub(super) kept: Arc<KeptPins>,
}

impl Pins {
    /// Fetches a target into the store and pins it.
    pub(crate) async fn add(
        &self,
        request: PinRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Vec<PinReport>, Failure> {
        let target = failure::target(&request.target)?;
        let typed = target.clone();
        let mut download = self.downloads.open(&fetch_request(&request), reporter.clone()).await?;
        let found = self.retriever.bring(&mut download, target, &reporter).await?;
        let label = label(&typed, &found);
        let mut pins = pins_of(&found, &label);
        if let (Some(publisher), Some((_, release))) = (found.publisher, &found.release) {
            for cid in self.path_to(&mut download, publisher, &release.package).await? {
                pins.push(Pin { label: label.clone(), cid, mode: PinMode::Direct });
            }
        }
        let reason = found.yank.as_ref().and_then(|yank| yank.reason.clone());
        let report = |pin| PinReport { yanked: found.yank.is_some(), yank_reason: reason.clone(), ..report(pin) };
        let reports = pins.iter().map(report).collect();
        let (store, kept) = (self.storage.store.clone(), self.kept.clone());
        self.storage.run(move || kept.add(&*store, pins).map_err(failure::store)).await?;
        Ok(reports)
    }

    /// Fetches and returns the path through the publisher's current catalog tree to a package.
    async fn path_to(
        &self,
        download: &mut Download,
        publisher: PublisherId,
        package: &PackageId,
    ) -> Result<Vec<Cid>, Failure> {
        let known = self.storage.with_catalog(move |catalog| catalog.publisher(&publisher)).await?;
        let Some(head) = known.and_then(|known| known.head) else { return Ok(Vec::new()) };
        let root = head.head().record().catalog;
        walk(download, root, package).await?;
        let (store, package) = (self.storage.store.clone(), package.clone());
        self.storage
            .run(move || {
                let found =
                    Walk::new(&root, &package).run(|cid| store.get(cid)).map_err(|error| failure::tree(&error))?;
                let blocks = found.proof.into_iter().map(Block::dag_cbor);
                blocks.map(|block| Ok(*block.map_err(failure::store)?.cid())).collect()
            })
            .await
    }

    /// Removes the user's pins of a target. A name is not resolved: it selects the pins that were made by this name.
    pub(crate) async fn remove(&self, request: PinRequest) -> Result<Vec<PinReport>, Failure> {
        let (store, kept) = (self.storage.store.clone(), self.kept.clone());
        self.storage
            .run(move || {
                let pins: Vec<Pin> = store.pins().into_iter().filter(is_users).collect();
                // The target may be a label as `pin ls` shows it, except `user`, which many pins share.
                let shown = |pin: &&Pin| pin.label == request.target && pin.label != USER;
                let mut chosen: Vec<&Pin> = pins.iter().filter(shown).collect();
                if chosen.is_empty() {
                    let target = failure::target(&request.target)?;
                    chosen = pins.iter().filter(|pin| is_meant(&*store, &pins, pin, &target)).collect();
                    refuse_ambiguous(&chosen, &target)?;
                }
                if chosen.is_empty() {
                    let message = format!("you have not pinned `{}`", request.target);
                    let failure = Failure::new(ErrorKind::NotFound, message);
                    return Err(failure.hinted(match nearest_pinned(&pins, &request.target) {
                        Some(near) => hint![format!("did you mean `{near}`? "), Operation::PinLs, " lists your pins"],
                        None => hint![Operation::PinLs, " lists your pins"],
                    }));
                }
                kept.remove(&*store, &chosen).map_err(failure::store)?;
                Ok(chosen.into_iter().map(report).collect())
            })
            .await
    }

    /// Lists all pins, including those of releases, records and mirrors.
    pub(crate) fn list(&self) -> Vec<PinReport> {
        self.storage.store.pins().iter().map(report).collect()
    }
}

fn fetch_request(request: &PinRequest) -> FetchRequest {
    FetchRequest {
        target: request.target.clone(),
        to: FetchTo::NamedIn(PathBuf::new()),
        timeout: request.timeout,
        offline: request.offline,
        providers: Vec::new(),
        min_reputation: None,
    }
}

/// Returns the pins that keep a found target.
pub(super) fn pins_of(found: &Found, label: &str) -> Vec<Pin> {
    match &found.release {
        Some((cid, release)) => pins_of_release(cid, release, label),
        None => vec![Pin { label: label.to_owned(), cid: found.content, mode: PinMode::Recursive }],
    }
}

/// Returns the pins that keep a release: its record with manifest and content, and its list of executables, to which
/// the record does not link.
pub(super) fn pins_of_release(cid: &Cid, release: &Release, label: &str) -> Vec<Pin> {
    let pin = |cid: Cid, mode| Pin { label: label.to_owned(), cid, mode };
    let mut pins = vec![pin(*cid, PinMode::Recursive)];
    pins.extend(release.executables_block.iter().map(|block| pin(*block.cid(), PinMode::Direct)));
    pins
}

/// Sets pins and makes them durable.
pub(super) async fn set(storage: &Storage, pins: Vec<Pin>) -> Result<(), Failure> {
    let store = storage.store.clone();
    storage
        .run(move || {
            pins.into_iter().try_for_each(|pin| store.pin(pin)).map_err(failure::store)?;
            store.sync().map_err(failure::store)
        })
        .await
}

/// Returns the label for a pinned target. A path that is too long for a label is pinned like a CID.
fn label(typed: &Target, found: &Found) -> String {
    let said = match (typed, &found.release, &found.publisher) {
        (Target::Package { .. }, Some((_, release)), Some(publisher)) => {
            format!("{USER}/{publisher}/{}@{}", release.package, release.version)
        }
        (Target::Content { cid, path }, ..) if !path.is_empty() => path_label(cid, path),
        _ => USER.to_owned(),
    };
    if said.len() > MAX_PIN_LABEL_BYTES { USER.to_owned() } else { said }
}

fn path_label(cid: &Cid, path: &[String]) -> String {
    format!("{USER}/ipfs/{cid}/{}", path.join("/"))
}

/// A package that was pinned by its name.
struct Named {
    /// `None` in a label of a former version, which lacks the publisher.
    publisher: Option<PublisherId>,
    package: PackageId,
    version: Version,
}

impl Named {
    fn read(label: &str) -> Option<Self> {
        let (name, version) = label.strip_prefix(USER)?.strip_prefix('/')?.rsplit_once('@')?;
        let (publisher, package) = match name.split_once('/')? {
            (publisher, package) if package.contains('/') => (Some(publisher.parse().ok()?), package),
            _ => (None, name),
        };
        Some(Self { publisher, package: package.parse().ok()?, version: version.parse().ok()? })
    }

    /// Returns the publisher, as far as the label states it.
    fn owner(&self) -> String {
        self.publisher.as_ref().map_or_else(|| "a publisher that the pin does not name".to_owned(), ToString::to_string)
    }
}

/// Fails if a name without a publisher selects pins of several publishers.
fn refuse_ambiguous(chosen: &[&Pin], target: &Target) -> Result<(), Failure> {
    let Target::Package { publisher: None, package, .. } = target else { return Ok(()) };
    let owners: BTreeSet<String> = chosen.iter().filter_map(|pin| Some(Named::read(&pin.label)?.owner())).collect();
    if owners.len() < 2 {
        return Ok(());
    }
    let message = format!("you have pinned `{package}` of {} publishers", owners.len());
    let causes = owners.iter().map(|owner| format!("{owner}/{package}")).collect();
    let failure = Failure { causes, ..Failure::new(ErrorKind::Usage, message) };
    Err(failure.hinted(hint![
        "name the publisher you mean: `<publisher>/ns/name`, or the pin as ",
        Operation::PinLs,
        " shows it"
    ]))
}

/// Returns the package pinned by name whose name is closest to a misspelt target.
fn nearest_pinned(pins: &[Pin], target: &str) -> Option<PackageId> {
    let Ok(Target::Package { package, .. }) = target.parse() else { return None };
    nearest_package(&package, pins.iter().filter_map(|pin| Some(Named::read(&pin.label)?.package)))
}

fn is_users(pin: &Pin) -> bool {
    pin.label == USER || pin.label.strip_prefix(USER).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns whether `target` selects a pin of the user.
fn is_meant(store: &dyn Blockstore, pins: &[Pin], pin: &Pin, target: &Target) -> bool {
    match target {
        Target::Content { cid, path } if !path.is_empty() => pin.label == path_label(cid, path),
        Target::Content { cid, .. } if pin.label == USER => {
            let same = |other: &Pin| other.cid == *cid && other.label == pin.label;
            // The list of executables is pinned with its release, under the same label.
            pin.cid == *cid || (belongs_to(store, cid, &pin.cid) && pins.iter().any(same))
        }
        // All pins with the same name label are selected together.
        Target::Content { cid, .. } => {
            let root = |other: &Pin| other.mode == PinMode::Recursive && other.cid == *cid;
            pins.iter().any(|other| other.label == pin.label && root(other))
        }
        Target::Package { publisher, package, requirement } => Named::read(&pin.label).is_some_and(|named| {
            publisher.is_none_or(|publisher| Some(publisher) == named.publisher)
                && named.package == *package
                && requirement.matches(&named.version)
        }),
        Target::Ipns { .. } => false,
    }
}

fn belongs_to(store: &dyn Blockstore, release: &Cid, block: &Cid) -> bool {
    let payload = store.get(release).ok().flatten();
    let release = payload.and_then(|payload| crate::identity::Record::from_payload(&payload).ok());
    release.and_then(|release: Release| release.executables_block).is_some_and(|cid| cid.cid() == block)
}

pub(super) fn report(pin: &Pin) -> PinReport {
    let mode = match pin.mode {
        PinMode::Direct => "direct",
        _ => "recursive",
    };
    let (cid, mode, label) = (pin.cid.to_string(), mode.to_owned(), pin.label.clone());
    PinReport { cid, mode, label, yanked: false, yank_reason: None }
}

#[cfg(test)]
mod tests;
