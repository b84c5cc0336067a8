//! The journal of publishes and yanks. It makes a step of the log atomic: a step that a crash interrupts is completed
//! or reverted later.
//!
//! A step adds records and replaces others. Its commit point is in between: it is the write of the new head to the
//! catalog. The added and the replaced records are therefore pinned a second time, under labels that contain the CID of
//! the new head. These pins are the journal entry, and they are synced together with the records. The end of the step
//! removes them. If the next step or the opening of the registry finds such pins, it completes the step if the catalog
//! has the new head, and reverts it otherwise.

use std::collections::{BTreeMap, BTreeSet};

use ggen_blockstore::{Block, Cid, Pin, PinMode, parse_cid};

use crate::{
    Failure,
    identity::{IdentityChain, Record as _},
    index::{Head, Publication, VerifiedHead, Walk},
    ops::{failure, storage::Storage},
    package::{PackageId, Release},
};

/// Label of the pins of a publisher's records: log, head, identity, nodes of the catalog tree.
pub(crate) const RECORD: &str = "record";
/// Label prefix for the records that a step in progress adds. The CID of the new head follows.
pub(crate) const ADDED: &str = "step/added/";
/// Label prefix for the records that it replaces. The CID of the new head follows.
const REPLACED: &str = "step/replaced/";

/// Returns the label of the pins of a release.
pub(in crate::ops) fn release_label(release: &Release) -> String {
    format!("release/{}@{}", release.package, release.version)
}

/// A step of the log: the head it follows, its new records, and the package it concerns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) chain: &'a IdentityChain,
    pub(crate) former: Option<&'a VerifiedHead>,
    pub(crate) publication: &'a Publication,
    pub(crate) package: &'a PackageId,
}

/// The state of the journal. Its lock serializes the steps of a registry.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Whether an earlier step may have left journal pins.
    pub(crate) is_open: bool,
}

/// The journal entry of a step in progress.
#[derive(Debug, Default)]
pub(super) struct JournalEntry {
    added: BTreeSet<Cid>,
    replaced: BTreeSet<Cid>,
}

/// Writes and reads journal entries.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(in crate::ops) storage: Storage,
}

impl Journal {
    /// Writes the journal entry of a step: pins the records that it adds and replaces under the step's labels. Its
    /// blocks must be in the store.
    pub(super) fn begin_step(&self, step: &Step<'_>) -> Result<JournalEntry, Failure> {
        let new = &step.publication.head;
        let (mut replaced, mut known) = (BTreeSet::new(), BTreeSet::new());
        if let Some(former) = step.former {
            let kept = self.path(new, step.package)?;
            known = self.path(former, step.package)?;
            replaced = known.difference(&kept).copied().collect();
            replaced.insert(*former.head().cid());
        }
        // The identity chain stays in both cases.
        let identity = step.chain.blocks().map_err(failure::failed)?;
        known.extend(identity.iter().map(|block| *block.cid()));
        let added = step.publication.blocks.iter().map(|block| *block.cid()).filter(|cid| !known.contains(cid));
        let traces = JournalEntry { added: added.collect(), replaced };
        traces.pins(new.head().cid()).try_for_each(|pin| self.storage.store.pin(pin)).map_err(failure::store)?;
        Ok(traces)
    }

    /// Completes or reverts interrupted steps. No other step may be in progress.
    ///
    /// # Errors
    /// Errors of store and catalog; the next call tries again.
    pub(crate) fn recover_steps(&self) -> Result<(), Failure> {
        let traces = self.traces();
        if traces.is_empty() {
            return Ok(());
        }
        for (head, traces) in traces {
            let made = self.was_made(&head)?;
            tracing::warn!(target: crate::LOG_TARGET, %head, made, "a publish had died half way");
            self.end_step(&head, &traces, made)?;
        }
        self.storage.store.sync().map_err(failure::store)
    }

    /// Returns the journal entries in the store, by the CIDs of their new heads.
    fn traces(&self) -> BTreeMap<Cid, JournalEntry> {
        let mut steps: BTreeMap<Cid, JournalEntry> = BTreeMap::new();
        for Pin { label, cid, .. } in self.storage.store.pins() {
            let of = |prefix| label.strip_prefix(prefix).and_then(|head| parse_cid(head).ok());
            if let Some(head) = of(ADDED) {
                steps.entry(head).or_default().added.insert(cid);
            } else if let Some(head) = of(REPLACED) {
                steps.entry(head).or_default().replaced.insert(cid);
            }
        }
        steps
    }

    /// Returns whether the step of this head was committed: whether it is its publisher's current head in the catalog.
    /// No later step can have replaced it, because each step first recovers the earlier ones.
    fn was_made(&self, head: &Cid) -> Result<bool, Failure> {
        let Some(payload) = self.storage.store.get(head).map_err(failure::store)? else { return Ok(false) };
        let publisher = Head::from_payload(&payload).map_err(failure::verification)?.publisher;
        let known = self.storage.catalog.publisher(&publisher).map_err(failure::failed)?.and_then(|known| known.head);
        Ok(known.is_some_and(|known| known.head().cid() == head))
    }

    /// Unpins the records that the step replaced if it was committed (`made`), otherwise those that it added, and then
    /// removes the journal entry. The replaced records are the former head and the nodes of the former catalog tree
    /// that the new tree lacks. Log and releases are never replaced.
    pub(super) fn end_step(&self, head: &Cid, traces: &JournalEntry, made: bool) -> Result<(), Failure> {
        let unpin = |label: &str, cid: &Cid| self.storage.store.unpin(label, cid).map_err(failure::store);
        if made {
            for cid in &traces.replaced {
                unpin(RECORD, cid)?;
            }
        } else {
            for cid in &traces.added {
                unpin(RECORD, cid)?;
                let payload = self.storage.store.get(cid).map_err(failure::store)?;
                if let Some(release) = payload.and_then(|payload| Release::from_payload(&payload).ok()) {
                    let label = release_label(&release);
                    unpin(&label, cid)?;
                    if let Some(block) = &release.executables_block {
                        unpin(&label, block.cid())?;
                    }
                }
            }
        }
        for Pin { label, cid, .. } in traces.pins(head) {
            unpin(&label, &cid)?;
        }
        Ok(())
    }

    /// Returns the nodes of the catalog tree on the path from its root to the versions of a package.
    fn path(&self, head: &VerifiedHead, package: &PackageId) -> Result<BTreeSet<Cid>, Failure> {
        let walk = Walk::new(&head.head().record().catalog, package);
        let found = walk.run(|cid| self.storage.store.get(cid)).map_err(|error| failure::tree(&error))?;
        let cid = |data| Ok(*Block::dag_cbor(data).map_err(failure::store)?.cid());
        found.proof.into_iter().map(cid).collect()
    }
}

impl JournalEntry {
    fn pins(&self, head: &Cid) -> impl Iterator<Item = Pin> {
        let pin = move |prefix: &'static str| {
            let label = format!("{prefix}{head}");
            move |cid: &Cid| Pin { label: label.clone(), cid: *cid, mode: PinMode::Direct }
        };
        self.added.iter().map(pin(ADDED)).chain(self.replaced.iter().map(pin(REPLACED)))
    }
}

#[cfg(test)]
mod tests;
