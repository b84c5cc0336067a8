//! The records that this home has signed: the length of its log, and the rebuilding of lost blocks.
//!
//! A publisher without peers cannot fetch a lost node of its own catalog tree, and cannot sign anything without it. Log
//! and releases are kept twice, in the catalog database and as blocks of the store. Either copy is enough to rebuild
//! the tree. A rebuilt tree is used only if its root is the one in the head.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ggen_blockstore::{Block, Blockstore, Cid, DAMAGE, Error, Pin, PinMode, parse_cid};
use tokio::sync::Mutex;

use super::{RECORD, STEP_ADDED, Steps, failure, storage::Storage};
use crate::{
    Failure,
    identity::{IdentityChain, KeyPair, PublisherId, Record as _, RecordCid, Signed},
    index::{Catalog, Claim, Head, LogAction, LogEntry, VerifiedHead, VersionEntry, Walk, replay, write_tree},
    package::{PackageId, Release},
};

/// The sources from which the records of a publisher of this home are rebuilt.
pub(crate) struct OwnRecords<'a> {
    pub(crate) store: &'a dyn Blockstore,
    pub(crate) catalog: &'a Catalog,
    /// Signs releases again of which only the payload is stored. The signatures are deterministic.
    pub(crate) signing: Option<&'a KeyPair>,
}

/// A log, oldest entry first, with the block of each.
type Log = Vec<(LogEntry, Block)>;

impl<'a> OwnRecords<'a> {
    /// The records in a home. Releases of which only the payload is stored cannot be rebuilt.
    pub(super) fn of(storage: &'a Storage) -> Self {
        Self { store: &*storage.store, catalog: &storage.catalog, signing: None }
    }

    /// Restores the lost or damaged blocks of everything that `head` refers to: identity chain, log, catalog tree,
    /// release records, and the head itself. Pins all of them. Returns the number of restored blocks; 0 if too little
    /// is left to rebuild the catalog tree of the head.
    pub(crate) fn put_back(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<u64, Failure> {
        // A superseded head must not be pinned again: its pin would mark it as the last one.
        if SignedHere::of(self.store, &chain.publisher()).log_seq > head.order().log_seq {
            return Ok(0);
        }
        let Some(blocks) = self.blocks(chain, head)? else { return self.put_back_tree(head) };
        let _kept_until_it_is_pinned = self.store.lease();
        let mut lost = Vec::new();
        for block in &blocks {
            match self.store.get(block.cid()) {
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(Error::Corrupt { .. }) => drop(self.store.delete_many(&[*block.cid()]).map_err(failure::store)?),
                Err(error) => return Err(failure::store(error)),
            }
            lost.push(block.clone());
        }
        if lost.is_empty() {
            return Ok(0);
        }
        self.store.put_many(&lost).map_err(failure::store)?;
        let pinned: BTreeSet<Cid> = records(self.store).into_iter().collect();
        for block in blocks.iter().filter(|block| !pinned.contains(block.cid())) {
            let pin = Pin { label: RECORD.to_owned(), cid: *block.cid(), mode: PinMode::Direct };
            self.store.pin(pin).map_err(failure::store)?;
        }
        self.store.sync().map_err(failure::store)?;
        tracing::warn!(target: DAMAGE, blocks = lost.len(), "records of what was published here were lost and are made again");
        Ok(lost.len() as u64)
    }

    /// As [`put_back`](Self::put_back), for the highest known head of a publisher, if it is a publisher of this home.
    pub(crate) fn put_back_of(&self, publisher: &PublisherId) -> Result<u64, Failure> {
        if self.catalog.log(publisher, 0, 1).map_err(failure::catalog)?.is_empty() {
            return Ok(0);
        }
        let known = self.catalog.publisher(publisher).map_err(failure::catalog)?;
        match known.and_then(|known| Some((known.chain, known.head?))) {
            Some((chain, head)) => self.put_back(&chain, &head),
            None => Ok(0),
        }
    }

    /// Puts the catalog that `head` names into the store if the releases of the catalog database add up to it, and these. The
    /// head was signed elsewhere, or before a backup was restored: there is no log of it here, and nothing to pin. Returns how
    /// many blocks were lost.
    fn put_back_tree(&self, head: &VerifiedHead) -> Result<u64, Failure> {
        let record = head.head().record();
        let (mut packages, mut blocks) = (BTreeMap::new(), Vec::new());
        for package in self.catalog.packages_of(&record.publisher).map_err(failure::catalog)? {
            let mut releases = self.catalog.releases(&package).map_err(failure::catalog)?;
            releases.retain(|known| known.release.record().publisher == record.publisher);
            releases.sort_by(|a, b| a.release.record().version.cmp(&b.release.record().version));
            let claim = self.catalog.claim_with_yanks(&record.publisher, &package).map_err(failure::catalog)?;
            let yanks = claim.as_ref().map(Claim::versions).unwrap_or_default();
            let mut versions = Vec::with_capacity(releases.len());
            for known in &releases {
                let Some(entry) = known.as_version() else { return Ok(0) };
                let yank = yanks.iter().find(|yank| yank.version == entry.version && entry.yanked);
                versions.push(VersionEntry { reason: yank.and_then(|yank| yank.reason.clone()), ..entry });
                blocks.push(known.release.envelope().block().map_err(failure::failed)?);
            }
            packages.insert(package, versions);
        }
        let tree = write_tree(packages).map_err(failure::failed)?;
        let Some((_, tree)) = tree.filter(|(root, _)| *root == record.catalog) else { return Ok(0) };
        blocks.extend(tree);
        blocks.retain(|block| !matches!(self.store.get(block.cid()), Ok(Some(_))));
        let damaged: Vec<_> = blocks.iter().map(|block| *block.cid()).collect();
        // A damaged block would be taken for one that is here.
        self.store.delete_many(&damaged).map_err(failure::store)?;
        self.store.put_many(&blocks).map_err(failure::store)?;
        Ok(blocks.len() as u64)
    }

    /// Every block of what a head stands for, but for content and manifests; `None` if something of it is nowhere.
    fn blocks(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<Option<Vec<Block>>, Failure> {
        let record = head.head().record();
        let Some(log) = self.log(&chain.publisher(), record)? else { return Ok(None) };
        let mut releases = HashMap::new();
        for (entry, _) in &log {
            if let LogAction::Release { release, .. } = &entry.action {
                let Some(release) = self.release(release.cid())? else { return Ok(None) };
                releases.insert(*release.cid(), release);
            }
        }
        let signatures = |cid: &Cid| releases.get(cid).map(|release| release.envelope().signatures().to_vec());
        let tree = replay(log.iter().map(|(entry, _)| entry), signatures).map_err(failure::failed)?;
        let Some((_, mut blocks)) = tree.filter(|(root, _)| *root == record.catalog) else { return Ok(None) };
        blocks.extend(chain.blocks().map_err(failure::failed)?);
        blocks.extend(log.into_iter().map(|(_, block)| block));
        for envelope in releases.values().map(Signed::envelope).chain([head.head().envelope()]) {
            blocks.push(envelope.block().map_err(failure::failed)?);
        }
        Ok(Some(blocks))
    }

    /// Returns the log up to the entry in the head, from the catalog database or the store; `None` if an entry is in
    /// neither.
    fn log(&self, publisher: &PublisherId, head: &Head) -> Result<Option<Log>, Failure> {
        let known = self.catalog.log(publisher, 0, usize::MAX).map_err(failure::catalog)?;
        let mut known: HashMap<Cid, Signed<LogEntry>> = known.into_iter().map(|entry| (*entry.cid(), entry)).collect();
        let (mut log, mut next) = (Vec::new(), Some(head.log));
        while let Some(cid) = next {
            let found = match known.remove(cid.cid()) {
                Some(entry) => Some((entry.envelope().block().map_err(failure::failed)?, entry.into_record())),
                None => readable(self.store, cid.cid()).and_then(|payload| {
                    Some((Block::dag_cbor(payload.clone()).ok()?, LogEntry::from_payload(&payload).ok()?))
                }),
            };
            let Some((block, entry)) = found.filter(|(_, entry)| entry.publisher == *publisher) else {
                return Ok(None);
            };
            next = entry.prev;
            log.push((entry, block));
        }
        log.reverse();
        Ok(Some(log))
    }

    fn release(&self, cid: &Cid) -> Result<Option<Signed<Release>>, Failure> {
        if let Some(known) = self.catalog.release(cid).map_err(failure::catalog)? {
            return Ok(Some(known.release));
        }
        let Some((signing, payload)) = self.signing.zip(readable(self.store, cid)) else { return Ok(None) };
        let signed = Release::from_payload(&payload).and_then(|release| Signed::sign(release, &[signing]));
        Ok(signed.ok().filter(|release| release.cid() == cid))
    }
}

/// What the records in the store show of a publisher's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedHere {
    /// Length of its log, as far as entries, heads and releases show it.
    pub(crate) log_seq: u64,
    /// Whether some records cannot be read. They may belong to any publisher.
    pub(crate) has_unreadable: bool,
}

impl SignedHere {
    /// Reads the pinned records, except those of a publish that is not committed.
    pub(crate) fn of(store: &dyn Blockstore, publisher: &PublisherId) -> Self {
        let mut signed = Self { log_seq: 0, has_unreadable: false };
        for cid in records(store) {
            let Some(payload) = readable(store, &cid) else {
                signed.has_unreadable = true;
                continue;
            };
            let head = Head::from_payload(&payload).ok().map(|head| (head.publisher, head.log_seq));
            let entry = || LogEntry::from_payload(&payload).ok().map(|entry| (entry.publisher, entry.seq));
            let release = || Release::from_payload(&payload).ok().map(|release| (release.publisher, 1));
            if let Some((_, log_seq)) = head.or_else(entry).or_else(release).filter(|(whose, _)| whose == publisher) {
                signed.log_seq = signed.log_seq.max(log_seq);
            }
        }
        signed
    }
}

/// Returns the pinned records of all publishers of this home, except those of a publish that is not committed.
pub(crate) fn records(store: &dyn Blockstore) -> Vec<Cid> {
    let pins = store.pins();
    let unmade = |label: &str| label.strip_prefix(STEP_ADDED).and_then(|head| parse_cid(head).ok());
    let unmade: BTreeSet<Cid> = pins.iter().filter(|pin| unmade(&pin.label).is_some()).map(|pin| pin.cid).collect();
    let records = pins.into_iter().filter(|pin| pin.label == RECORD).map(|pin| pin.cid);
    records.filter(|cid| !unmade.contains(cid)).collect()
}

/// Returns whether a block is one of [`records`].
pub(crate) fn is_record(store: &dyn Blockstore, cid: &Cid) -> bool {
    let pins = store.pins_of(cid);
    pins.iter().any(|pin| pin.label == RECORD) && !pins.iter().any(|pin| pin.label.starts_with(STEP_ADDED))
}

fn readable(store: &dyn Blockstore, cid: &Cid) -> Option<bytes::Bytes> {
    store.get(cid).ok().flatten()
}

/// Rebuilds the lost records of all publishers of this home. Waits for a publish in progress. Returns the number of
/// restored blocks.
pub(super) async fn put_all_back(storage: &Storage, publishing: &Arc<Mutex<Steps>>) -> Result<u64, Failure> {
    let one_at_a_time = Arc::clone(publishing).lock_owned().await;
    let own = storage.clone();
    let put_back = move || {
        let _one_at_a_time = one_at_a_time;
        let publishers = own.catalog.own_publishers().map_err(failure::catalog)?;
        publishers.iter().map(|publisher| OwnRecords::of(&own).put_back_of(publisher)).sum()
    };
    storage.run(put_back).await
}

/// Returns whether the store lacks the newest records of this home's publishers, because it was lost or replaced by
/// an older copy. Looks up the blocks in the index only.
pub(super) fn lacks_own_records(storage: &Storage) -> Result<bool, Failure> {
    let Storage { store, catalog, .. } = storage;
    for publisher in catalog.own_publishers().map_err(failure::catalog)? {
        let known = catalog.publisher(&publisher).map_err(failure::catalog)?;
        let Some(head) = known.and_then(|known| known.head) else { continue };
        let record = head.head().record();
        // A head that was signed on another machine refers to records that this store may never have had.
        let entry = catalog.log(&publisher, record.log_seq, 1).map_err(failure::catalog)?;
        if entry.first().is_none_or(|entry| entry.cid() != record.log.cid()) {
            continue;
        }
        for cid in [head.head().cid(), record.log.cid(), record.catalog.cid()] {
            if !store.has(cid).unwrap_or(false) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Rebuilds lost records on a package if its publisher belongs to this home, so that no peer is queried for them.
pub(super) async fn mend_own_path(storage: &Storage, head: &VerifiedHead, package: &PackageId) -> Result<(), Failure> {
    let (own, package) = (storage.clone(), package.clone());
    let (publisher, root) = (head.head().record().publisher, head.head().record().catalog);
    let mend = move || {
        if own.catalog.log(&publisher, 0, 1).map_err(failure::catalog)?.is_empty() {
            return Ok(());
        }
        let all = |entries: &[VersionEntry]| entries.iter().map(|entry| *entry.release.cid()).collect();
        if lost(&*own.store, &root, &package, all)?.is_some() {
            OwnRecords::of(&own).put_back_of(&publisher)?;
        }
        Ok(())
    };
    storage.run(mend).await
}

/// Returns the first missing or damaged block on the path to a package, or of the `needed` records of its versions.
pub(super) fn lost(
    store: &dyn Blockstore,
    root: &RecordCid,
    package: &PackageId,
    needed: impl Fn(&[VersionEntry]) -> Vec<Cid>,
) -> Result<Option<Cid>, Failure> {
    let mut walk = Walk::new(root, package);
    while let Some(cid) = walk.wants() {
        let Some(data) = sound(store, &cid)? else { return Ok(Some(cid)) };
        walk.supply(&Block::verify(cid, data).map_err(failure::store)?).map_err(failure::verification)?;
    }
    let found = walk.finish().map_err(failure::verification)?;
    for cid in needed(&found.entries) {
        if sound(store, &cid)?.is_none() {
            return Ok(Some(cid));
        }
    }
    Ok(None)
}

fn sound(store: &dyn Blockstore, cid: &Cid) -> Result<Option<bytes::Bytes>, Failure> {
    match store.get(cid) {
        Err(Error::Corrupt { .. }) => Ok(None),
        read => read.map_err(failure::store),
    }
}

#[cfg(test)]
mod tests;
