//! A store that returns wrong bytes for some blocks.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use ggen_blockstore::{Blockstore, Cid, MemoryBlockstore, Result, TreeLimits, forward_blockstore, list_tree};

/// Returns the right bytes, except for the files of the trees passed to `lie_about`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Liar {
    honest: MemoryBlockstore,
    lies: Arc<Mutex<HashSet<Cid>>>,
}

impl Liar {
    pub(crate) fn new(honest: MemoryBlockstore) -> Self {
        Self { honest, lies: Arc::default() }
    }

    pub(crate) fn lie_about(&self, root: Cid) {
        let tree = list_tree(&self.honest, root, &TreeLimits::default()).unwrap();
        self.lies.lock().unwrap().extend(tree.entries.iter().map(|entry| entry.cid));
    }
}

impl Blockstore for Liar {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        let honest = self.honest.get(cid)?;
        let lies = self.lies.lock().unwrap().contains(cid);
        Ok(honest.map(|bytes| if lies { bytes.iter().map(|byte| !byte).collect() } else { bytes }))
    }

    forward_blockstore!(self.honest: size put_many retain delete_many lease delete_unused last_used reclaim sync cids
        pin unpin pins pins_of damage mend stats);
}
