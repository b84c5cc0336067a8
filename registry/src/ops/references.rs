//! Selects the block manifests of other releases that help to compress the transfer of a release.

use std::sync::Arc;

use ggen_blockstore::{Blockstore, Cid};

use super::storage::Storage;
use crate::{Failure, identity::Record, package::Release};

/// Maximum number of other releases examined.
const MAX_LOOKED_AT: usize = 16;
/// Maximum number of manifests sent to peers as references.
const MAX_REFERENCES: usize = 2;
/// Maximum number of blocks of a reference release. Looking up each block takes microseconds.
const MAX_REFERENCE_BLOCKS: u64 = 1 << 16;

/// Returns the manifests of other releases of the same package that are completely in the local store, nearest first.
/// Candidates are `others`, in order of nearness, and then the chain of predecessors.
pub(super) async fn references(storage: &Storage, release: &Release, others: Vec<Cid>) -> Result<Vec<Cid>, Failure> {
    let store = Arc::clone(&storage.store);
    let (manifest, before) = (release.manifest, release.predecessor.map(Cid::from));
    storage.run(move || Ok(find(&*store, manifest, others, before))).await
}

fn find(store: &dyn Blockstore, wanted: Cid, others: Vec<Cid>, mut before: Option<Cid>) -> Vec<Cid> {
    let mut found = Vec::new();
    let mut others = others.into_iter();
    for _ in 0..MAX_LOOKED_AT {
        // `others` are in order of nearness. The chain of predecessors ends at a missing record.
        let Some(cid) = others.next().or_else(|| before.take()) else { break };
        let Some(release) = read(store, &cid) else { continue };
        if others.len() == 0 && before.is_none() {
            before = release.predecessor.map(Cid::from);
        }
        if release.manifest != wanted && !found.contains(&release.manifest) && is_whole(store, &release) {
            found.push(release.manifest);
        }
        if found.len() >= MAX_REFERENCES {
            break;
        }
    }
    found
}

fn read(store: &dyn Blockstore, cid: &Cid) -> Option<Release> {
    Release::from_payload(&store.get(cid).ok()??).ok()
}

/// Returns whether the manifest and all its blocks are in the store. Those found stay while the caller holds a lease.
fn is_whole(store: &dyn Blockstore, release: &Release) -> bool {
    let get = |cid: &Cid| store.get(cid).ok().flatten();
    let has_all = |cids: &[Cid]| store.retain(cids).is_ok_and(|here| here.iter().all(|here| *here));
    let Some(root) = get(&release.manifest).filter(|_| release.blocks <= MAX_REFERENCE_BLOCKS) else { return false };
    let Ok(reader) = release.read_manifest(&root) else { return false };
    let mut own = vec![release.manifest];
    own.extend(reader.chunks().iter().map(|chunk| chunk.link));
    has_all(&own)
        && reader.chunks().iter().enumerate().all(|(index, chunk)| {
            let entries = get(&chunk.link).and_then(|bytes| reader.read_chunk(index, &bytes).ok());
            let cids: Option<Vec<Cid>> = entries.map(|entries| entries.into_iter().map(|entry| entry.cid).collect());
            cids.is_some_and(|cids| has_all(&cids))
        })
}
