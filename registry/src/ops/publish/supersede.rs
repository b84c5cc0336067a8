//! Records that a publication has replaced: they are pinned no longer.

use std::collections::BTreeSet;

use ggen_blockstore::{Block, Cid};

use crate::{
    Failure,
    index::{VerifiedHead, Walk},
    ops::{Operations, failure},
    package::PackageId,
};

/// Label of the pins of a publisher's records: log, head, identity, nodes of the catalog tree.
pub(crate) const RECORD: &str = "record";

impl Operations {
    /// Releases what a step of the log has replaced: the former head, and the nodes of the former catalog tree on the
    /// way to the package that the new tree does not have. The log itself stays, and so does every release.
    pub(crate) fn release_superseded(
        &self,
        former: Option<&VerifiedHead>,
        new: &VerifiedHead,
        package: &PackageId,
    ) -> Result<(), Failure> {
        let Some(former) = former.filter(|former| former.head().cid() != new.head().cid()) else { return Ok(()) };
        let kept = self.path(new, package)?;
        let superseded = self.path(former, package)?.into_iter().filter(|cid| !kept.contains(cid));
        for cid in superseded.chain([*former.head().cid()]) {
            self.store.unpin(RECORD, &cid).map_err(failure::store)?;
        }
        Ok(())
    }

    /// The nodes of the catalog tree from its root to the versions of a package.
    fn path(&self, head: &VerifiedHead, package: &PackageId) -> Result<BTreeSet<Cid>, Failure> {
        let walk = Walk::new(&head.head().record().catalog, package);
        let found = walk.run(|cid| self.store.get(cid)).map_err(failure::failed)?;
        let cid = |data| Ok(*Block::dag_cbor(data).map_err(failure::store)?.cid());
        found.proof.into_iter().map(cid).collect()
    }
}
