//! The store that keeps nothing: what an import into it makes is a CID.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Block, Blockstore, Cid, Damage, Lease, Pin, PutReport, Result, StoreStats, identity_data, lease::Epochs};

/// A [`Blockstore`] that takes every block and keeps none, for finding out the CID of something without storing it.
/// It does not keep the promises of the trait about blocks that were put.
#[derive(Clone, Debug, Default)]
pub struct NullBlockstore {
    epochs: Arc<Epochs>,
}

impl NullBlockstore {
    /// A store that keeps nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Blockstore for NullBlockstore {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>> {
        Ok(identity_data(cid).map(Bytes::copy_from_slice))
    }

    fn size(&self, cid: &Cid) -> Result<Option<u32>> {
        Ok(identity_data(cid).map(|data| data.len() as u32))
    }

    fn put_many(&self, _: &[Block]) -> Result<PutReport> {
        Ok(PutReport::default())
    }

    fn retain(&self, cids: &[Cid]) -> Result<Vec<bool>> {
        Ok(cids.iter().map(|cid| identity_data(cid).is_some()).collect())
    }

    fn delete_many(&self, _: &[Cid]) -> Result<u64> {
        Ok(0)
    }

    fn lease(&self) -> Lease {
        self.epochs.lease()
    }

    fn delete_unused(&self, _: &[Cid], _: &Lease) -> Result<u64> {
        Ok(0)
    }

    fn last_used(&self, _: &Cid) -> Result<u64> {
        Ok(0)
    }

    fn reclaim(&self, _: u64) -> Result<u64> {
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn cids(&self) -> Box<dyn Iterator<Item = Result<Cid>> + Send + '_> {
        Box::new(std::iter::empty())
    }

    fn pin(&self, _: Pin) -> Result<()> {
        Ok(())
    }

    fn unpin(&self, _: &str, _: &Cid) -> Result<bool> {
        Ok(false)
    }

    fn pins(&self) -> Vec<Pin> {
        Vec::new()
    }

    fn pins_of(&self, _: &Cid) -> Vec<Pin> {
        Vec::new()
    }

    fn damage(&self) -> Result<Vec<Damage>> {
        Ok(Vec::new())
    }

    fn mend(&self) -> Result<u64> {
        Ok(0)
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}
