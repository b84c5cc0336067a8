//! Reports what a repair of the whole store could not restore, so that the user can decide, and so that later
//! collections skip it.

use std::{collections::BTreeSet, sync::Arc};

use ggen_blockstore::{Blockstore, Cid, DAG_CBOR, PinMode};

use super::check::{Checked, is_whole};
use crate::{
    Failure, PinReport, UnpinnedRelease,
    identity::Record as _,
    ops::{Losses, failure, pins, storage::Storage},
    package::Release,
};

/// Maximum number of complete but unpinned releases listed.
const MAX_UNPINNED: usize = 1000;

/// Repairs the files of the store if they are damaged, and records the missing blocks as acknowledged. Returns the
/// pins with missing blocks and, if pins may be lost, the complete releases that no pin keeps.
pub(super) async fn settle_losses(
    storage: &Storage,
    losses: &Arc<Losses>,
    checked: &Checked,
    is_damaged: bool,
    lost_records: bool,
) -> Result<(Vec<PinReport>, Vec<UnpinnedRelease>), Failure> {
    let (store, losses) = (storage.store.clone(), Arc::clone(losses));
    let missing: BTreeSet<Cid> = checked.bad.iter().map(|bad| bad.cid).collect();
    let roots: BTreeSet<Cid> = checked.roots.iter().copied().collect();
    storage
        .run(move || {
            if is_damaged {
                store.mend().map_err(failure::store)?;
            }
            let unpinned = if lost_records { unpinned(&*store)? } else { Vec::new() };
            let pins = store.pins();
            let incomplete = pins.iter().filter(|pin| pin.mode == PinMode::Recursive && roots.contains(&pin.cid));
            let incomplete = incomplete.map(pins::report).collect();
            losses.acknowledge(missing)?;
            Ok((incomplete, unpinned))
        })
        .await
}

/// Returns the complete releases in the store that no recursive pin names.
fn unpinned(store: &dyn Blockstore) -> Result<Vec<UnpinnedRelease>, Failure> {
    let pinned: BTreeSet<Cid> =
        store.pins().into_iter().filter(|pin| pin.mode == PinMode::Recursive).map(|pin| pin.cid).collect();
    let mut found = Vec::new();
    for cid in store.cids() {
        let cid = cid.map_err(failure::store)?;
        if cid.codec() != DAG_CBOR || pinned.contains(&cid) {
            continue;
        }
        // Damaged blocks are already listed as bad.
        let payload = store.get(&cid).ok().flatten();
        let Some(release) = payload.and_then(|payload| Release::from_payload(&payload).ok()) else { continue };
        if is_whole(store, cid).map_err(failure::store)? {
            let name = format!("{}@{}", release.package, release.version);
            found.push(UnpinnedRelease { cid: cid.to_string(), name, publisher: release.publisher.to_string() });
            if found.len() == MAX_UNPINNED {
                break;
            }
        }
    }
    found.sort_by(|a, b| (&a.name, &a.cid).cmp(&(&b.name, &b.cid)));
    found.dedup();
    Ok(found)
}
