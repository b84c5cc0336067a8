//! The path of each block of a manifest within the DAG that the manifest lists, to find the previous version of a file.
//!
//! A manifest that is the depth-first walk of a DAG is followed along the DAG's links. A block's place is a fingerprint
//! of the names of the links that lead to it; unnamed links count by index. The meaning of the links does not matter.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Cid, DAG_PB, MAX_WALK_PENDING, PbNode, identity_data};
use sha2::{Digest, Sha256};

use crate::{manifest::ManifestEntry, node::exchange::bulk::stored_manifest::StoredManifest};

/// Maximum number of entries of a manifest that is followed.
pub(super) const MAX_PLACED: u32 = 1 << 16;
/// Number of manifests whose places are cached.
const KEPT_LISTS: usize = 4;

/// A fingerprint of a path.
pub(super) type Place = u128;

/// A manifest with the places of its blocks.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) blocks: Vec<ManifestEntry>,
    /// Ends early if a block is missing, or if the manifest differs from the DAG.
    pub(super) places: Vec<Place>,
    pub(super) by_place: HashMap<Place, u32>,
}

impl Placed {
    /// Follows a manifest. `None` if it is too long, or not completely in the store.
    pub(super) fn read(store: &dyn Blockstore, list: &mut StoredManifest) -> Option<Self> {
        if list.len() > MAX_PLACED {
            return None;
        }
        let blocks: Vec<_> = (0..list.len()).map(|index| list.listed(store, index).ok()).collect::<Option<_>>()?;
        let places = follow(store, &blocks);
        let by_place = places.iter().enumerate().map(|(index, place)| (*place, index as u32)).collect();
        Some(Self { blocks, places, by_place })
    }
}

/// Returns the places of `blocks`, as far as they are a depth-first walk whose directories are in the store.
fn follow(store: &dyn Blockstore, blocks: &[ManifestEntry]) -> Vec<Place> {
    let mut places = Vec::with_capacity(blocks.len());
    let mut pending = vec![];
    let mut seen = HashSet::new();
    pending.extend(blocks.first().map(|root| (root.cid, 0)));
    while let (Some((cid, place)), Some(listed)) = (pending.pop(), blocks.get(places.len())) {
        let is_inline = identity_data(&cid).is_some();
        if !is_inline && !seen.insert(cid) {
            continue;
        }
        if !is_inline {
            if listed.cid != cid {
                break;
            }
            places.push(place);
        }
        if cid.codec() != DAG_PB {
            continue;
        }
        let block = match identity_data(&cid) {
            Some(data) => Ok(Some(Bytes::copy_from_slice(data))),
            None => store.get(&cid),
        };
        let Ok(Some(node)) = block.map(|block| block.and_then(|block| PbNode::decode(&block).ok())) else { break };
        if pending.len() + node.links.len() > MAX_WALK_PENDING {
            break;
        }
        let named: Vec<_> =
            node.links.iter().enumerate().map(|(index, link)| (link.cid, below(place, link.name(), index))).collect();
        pending.extend(named.into_iter().rev());
    }
    places
}

fn below(parent: Place, name: &[u8], index: usize) -> Place {
    let mut hash = Sha256::new();
    hash.update(parent.to_le_bytes());
    if name.is_empty() {
        hash.update((index as u64).to_le_bytes());
    } else {
        hash.update(b"/");
        hash.update(name);
    }
    let digest = hash.finalize();
    let (head, _) = digest.split_first_chunk().expect("a sha2-256 digest has 32 bytes");
    Place::from_le_bytes(*head)
}

/// A cache of the manifests that were followed last.
#[derive(Debug, Default)]
pub(super) struct PathCache {
    kept: Mutex<VecDeque<(Cid, Arc<Placed>)>>,
}

impl PathCache {
    /// Returns the places of a manifest. Concurrent calls may both read it.
    pub(super) fn placed(&self, store: &dyn Blockstore, cid: &Cid) -> Option<Arc<Placed>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, placed)) = lock().iter().find(|(kept, _)| kept == cid) {
            return Some(Arc::clone(placed));
        }
        let mut list = StoredManifest::open(store, cid).ok()?;
        let placed = Arc::new(Placed::read(store, &mut list)?);
        let mut kept = lock();
        kept.push_back((*cid, Arc::clone(&placed)));
        while kept.len() > KEPT_LISTS {
            kept.pop_front();
        }
        Some(placed)
    }
}
