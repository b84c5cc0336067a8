//! The pins that must exist: those of this home's publications, according to its catalog.

use std::{collections::BTreeSet, sync::Arc};

use ggen_blockstore::{Block, Blockstore, Cid, Pin, PinMode};
use tokio::sync::Mutex;

use crate::{
    Failure,
    identity::{PublisherId, RecordCid},
    index::{Catalog, LogAction, TreeListing, VerifiedHead, Walk},
    keys::KeyStore,
    ops::{
        Steps, failure,
        own_records::{SignedHere, lacks_own_records, put_all_back},
        pins::pins_of_release,
        publish::{RECORD, release_label},
        storage::Storage,
    },
};

/// Returns the missing pins of this home's publications. With `set`, they are set again; the blocks below them may be
/// missing.
pub(super) async fn lost_pins(storage: &Storage, keys: &KeyStore, set: bool) -> Result<Vec<Pin>, Failure> {
    let (own, keys) = (storage.clone(), keys.clone());
    let look = move || {
        let there: BTreeSet<Pin> = own.store.pins().into_iter().collect();
        let mut lost = BTreeSet::new();
        for keys in keys.publishers()? {
            let expected = expected_pins(&*own.store, &own.catalog, &keys.chain.publisher())?;
            lost.extend(expected.into_iter().filter(|pin| !there.contains(pin)));
        }
        if set && !lost.is_empty() {
            lost.iter().try_for_each(|pin| own.store.pin(pin.clone())).map_err(failure::store)?;
            own.store.sync().map_err(failure::store)?;
        }
        Ok(lost.into_iter().collect())
    };
    storage.run(look).await
}

/// Rebuilds the records of this home's publications and sets their pins, if the store has lost records or lacks the
/// newest signed ones. `verify --repair` restores what cannot be rebuilt locally.
pub(crate) async fn restore_own_records(
    storage: &Storage,
    keys: &KeyStore,
    publishing: &Arc<Mutex<Steps>>,
    lost_records: bool,
) -> Result<(), Failure> {
    let own = storage.clone();
    if !lost_records && !storage.run(move || lacks_own_records(&own)).await? {
        return Ok(());
    }
    put_all_back(storage, publishing).await?;
    for pin in lost_pins(storage, keys, true).await? {
        tracing::warn!(target: ggen_blockstore::DAMAGE, label = pin.label, cid = %pin.cid, "a lost pin is set again");
    }
    Ok(())
}

/// Returns the permanent pins of a publisher's publications, as far as its records are known.
fn expected_pins(store: &dyn Blockstore, catalog: &Catalog, publisher: &PublisherId) -> Result<BTreeSet<Pin>, Failure> {
    let log = catalog.log(publisher, 0, usize::MAX).map_err(failure::catalog)?;
    let (Some(last), Some(known)) = (log.last(), catalog.publisher(publisher).map_err(failure::catalog)?) else {
        return Ok(BTreeSet::new());
    };
    let identity = known.chain.blocks().map_err(failure::failed)?;
    let mut records: BTreeSet<Cid> = identity.iter().map(|block| *block.cid()).collect();
    records.extend(log.iter().map(|entry| *entry.cid()));
    let releases = log.iter().filter_map(|entry| match &entry.record().action {
        LogAction::Release { release, .. } => Some(*release.cid()),
        _ => None,
    });
    let releases: Vec<Cid> = releases.collect();
    records.extend(&releases);
    // A head that was signed on another machine is not a publication of this home, and a superseded head is no longer
    // pinned.
    let is_last = |head: &VerifiedHead| {
        head.head().record().log.cid() == last.cid() && SignedHere::of(store, publisher).log_seq <= head.order().log_seq
    };
    if let Some(head) = known.head.filter(is_last) {
        records.insert(*head.head().cid());
        records.extend(tree(store, head.head().record().catalog));
    }
    let record = |cid| Pin { label: RECORD.to_owned(), cid, mode: PinMode::Direct };
    let mut pins: BTreeSet<Pin> = records.into_iter().map(record).collect();
    for release in &releases {
        if let Some(known) = catalog.release(release).map_err(failure::catalog)? {
            let record = known.release.record();
            pins.extend(pins_of_release(release, record, &release_label(record)));
        }
    }
    Ok(pins)
}

/// Returns the nodes of a catalog tree, except those below a missing node.
fn tree(store: &dyn Blockstore, root: RecordCid) -> Vec<Cid> {
    let mut nodes = Vec::new();
    let mut listing = TreeListing::new(root, usize::MAX);
    loop {
        let level = listing.wants();
        nodes.extend(&level);
        if level.is_empty() || listing.supply(|cid| store.get(cid)).is_err() {
            break;
        }
    }
    for package in listing.finish() {
        let mut walk = Walk::new(&root, &package);
        while let Some(cid) = walk.wants() {
            nodes.push(cid);
            let block = store.get(&cid).ok().flatten().and_then(|data| Block::verify(cid, data).ok());
            if block.is_none_or(|block| walk.supply(&block).is_err()) {
                break;
            }
        }
    }
    nodes
}
