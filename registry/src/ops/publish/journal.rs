//! What a step of the log pins on its way, so that one that died half way leaves nothing behind.
//!
//! A step adds records and replaces others, and between the two the catalog decides: before it has the new head the step
//! was never made, after that it was. What is added and what is replaced is therefore pinned a second time under labels
//! that name the new head, and made durable together with the records. At the end these pins go. If they are found later,
//! by the next step or when the registry is opened, the step is brought to its end, or taken back.

use std::collections::{BTreeMap, BTreeSet};

use ggen_blockstore::{Block, Cid, Pin, PinMode, parse_cid};

use crate::{
    Failure,
    identity::{IdentityChain, Record as _},
    index::{Head, Publication, VerifiedHead, Walk},
    ops::{Operations, failure},
    package::{PackageId, Release},
};

/// Label of the pins of a publisher's records: log, head, identity, nodes of the catalog tree.
pub(crate) const RECORD: &str = "record";
/// What a step adds is under this and its head as long as it is under way.
pub(crate) const ADDED: &str = "step/added/";
/// What it replaces, likewise.
const REPLACED: &str = "step/replaced/";

/// Label of the pins of a release.
pub(in crate::ops) fn release_label(release: &Release) -> String {
    format!("release/{}@{}", release.package, release.version)
}

/// A step of the log: on top of which head, and which package it concerns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) chain: &'a IdentityChain,
    pub(crate) former: Option<&'a VerifiedHead>,
    pub(crate) publication: &'a Publication,
    pub(crate) package: &'a PackageId,
}

/// The steps of a registry, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// One may have left pins of its own.
    pub(crate) is_open: bool,
}

/// The pins of a step that is under way.
#[derive(Debug, Default)]
pub(super) struct JournalEntry {
    added: BTreeSet<Cid>,
    replaced: BTreeSet<Cid>,
}

impl Operations {
    /// Pins what the step adds and replaces under its own labels. Its blocks are in the store.
    pub(super) fn begin_step(&self, step: &Step<'_>) -> Result<JournalEntry, Failure> {
        let new = &step.publication.head;
        let (mut replaced, mut known) = (BTreeSet::new(), BTreeSet::new());
        if let Some(former) = step.former {
            let kept = self.path(new, step.package)?;
            known = self.path(former, step.package)?;
            replaced = known.difference(&kept).copied().collect();
            replaced.insert(*former.head().cid());
        }
        // The identity stays whatever becomes of the step.
        let identity = step.chain.blocks().map_err(failure::failed)?;
        known.extend(identity.iter().map(|block| *block.cid()));
        let added = step.publication.blocks.iter().map(|block| *block.cid()).filter(|cid| !known.contains(cid));
        let traces = JournalEntry { added: added.collect(), replaced };
        traces.pins(new.head().cid()).try_for_each(|pin| self.store.pin(pin)).map_err(failure::store)?;
        Ok(traces)
    }

    /// Brings steps to their end that died half way, or takes them back. Nothing else may be under way.
    ///
    /// # Errors
    /// The store's; the steps are looked at again next time.
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
        self.store.sync().map_err(failure::store)
    }

    /// Steps that are under way, or were when somebody died, by the CIDs of their heads.
    fn traces(&self) -> BTreeMap<Cid, JournalEntry> {
        let mut steps: BTreeMap<Cid, JournalEntry> = BTreeMap::new();
        for Pin { label, cid, .. } in self.store.pins() {
            let of = |prefix| label.strip_prefix(prefix).and_then(|head| parse_cid(head).ok());
            if let Some(head) = of(ADDED) {
                steps.entry(head).or_default().added.insert(cid);
            } else if let Some(head) = of(REPLACED) {
                steps.entry(head).or_default().replaced.insert(cid);
            }
        }
        steps
    }

    /// Whether the catalog has this head as that of a publisher of this home. No later one stands on it: a step begins
    /// by mending those before it.
    fn was_made(&self, head: &Cid) -> Result<bool, Failure> {
        let Some(payload) = self.store.get(head).map_err(failure::store)? else { return Ok(false) };
        let publisher = Head::from_payload(&payload).map_err(failure::verification)?.publisher;
        let known = self.catalog.publisher(&publisher).map_err(failure::failed)?.and_then(|known| known.head);
        Ok(known.is_some_and(|known| known.head().cid() == head))
    }

    /// Lets go of what the step replaced if it was made, of what it added if it was not; then of the step's own pins.
    /// What a step replaces is the former head and the nodes of the former catalog tree that the new one does not have:
    /// the log stays, and so does every release.
    pub(super) fn end_step(&self, head: &Cid, traces: &JournalEntry, made: bool) -> Result<(), Failure> {
        let unpin = |label: &str, cid: &Cid| self.store.unpin(label, cid).map_err(failure::store);
        if made {
            for cid in &traces.replaced {
                unpin(RECORD, cid)?;
            }
        } else {
            for cid in &traces.added {
                unpin(RECORD, cid)?;
                let payload = self.store.get(cid).map_err(failure::store)?;
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

    /// The nodes of the catalog tree from its root to the versions of a package.
    fn path(&self, head: &VerifiedHead, package: &PackageId) -> Result<BTreeSet<Cid>, Failure> {
        let walk = Walk::new(&head.head().record().catalog, package);
        let found = walk.run(|cid| self.store.get(cid)).map_err(|error| failure::tree(&error))?;
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
