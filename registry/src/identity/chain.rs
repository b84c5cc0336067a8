//! The chain of a publisher's identity documents.
//!
//! Each document names its predecessor and is signed by the predecessor's threshold, or by one of its recovery keys. If
//! two documents follow the same one, a document that a recovery key signed supersedes one that only the threshold
//! signed, so a thief of the signing keys cannot lock the owner out. Only a document signed by a recovery key can
//! change the recovery keys.

use ggen_blockstore::{Block, Cid};

use crate::identity::{
    Afresh, ChainError, Checks, Envelope, IdentityDocument, KeyPair, PublisherId, Record, RecordCid, RecordError,
    Signed, decode_canonical, encode_canonical,
};

/// Most documents in a chain.
pub const MAX_CHAIN_DOCUMENTS: usize = 64;
/// Largest encoded chain in bytes: every claim and announcement contains it. A document with one key of each kind and
/// one signature takes about 420 bytes.
pub const MAX_CHAIN_BYTES: usize = 24 << 10;

const WHAT: &str = "identity chain";

/// A verified chain of identity documents, oldest first, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityChain {
    publisher: PublisherId,
    documents: Vec<Signed<IdentityDocument>>,
    /// For each document whether a recovery key of its predecessor signed it.
    recovered: Vec<bool>,
}

/// How another chain of the same publisher relates to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainOrder {
    /// The same documents.
    Same,
    /// The other chain extends this one, or replaces a part of it by recovery: it is the current one.
    OtherWins,
    /// The other chain is a prefix of this one, or was replaced by recovery: this one is the current one.
    ThisWins,
    /// Two documents of equal rank follow the same one, or the publishers differ: neither chain can be shown to be the
    /// current one.
    Conflict,
}

impl IdentityChain {
    /// Verifies documents, oldest first.
    ///
    /// # Errors
    /// [`ChainError`] with the first document that is invalid, and the rule it breaks.
    pub fn verify(envelopes: Vec<Envelope>) -> Result<Self, ChainError> {
        Self::verify_with(envelopes, &Afresh)
    }

    /// As [`IdentityChain::verify`], with signatures checked by `checks`.
    pub(crate) fn verify_with(envelopes: Vec<Envelope>, checks: &dyn Checks) -> Result<Self, ChainError> {
        if envelopes.is_empty() || envelopes.len() > MAX_CHAIN_DOCUMENTS {
            return Err(ChainError::Length { documents: envelopes.len(), limit: MAX_CHAIN_DOCUMENTS });
        }
        let mut documents: Vec<Signed<IdentityDocument>> = Vec::with_capacity(envelopes.len());
        let mut recovered = Vec::with_capacity(envelopes.len());
        for (seq, envelope) in (0_u64..).zip(envelopes) {
            let document = envelope.open_with(checks).map_err(|source| ChainError::Record { seq, source })?;
            recovered.push(check_follows(documents.last(), &document, seq)?);
            documents.push(document);
        }
        let publisher = PublisherId::new(*documents[0].cid()).expect("a payload's CID is CIDv1, dag-cbor, sha2-256");
        let chain = Self { publisher, documents, recovered };
        chain.encode().map_err(ChainError::Encoding)?;
        Ok(chain)
    }

    /// Decodes and verifies an encoded chain.
    ///
    /// # Errors
    /// [`ChainError`]. The size is checked before anything is decoded.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChainError> {
        Self::decode_with(bytes, &Afresh)
    }

    /// As [`IdentityChain::decode`], with signatures checked by `checks`.
    pub(crate) fn decode_with(bytes: &[u8], checks: &dyn Checks) -> Result<Self, ChainError> {
        let envelopes = decode_canonical(WHAT, bytes, MAX_CHAIN_BYTES).map_err(ChainError::Encoding)?;
        Self::verify_with(envelopes, checks)
    }

    /// Encodes the chain: a dag-cbor list of envelopes.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] over [`MAX_CHAIN_BYTES`], which a verified chain never is.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        encode_canonical(WHAT, &self.envelopes(), MAX_CHAIN_BYTES)
    }

    /// Appends a document: sets its `seq` and `prev`, and signs it with `keys`.
    ///
    /// # Errors
    /// [`ChainError`] if the document may not follow the last one, or lacks signatures.
    pub fn rotate(&self, mut next: IdentityDocument, keys: &[&KeyPair]) -> Result<Self, ChainError> {
        next.seq = self.seq() + 1;
        next.prev = Some(self.current_reference());
        let seq = next.seq;
        let envelope = Envelope::sign(&next, keys).map_err(|source| ChainError::Record { seq, source })?;
        let mut envelopes = self.envelopes();
        envelopes.push(envelope);
        Self::verify(envelopes)
    }

    /// The publisher.
    pub fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// The current document: the last one.
    pub fn current(&self) -> &Signed<IdentityDocument> {
        self.documents.last().expect("a chain is never empty")
    }

    /// Reference to the current document.
    pub fn current_reference(&self) -> RecordCid {
        RecordCid::new(*self.current().cid()).expect("a payload's CID is CIDv1, dag-cbor, sha2-256")
    }

    /// Position of the current document.
    pub fn seq(&self) -> u64 {
        self.documents.len() as u64 - 1
    }

    /// The document at `seq`.
    pub fn document(&self, seq: u64) -> Option<&Signed<IdentityDocument>> {
        usize::try_from(seq).ok().and_then(|seq| self.documents.get(seq))
    }

    /// All documents, oldest first.
    pub fn documents(&self) -> &[Signed<IdentityDocument>] {
        &self.documents
    }

    /// The documents' payloads as blocks.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], which a verified document never is.
    pub fn blocks(&self) -> Result<Vec<Block>, RecordError> {
        self.documents.iter().map(|document| document.envelope().block()).collect()
    }

    /// Checks that enough keys of the current document signed `signed`.
    ///
    /// # Errors
    /// [`RecordError::NotAuthorised`].
    pub fn authorise<T: Record>(&self, signed: &Signed<T>) -> Result<(), RecordError> {
        authorise_under(self.current().record(), signed)
    }

    /// Checks that enough keys of *any* document of the chain signed `signed`: of the newest one, or of one that was
    /// current when the record was written. This check alone does not protect against a stolen key that was rotated
    /// away.
    ///
    /// # Errors
    /// [`RecordError::NotAuthorised`] with the counts of the newest document.
    pub fn authorise_historically<T: Record>(&self, signed: &Signed<T>) -> Result<(), RecordError> {
        let newest_first = self.documents.iter().rev();
        match newest_first.clone().any(|document| authorise_under(document.record(), signed).is_ok()) {
            true => Ok(()),
            false => self.authorise(signed),
        }
    }

    /// Compares two chains of one publisher.
    pub fn compare(&self, other: &Self) -> ChainOrder {
        if self.publisher != other.publisher {
            return ChainOrder::Conflict;
        }
        let pairs = self.documents.iter().zip(&other.documents);
        match pairs.clone().position(|(ours, theirs)| ours.cid() != theirs.cid()) {
            Some(fork) => match (self.recovered[fork], other.recovered[fork]) {
                (true, false) => ChainOrder::ThisWins,
                (false, true) => ChainOrder::OtherWins,
                _ => ChainOrder::Conflict,
            },
            None if self.documents.len() == other.documents.len() => ChainOrder::Same,
            None if self.documents.len() < other.documents.len() => ChainOrder::OtherWins,
            None => ChainOrder::ThisWins,
        }
    }

    /// The prefix of the chain in which `document` is the last document; `None` if the chain does not contain it.
    pub fn up_to(&self, document: &RecordCid) -> Option<Self> {
        let length = 1 + self.documents.iter().position(|ours| ours.cid() == document.cid())?;
        let (documents, recovered) = (self.documents[..length].to_vec(), self.recovered[..length].to_vec());
        Some(Self { publisher: self.publisher, documents, recovered })
    }

    /// Sort key that totally orders the chains of one publisher, document for document: recovery first, then the CID.
    /// It agrees with [`Self::compare`] wherever that returns a winner.
    pub(crate) fn rank(&self) -> impl Iterator<Item = (bool, &Cid)> {
        self.recovered.iter().copied().zip(self.documents.iter().map(Signed::cid))
    }

    /// Returns whether the document with this CID is in the chain.
    pub fn contains(&self, document: &Cid) -> bool {
        self.documents.iter().any(|ours| ours.cid() == document)
    }

    fn envelopes(&self) -> Vec<Envelope> {
        self.documents.iter().map(|document| document.envelope().clone()).collect()
    }
}

/// Checks that the threshold of `document` signed `signed`.
fn authorise_under<T: Record>(document: &IdentityDocument, signed: &Signed<T>) -> Result<(), RecordError> {
    let valid = signed.signers_among(&document.keys);
    let needed = usize::from(document.threshold);
    if valid < needed {
        let cid = Box::new(*signed.cid());
        return Err(RecordError::NotAuthorised { what: T::KIND.noun(), cid, valid, needed });
    }
    Ok(())
}

/// Checks that `next` may follow `previous`, and returns whether a recovery key signed it.
fn check_follows(
    previous: Option<&Signed<IdentityDocument>>,
    next: &Signed<IdentityDocument>,
    seq: u64,
) -> Result<bool, ChainError> {
    let broken = |reason: &str| ChainError::Broken { seq, reason: reason.to_owned() };
    let document = next.record();
    if document.seq != seq {
        return Err(broken(&format!("its sequence number is {}", document.seq)));
    }
    let expected = previous.map(|previous| *previous.cid());
    if document.prev.map(|prev| *prev.cid()) != expected {
        return Err(broken("it names another predecessor"));
    }
    let authority = previous.unwrap_or(next).record();
    let recovered = previous.is_some() && next.signers_among(&authority.recovery) > 0;
    if recovered {
        return Ok(true);
    }
    if next.signers_among(&authority.keys) < usize::from(authority.threshold) {
        return Err(ChainError::NotAuthorised { seq, needed: usize::from(authority.threshold) });
    }
    if authority.recovery != document.recovery {
        return Err(broken("it changes the recovery keys without a recovery key's signature"));
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
