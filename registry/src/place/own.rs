//! What this home has signed, put together from what is left of it when the registry is opened.
//!
//! A publisher's identity and its latest head stand in three places: beside its key, in the catalog, and in the blocks
//! of its records. Each can be made again from the others. What cannot be made again is no reason not to open: it stops
//! what needs it, with the name of the file.

use std::collections::BTreeSet;

use ggen_blockstore::{Blockstore, Cid, parse_cid};

use crate::{
    Failure,
    identity::{Envelope, IdentityChain, IdentityDocument, KeyPair, PublicKey, Record as _, Signed, Timestamp},
    index::{Catalog, Head, StoredRecords, VerifiedHead},
    keys::{KeyStore, KeyStoreError},
    ops::{RECORD, STEP_ADDED, catalog_failed, failed},
};

/// Brings what is known of this home's publishers into accord; returns what was damaged, for the user. Blocks.
pub(super) fn mend(
    keys: &KeyStore,
    catalog: &Catalog,
    store: &dyn Blockstore,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for name in keys.names()? {
        let mut own = Own { name: &name, keys, catalog, store, now, notes: &mut notes };
        if let Err(failure) = own.mend() {
            notes.push(failure.in_one_line());
        }
    }
    for note in &notes {
        tracing::warn!(target: "ggen_marketplace::backend::p2p", "{note}");
    }
    Ok(notes)
}

struct Own<'a> {
    name: &'a str,
    keys: &'a KeyStore,
    catalog: &'a Catalog,
    store: &'a dyn Blockstore,
    now: Timestamp,
    notes: &'a mut Vec<String>,
}

impl Own<'_> {
    fn mend(&mut self) -> Result<(), Failure> {
        let Some(chain) = self.chain()? else { return Ok(()) };
        let known = self.catalog.publisher(&chain.publisher()).map_err(catalog_failed)?.and_then(|known| known.head);
        let head = match self.keys.head(self.name, &chain) {
            Ok(Some(head)) => Some(head),
            Ok(None) if known.is_some() => None,
            Ok(None) => self.stored_head(&chain)?,
            Err(error @ KeyStoreError::DamagedHead { .. }) => {
                let stored = self.stored_head(&chain)?;
                let is_lost = known.is_none() && stored.is_none();
                let what =
                    if is_lost { "and no other record says what was published last" } else { "and is made again" };
                self.notes.push(format!("{error}, {what}"));
                stored
            }
            Err(error) => return Err(error.into()),
        };
        match (head, known) {
            (Some(head), known) if known.as_ref().is_none_or(|known| known.order() < head.order()) => {
                self.restore_catalog(&chain, &head)?;
                self.keep(&chain, &head)
            }
            // A crash came between the catalog and the file.
            (_, Some(known)) => self.keep(&chain, &known),
            (_, None) => Ok(()),
        }
    }

    /// The identity chain: of the file, or made again. `None` for a publisher that was never finished.
    fn chain(&mut self) -> Result<Option<IdentityChain>, Failure> {
        let error = match self.keys.chain(self.name) {
            Ok(Some(chain)) => return Ok(Some(chain)),
            Ok(None) => None,
            Err(error @ KeyStoreError::DamagedIdentity { .. }) => Some(error),
            Err(error) => return Err(error.into()),
        };
        let found = match self.keys.signing(self.name)? {
            Some(signing) => match self.known_chain(&signing.public())? {
                Some(chain) => Some(chain),
                None => self.stored_chain(&signing)?,
            },
            None => None,
        };
        match (found, error) {
            (Some(chain), error) => {
                let what = error.map_or_else(|| format!("the identity of `{}` was gone", self.name), |e| e.to_string());
                self.notes.push(format!("{what}, and is made again"));
                self.keys.keep_chain(self.name, &chain)?;
                Ok(Some(chain))
            }
            (None, Some(error)) => Err(error.into()),
            (None, None) => Ok(None),
        }
    }

    /// The chain of the publisher in the catalog for whom a key signs.
    fn known_chain(&self, key: &PublicKey) -> Result<Option<IdentityChain>, Failure> {
        for publisher in self.catalog.own_publishers().map_err(catalog_failed)? {
            let Some(entry) = self.catalog.publisher(&publisher).map_err(catalog_failed)? else { continue };
            if entry.chain.current().record().keys.contains(key) {
                return Ok(Some(entry.chain));
            }
        }
        Ok(None)
    }

    /// The chain that begins with the first identity document of a key, out of the blocks: signed again, since a block is
    /// the payload alone.
    fn stored_chain(&self, signing: &KeyPair) -> Result<Option<IdentityChain>, Failure> {
        for cid in self.records() {
            let Some(payload) = self.store.get(&cid).map_err(failed)? else { continue };
            let Ok(document) = IdentityDocument::from_payload(&payload) else { continue };
            if document.seq == 0 && document.keys == [signing.public()] {
                let signed = Signed::sign(document, &[signing]).map_err(failed)?;
                return IdentityChain::verify(vec![signed.envelope().clone()]).map(Some).map_err(failed);
            }
        }
        Ok(None)
    }

    /// The highest head among the blocks, signed again; not one of a step that was never made.
    fn stored_head(&self, chain: &IdentityChain) -> Result<Option<VerifiedHead>, Failure> {
        let Ok(Some(signing)) = self.keys.signing(self.name) else { return Ok(None) };
        let unmade = |label: String| label.strip_prefix(STEP_ADDED).and_then(|head| parse_cid(head).ok());
        let unmade: BTreeSet<Cid> = self.store.pins().into_iter().filter_map(|pin| unmade(pin.label)).collect();
        let mut highest: Option<VerifiedHead> = None;
        for cid in self.records().into_iter().filter(|cid| !unmade.contains(cid)) {
            let Some(payload) = self.store.get(&cid).map_err(failed)? else { continue };
            let Ok(head) = Head::from_payload(&payload) else { continue };
            if head.publisher != chain.publisher() {
                continue;
            }
            let Ok(envelope) = Envelope::sign(&head, &[&signing]) else { continue };
            let Some(then) = chain.up_to(&head.identity) else { continue };
            let Ok(head) = VerifiedHead::verify(envelope, None, &then, Timestamp::MAX) else { continue };
            if highest.as_ref().is_none_or(|highest| highest.order() < head.order()) {
                highest = Some(head);
            }
        }
        Ok(highest)
    }

    /// What is pinned as a record of some publisher of this home.
    fn records(&self) -> Vec<Cid> {
        self.store.pins().into_iter().filter(|pin| pin.label == RECORD).map(|pin| pin.cid).collect()
    }

    /// Takes into the catalog what a head stands for: it was lost, or left behind by a crash.
    fn restore_catalog(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<(), Failure> {
        let failed =
            |failure: Failure| failure.while_doing(format!("what `{}` has published is not all here", self.name));
        let records = StoredRecords::from_blocks(chain, head, |cid| self.store.get(cid));
        let records = records.map_err(|error| failed(crate::ops::failed(error)))?;
        self.catalog.restore(&records, self.now).map_err(catalog_failed)?;
        Ok(())
    }

    /// Sees to it that the head stands beside the key.
    fn keep(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<(), Failure> {
        let kept = self.keys.head(self.name, chain).ok().flatten();
        if kept.is_none_or(|kept| kept.order() < head.order()) {
            self.keys.keep_head(self.name, head)?;
        }
        Ok(())
    }
}
