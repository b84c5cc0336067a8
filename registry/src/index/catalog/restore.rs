//! Reads a publisher's records from its blocks, so that a home can rebuild its own catalog.

use bytes::Bytes;
use ggen_blockstore::Cid;

use crate::{
    identity::{Envelope, IdentityChain, Record as _, RecordKind, Signed},
    index::{LogEntry, StoredRecords, TreeError, VerifiedHead, Walk, list_packages},
    package::Release,
};

impl StoredRecords {
    /// Gathers the records that a head refers to: every release in its catalog, with signatures, and the log as far
    /// back as its blocks are stored. `get` reads blocks of the store.
    ///
    /// # Errors
    /// [`TreeError`] if a node of the catalog or a release is missing or broken: a release is never left out silently.
    pub fn from_blocks<G>(chain: &IdentityChain, head: &VerifiedHead, get: G) -> Result<Self, TreeError>
    where
        G: Fn(&Cid) -> ggen_blockstore::Result<Option<Bytes>>,
    {
        let broken = |cid: &Cid, error: &dyn std::fmt::Display| TreeError::Broken {
            cid: Box::new(*cid),
            reason: error.to_string(),
        };
        let record = head.head().record();
        let mut releases = Vec::new();
        for package in list_packages(&record.catalog, usize::MAX, &get)? {
            for entry in Walk::new(&record.catalog, &package).run(&get)?.entries {
                let cid = entry.release.cid();
                let payload = get(cid)?.ok_or_else(|| TreeError::Missing { cid: Box::new(*cid) })?;
                let release = Envelope::from_parts(payload.to_vec(), entry.signatures).open::<Release>();
                let encoded = release.and_then(|release| release.encode()).map_err(|error| broken(cid, &error))?;
                releases.push((encoded, entry.yanked));
            }
        }
        let mut log = Vec::new();
        let mut next = Some(record.log);
        while let Some(cid) = next {
            let Some(payload) = get(cid.cid())? else { break };
            next = LogEntry::from_payload(&payload).map_err(|error| broken(cid.cid(), &error))?.prev;
            let envelope = Envelope::from_parts(payload.to_vec(), Vec::new());
            log.push(envelope.encode(RecordKind::LogEntry).map_err(|error| broken(cid.cid(), &error))?);
        }
        log.reverse();
        let encoded = |error| broken(head.head().cid(), &error);
        Ok(Self {
            chain: chain.encode().map_err(encoded)?,
            head: Some(head.head().encode().map_err(encoded)?),
            refresh: head.refresh().map(Signed::encode).transpose().map_err(encoded)?,
            releases,
            log,
        })
    }
}
