//! The publisher's side: what to sign and to store for a release, a yank or a rotation. Pure: the caller stores
//! the blocks, then the envelopes, then announces the head.

use bytes::Bytes;
use ggen_blockstore::{Block, Cid};
use semver::Version;

use crate::{
    identity::{Envelope, IdentityChain, KeyPair, Record, RecordCid, Signed, Timestamp},
    index::{
        CLOCK_TOLERANCE, CatalogTree, HEAD_LIFETIME, Head, LogAction, LogEntry, PublicationError, Refresh, TreeError,
        VerifiedHead, VersionEntry,
    },
    package::{PackageId, Release},
};

/// Who publishes, and where its log stands. The head must be the latest: a publisher that signs on two machines
/// fetches it first, or it forks its own log.
#[derive(Clone, Copy, Debug)]
pub struct PublisherState<'a> {
    /// The identity chain.
    pub chain: &'a IdentityChain,
    /// Keys that sign: at least the threshold of the chain's last document.
    pub keys: &'a [&'a KeyPair],
    /// The latest head; none before the first publication.
    pub head: Option<&'a VerifiedHead>,
}

/// A signed step of a publisher.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The release, if the step published one.
    pub release: Option<Signed<Release>>,
    /// The log entry.
    pub log: Signed<LogEntry>,
    /// The head that stands for it.
    pub head: VerifiedHead,
    /// Every block to store: identity documents, release, log entry, head, catalog nodes.
    pub blocks: Vec<Block>,
}

/// What came of a wish to publish.
#[derive(Clone, Debug)]
pub enum PublishOutcome {
    /// Signed, to be stored and announced.
    Published(Box<Publication>),
    /// The version is there with the same content: nothing to do.
    Unchanged {
        /// The release that is there.
        release: Box<Cid>,
    },
}

/// Says whether what is signed on top of `head` at `now` looks right to others. A head of a later time than `now` was signed
/// by a clock that was fast, or `now` is slow: only the user knows. All others refuse a head from their future, and one
/// that has expired. Whoever signs all the same gets a head of `now`, which follows the other one: heads are ordered by
/// their sequence, not by their time.
///
/// # Errors
/// [`PublicationError::Clock`] if the two differ by more than [`CLOCK_TOLERANCE`].
pub fn check_clock(head: &VerifiedHead, now: Timestamp) -> Result<(), PublicationError> {
    match is_later(head, now) {
        true => Err(PublicationError::Clock { issued: head.head().record().issued, now }),
        false => Ok(()),
    }
}

/// Whether the head was signed later than `now`, by more than clocks differ. Its refreshes do not count: what follows it
/// replaces them.
fn is_later(head: &VerifiedHead, now: Timestamp) -> bool {
    head.head().record().issued > now.plus(CLOCK_TOLERANCE)
}

/// Publishes a release: sets its predecessor, signs it, its log entry and a new head. `get` reads blocks of the
/// publisher's own records. The version may be lower than others: a maintenance release follows newer ones.
///
/// # Errors
/// [`PublicationError`].
pub fn publish<G>(
    state: PublisherState<'_>,
    mut release: Release,
    get: G,
    now: Timestamp,
) -> Result<PublishOutcome, PublicationError>
where
    G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
{
    if release.publisher != state.chain.publisher() {
        return Err(PublicationError::OtherPublisher {
            release: Box::new(release.publisher),
            publisher: Box::new(state.chain.publisher()),
        });
    }
    let mut tree = CatalogTree::new(state.catalog(), &get);
    let published = tree.versions(&release.package)?;
    if let Some(entry) = published.iter().find(|entry| entry.version == release.version) {
        return compare_published(entry, &release, get);
    }
    check_build(&release.package, &release.version, published.iter().map(|entry| &entry.version))?;
    let lower = published.iter().rev().find(|entry| entry.version < release.version);
    release.predecessor = lower.map(|entry| entry.release);
    let release = Signed::sign(release, state.keys)?;
    let record = release.record();
    let (package, version) = (record.package.clone(), record.version.clone());
    let reference = reference(&release);
    let signatures = release.envelope().signatures().to_vec();
    let entry = VersionEntry { version: version.clone(), release: reference, yanked: false, reason: None, signatures };
    tree.insert(&package, entry)?;
    let action = LogAction::Release { package, version, release: reference };
    let mut publication = sign_step(state, tree, action, now)?;
    publication.blocks.push(release.envelope().block()?);
    publication.release = Some(release);
    Ok(PublishOutcome::Published(Box::new(publication)))
}

/// Yanks a version, or takes a yank back. `None` if that is how it stands already. A yanked version may be yanked again
/// with another reason, which replaces the one before.
///
/// # Errors
/// [`PublicationError::NoSuchVersion`] for a version that is not in the publisher's catalog.
pub fn set_yanked<G>(
    state: PublisherState<'_>,
    (package, version): (&PackageId, &Version),
    yanked: Option<Option<String>>,
    get: G,
    now: Timestamp,
) -> Result<Option<Publication>, PublicationError>
where
    G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
{
    let mut tree = CatalogTree::new(state.catalog(), get);
    let entry = tree.versions(package)?.into_iter().find(|entry| entry.version == *version);
    let (package, version) = (package.clone(), version.clone());
    let Some(mut entry) = entry else { return Err(PublicationError::NoSuchVersion { package, version }) };
    let other_reason = yanked.as_ref().is_some_and(|reason| reason.is_some() && *reason != entry.reason);
    if entry.yanked == yanked.is_some() && !other_reason {
        return Ok(None);
    }
    let release = entry.release;
    entry.yanked = yanked.is_some();
    entry.reason = yanked.clone().flatten();
    tree.insert(&package, entry)?;
    let action = match yanked {
        Some(reason) => LogAction::Yank { package, version, release, reason },
        None => LogAction::Unyank { package, version, release },
    };
    sign_step(state, tree, action, now).map(Some)
}

/// Writes into the log that `state.chain` was rotated, and signs a head under its last document. `None` where there
/// is no log yet: the first publication names the document anyway.
///
/// # Errors
/// [`PublicationError`].
pub fn rotate<G>(state: PublisherState<'_>, get: G, now: Timestamp) -> Result<Option<Publication>, PublicationError>
where
    G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
{
    if state.head.is_none() {
        return Ok(None);
    }
    let tree = CatalogTree::new(state.catalog(), get);
    sign_step(state, tree, LogAction::Rotation { identity: state.chain.current_reference() }, now).map(Some)
}

/// Says that `head` is still the latest. `key` is the timestamp key or, with a threshold of one, a signing key.
///
/// # Errors
/// [`PublicationError`] if the key may not.
pub fn refresh(
    head: &VerifiedHead,
    chain: &IdentityChain,
    key: &KeyPair,
    now: Timestamp,
) -> Result<VerifiedHead, PublicationError> {
    let issued = now.max(head.issued());
    let record = Refresh {
        publisher: chain.publisher(),
        head: reference(head.head()),
        issued,
        expires: issued.plus(HEAD_LIFETIME),
    };
    let envelope = Envelope::sign(&record, &[key])?;
    Ok(VerifiedHead::verify(head.head().envelope().clone(), Some(envelope), chain, issued)?)
}

impl PublisherState<'_> {
    fn catalog(&self) -> Option<RecordCid> {
        self.head.map(|head| head.head().record().catalog)
    }
}

/// The version is published already: the same content is nothing to do, other content an error.
fn compare_published<G>(entry: &VersionEntry, release: &Release, get: G) -> Result<PublishOutcome, PublicationError>
where
    G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
{
    let cid = Box::new(*entry.release.cid());
    let payload = get(&cid).map_err(TreeError::from)?;
    let payload = payload.ok_or_else(|| PublicationError::MissingRelease { release: cid.clone() })?;
    check_same_tree(&Release::from_payload(&payload)?, release)?;
    Ok(PublishOutcome::Unchanged { release: cid })
}

/// Checks that a version does not differ from a published one in its build metadata alone: such versions have no order, so
/// that none of them would be the newer one.
pub(crate) fn check_build<'a>(
    package: &PackageId,
    version: &Version,
    published: impl IntoIterator<Item = &'a Version>,
) -> Result<(), PublicationError> {
    let other = |existing: &&Version| existing.cmp_precedence(version).is_eq() && *existing != version;
    match published.into_iter().find(other).cloned() {
        Some(existing) => {
            Err(PublicationError::OtherBuild { package: package.clone(), version: version.clone(), existing })
        }
        None => Ok(()),
    }
}

/// Checks that a release has the tree of the published one of its version: files, and which of them are executable.
pub(crate) fn check_same_tree(existing: &Release, offered: &Release) -> Result<(), PublicationError> {
    let (package, version) = (existing.package.clone(), existing.version.clone());
    if existing.content != offered.content {
        return Err(PublicationError::VersionTaken { package, version, existing: Box::new(existing.content) });
    }
    if (&existing.executables, existing.executables_block) == (&offered.executables, offered.executables_block) {
        return Ok(());
    }
    let differs = |path: &&String| !existing.executables.contains(path) || !offered.executables.contains(path);
    let path = existing.executables.iter().chain(&offered.executables).find(differs).cloned();
    Err(PublicationError::OtherExecutables { package, version, path })
}

fn sign_step<G>(
    state: PublisherState<'_>,
    tree: CatalogTree<G>,
    action: LogAction,
    now: Timestamp,
) -> Result<Publication, PublicationError>
where
    G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
{
    let (catalog, mut blocks) = tree.finish();
    let catalog = catalog.expect("a log with an entry has a catalog");
    let before = state.head.map(|head| head.head().record());
    // A clock that was set back a little must not make the new head look older than the one it follows. One that was set
    // back by more would make the new head one from the future, which others refuse.
    let former = state.head.filter(|head| !is_later(head, now));
    let issued = former.map_or(now, |head| now.max(head.head().record().issued));
    let entry = LogEntry {
        publisher: state.chain.publisher(),
        seq: before.map_or(1, |head| head.log_seq + 1),
        prev: before.map(|head| head.log),
        identity_seq: state.chain.seq(),
        action,
        created: issued,
    };
    let log = Signed::sign(entry, state.keys)?;
    state.chain.authorise(&log)?;
    let head = Head {
        publisher: state.chain.publisher(),
        identity: state.chain.current_reference(),
        identity_seq: state.chain.seq(),
        log: reference(&log),
        log_seq: log.record().seq,
        catalog,
        issued,
        expires: issued.plus(HEAD_LIFETIME),
    };
    let head = VerifiedHead::verify(Envelope::sign(&head, state.keys)?, None, state.chain, issued)?;
    blocks.extend(state.chain.blocks()?);
    blocks.push(log.envelope().block()?);
    blocks.push(head.head().envelope().block()?);
    Ok(Publication { release: None, log, head, blocks })
}

fn reference<T: Record>(signed: &Signed<T>) -> RecordCid {
    RecordCid::new(*signed.cid()).expect("a payload's CID is CIDv1, dag-cbor, sha2-256")
}

#[cfg(test)]
mod tests;
