//! Repair of this home's own signed records when the registry is opened.
//!
//! A publisher's identity and its latest head are stored in three places: beside its key, in the catalog, and in the
//! blocks of its records. Each can be rebuilt from the others. A failed repair does not prevent opening: it fails the
//! operations that need the record, with the name of the file.

use ggen_blockstore::{Blockstore, Cid};

use crate::{
    Failure,
    identity::{Envelope, IdentityChain, IdentityDocument, KeyPair, PublicKey, Record as _, Signed, Timestamp},
    index::{Catalog, Head, StoredRecords, VerifiedHead},
    keys::{KeyStore, KeyStoreError},
    ops::{OwnRecords, catalog_failed, failed, records},
};

/// Makes the stored records of this home's publishers consistent. Returns messages about damage, for the user. Blocks
/// the calling thread.
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
        tracing::warn!(target: crate::LOG_TARGET, "{note}");
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
        let (kept, damage) = match self.keys.head(self.name, &chain) {
            Ok(kept) => (kept, None),
            Err(error @ KeyStoreError::DamagedHead { .. }) => (None, Some(error)),
            Err(error) => return Err(error.into()),
        };
        let best = [kept.as_ref(), known.as_ref()].into_iter().flatten().max_by_key(|head| head.order());
        let stored = self.newer_stored_head(&chain, best);
        let head = kept.into_iter().chain(stored).max_by_key(VerifiedHead::order);
        if let Some(error) = damage {
            let is_lost = known.is_none() && head.is_none();
            let what = if is_lost { "and no other record says what was published last" } else { "and is made again" };
            self.notes.push(format!("{error}, {what}"));
        }
        match (head, known) {
            (Some(head), known) if known.as_ref().is_none_or(|known| known.order() < head.order()) => {
                // The head is stored first: if the catalog cannot be restored, nothing may be signed on top of an older
                // head.
                self.keep(&chain, &head)?;
                self.restore_catalog(&chain, &head)
            }
            // A crash happened after the catalog was written and before the file was.
            (_, Some(known)) => self.keep(&chain, &known),
            (_, None) => Ok(()),
        }
    }

    /// The identity chain, from its file or rebuilt. `None` for a publisher whose creation was interrupted.
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

    /// The chain of the publisher in the catalog for whom a key signs. What peers have sent counts too where the key itself
    /// signed the first document: a later one may name the key of another publisher.
    fn known_chain(&self, key: &PublicKey) -> Result<Option<IdentityChain>, Failure> {
        let own = self.catalog.own_publishers().map_err(catalog_failed)?;
        let all = self.catalog.publishers().map_err(catalog_failed)?;
        for (publisher, is_own) in own.iter().map(|own| (own, true)).chain(all.iter().map(|known| (known, false))) {
            let Some(entry) = self.catalog.publisher(publisher).map_err(catalog_failed)? else { continue };
            let began_with = entry.chain.document(0).map(|document| document.record().keys.as_slice());
            let is_its = is_own || began_with == Some(&[*key]);
            if is_its && entry.chain.current().record().keys.contains(key) {
                return Ok(Some(entry.chain));
            }
        }
        Ok(None)
    }

    /// The chain that begins with the first identity document of a key, from the blocks. It is signed again, because a
    /// block contains the payload alone.
    fn stored_chain(&self, signing: &KeyPair) -> Result<Option<IdentityChain>, Failure> {
        for cid in records(self.store) {
            let Ok(Some(payload)) = self.store.get(&cid) else { continue };
            let Ok(document) = IdentityDocument::from_payload(&payload) else { continue };
            if document.seq == 0 && document.keys == [signing.public()] {
                let signed = Signed::sign(document, &[signing]).map_err(failed)?;
                return IdentityChain::verify(vec![signed.envelope().clone()]).map(Some).map_err(failed);
            }
        }
        Ok(None)
    }

    /// The highest head in the store. Skipped if the store contains `best`, because a superseded head is no longer
    /// pinned.
    fn newer_stored_head(&self, chain: &IdentityChain, best: Option<&VerifiedHead>) -> Option<VerifiedHead> {
        let records = records(self.store);
        match best.is_some_and(|best| records.contains(best.head().cid())) {
            true => None,
            false => self.stored_head(chain, records),
        }
    }

    /// The highest head among blocks, signed again. Unreadable blocks are skipped: another head may be stored, and
    /// signing operations check for a missing head themselves.
    fn stored_head(&self, chain: &IdentityChain, records: Vec<Cid>) -> Option<VerifiedHead> {
        let Ok(Some(signing)) = self.keys.signing(self.name) else { return None };
        let mut highest: Option<VerifiedHead> = None;
        for cid in records {
            let Ok(Some(payload)) = self.store.get(&cid) else { continue };
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
        highest
    }

    /// Restores the records that a head refers to into a catalog that was lost or left behind by a crash.
    fn restore_catalog(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<(), Failure> {
        let failed =
            |failure: Failure| failure.while_doing(format!("what `{}` has published is not all here", self.name));
        let signing = self.keys.signing(self.name).ok().flatten();
        let own = OwnRecords { store: self.store, catalog: self.catalog, signing: signing.as_ref() };
        let gathered = || StoredRecords::from_blocks(chain, head, |cid| self.store.get(cid));
        let records = match gathered() {
            Err(_) if own.put_back(chain, head)? > 0 => gathered(),
            gathered => gathered,
        };
        let records = records.map_err(|error| failed(crate::ops::failed(error)))?;
        self.catalog.restore(&records, self.now).map_err(catalog_failed)?;
        Ok(())
    }

    /// Stores the head beside the key, unless a head at least as high is stored.
    fn keep(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<(), Failure> {
        let kept = self.keys.head(self.name, chain).ok().flatten();
        if kept.is_none_or(|kept| kept.order() < head.order()) {
            self.keys.keep_head(self.name, head)?;
        }
        Ok(())
    }
}
