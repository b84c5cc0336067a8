//! The publisher's side: the records to sign and the blocks to store for a release, a yank or a rotation. Performs no
//! I/O: the caller stores the blocks, then the envelopes, then announces the head.

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

/// A publisher's identity, keys and latest head. The head must be the latest: a publisher that signs on two machines
/// must fetch it first, or it forks its own log.
#[derive(Clone, Copy, Debug)]
pub struct PublisherState<'a> {
    /// The identity chain.
    pub chain: &'a IdentityChain,
    /// Keys that sign: at least the threshold of the chain's last document.
    pub keys: &'a [&'a KeyPair],
    /// The latest head; none before the first publication.
    pub head: Option<&'a VerifiedHead>,
}

/// The signed records of one action of a publisher.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The release, if the action published one.
    pub release: Option<Signed<Release>>,
    /// The log entry.
    pub log: Signed<LogEntry>,
    /// The head that names the log entry.
    pub head: VerifiedHead,
    /// Every block to store: identity documents, release, log entry, head, catalog nodes.
    pub blocks: Vec<Block>,
}

/// Result of a publication attempt.
#[derive(Clone, Debug)]
pub enum PublishOutcome {
    /// Signed; the caller must store and announce it.
    Published(Box<Publication>),
    /// The version is already published with the same content: nothing to do.
    Unchanged {
        /// The published release.
        release: Box<Cid>,
    },
}

/// Checks that peers will accept what is signed on top of `head` at `now`. A head later than `now` means that its
/// signer's clock was fast or that `now` is slow; only the user can decide which. Peers refuse a head from their
/// future. If the user signs regardless, the new head has time `now` and still supersedes the other one, because heads
/// are ordered by their sequence and not by their time.
///
/// # Errors
/// [`PublicationError::Clock`] if the two differ by more than [`CLOCK_TOLERANCE`].
pub fn check_clock(head: &VerifiedHead, now: Timestamp) -> Result<(), PublicationError> {
    match is_later(head, now) {
        true => Err(PublicationError::Clock { issued: head.head().record().issued, now }),
        false => Ok(()),
    }
}

/// Returns whether the head was signed later than `now` by more than [`CLOCK_TOLERANCE`]. Refreshes do not count,
/// because the next head replaces them.
fn is_later(head: &VerifiedHead, now: Timestamp) -> bool {
    head.head().record().issued > now.plus(CLOCK_TOLERANCE)
}

/// Publishes a release: sets its predecessor, and signs the release, its log entry and a new head. `get` reads blocks
/// of the publisher's own records. The version may be lower than published ones, as that of a maintenance release.
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

/// Yanks a version, or takes a yank back; one that is named without its build metadata, too. `None` if that is how it stands already. A yanked version may be yanked again
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
    let mut entries = tree.versions(package)?;
    let at = VersionEntry::position(&entries, version);
    let Some(mut entry) = at.map(|at| entries.swap_remove(at)) else {
        return Err(PublicationError::NoSuchVersion { package: package.clone(), version: version.clone() });
    };
    let (package, version) = (package.clone(), entry.version.clone());
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

/// Appends the rotation of `state.chain` to the log, and signs a head under the chain's last document. Returns `None`
/// if there is no log yet, because the first publication names the document anyway.
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

/// Signs a refresh, which states that `head` is still the latest. `key` is the timestamp key or, with a threshold of
/// one, a signing key.
///
/// # Errors
/// [`PublicationError`] if the key is not authorised.
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

/// Compares with the published release of the version: the same content means that nothing is to do, other content is
/// an error.
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

/// Checks that a version does not differ from a published one in its build metadata alone: neither of such versions is
/// the newer one.
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

/// Checks that a release has the same tree as the published release of its version: the files, and which of them are
/// executable.
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
    // If the clock was set back a little, the new head keeps the former time, so that it does not look older than the
    // head it follows. If it was set back by more, the former time lies in the future, and peers would refuse the new
    // head with it.
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
