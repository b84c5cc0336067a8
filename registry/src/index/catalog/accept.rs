//! Accepting records: the public methods. All changes of one call happen in one transaction.

use rusqlite::TransactionBehavior;

use crate::{
    identity::{IdentityChain, PublisherId, Signed, Timestamp},
    index::{
        Acceptance, Catalog, CatalogError, Claim, ClaimAcceptance, Equivocation, Refusal, VerifiedHead,
        catalog::intake::{Intake, Standing},
    },
    package::Release,
};

impl Catalog {
    /// Accepts a verified claim: the publisher's identity, its head, and its release. The yank flags of other versions
    /// that the claim's proof shows are updated too, unless flags were proven under a later head.
    ///
    /// # Errors
    /// [`CatalogError`] if the database fails; nothing is changed then.
    pub fn accept_claim(&self, claim: &Claim, source: &str, now: Timestamp) -> Result<ClaimAcceptance, CatalogError> {
        let mut acceptances = self.accept_claims([(claim, source)], now)?;
        Ok(acceptances.remove(0))
    }

    /// Accepts verified claims, each with its source, in one transaction.
    ///
    /// # Errors
    /// As [`Catalog::accept_claim`].
    pub fn accept_claims<'a>(
        &self,
        claims: impl IntoIterator<Item = (&'a Claim, &'a str)>,
        now: Timestamp,
    ) -> Result<Vec<ClaimAcceptance>, CatalogError> {
        let mut claims = claims.into_iter().peekable();
        if claims.peek().is_none() {
            return Ok(Vec::new());
        }
        self.in_transaction(now, |intake| claims.map(|(claim, source)| intake.take_claim(claim, source)).collect())
    }

    /// Accepts a verified head.
    ///
    /// # Errors
    /// As [`Catalog::accept_claim`].
    pub fn accept_head(
        &self,
        chain: &IdentityChain,
        head: &VerifiedHead,
        now: Timestamp,
    ) -> Result<Acceptance, CatalogError> {
        self.in_transaction(now, |intake| intake.take_chain_and_head(chain, head))
    }

    /// Accepts a release that is verified by its own signature alone: one that was found by its CID or in a CAR.
    ///
    /// # Errors
    /// As [`Catalog::accept_claim`].
    pub fn accept_release(
        &self,
        chain: &IdentityChain,
        release: &Signed<Release>,
        source: &str,
        now: Timestamp,
    ) -> Result<Acceptance, CatalogError> {
        self.in_transaction(now, |intake| {
            let chain = match intake.take_chain(chain)? {
                Standing::Current => chain,
                Standing::Replaced(ref later) => &later.clone(),
                Standing::Refused(refusal) => return Ok(Acceptance::Refused(refusal)),
            };
            if release.record().publisher != chain.publisher() || chain.authorise(release).is_err() {
                return Ok(Acceptance::Refused(Refusal::NotAuthorised));
            }
            intake.take_release(release, false, source)
        })
    }

    /// Stores the proof that a publisher has two histories. From then on the catalog accepts nothing of it, until it
    /// rotates its identity or [`Catalog::clear_equivocation`] is called.
    ///
    /// # Errors
    /// As [`Catalog::accept_claim`]; [`CatalogError::Record`] for a proof that does not verify.
    pub fn accept_equivocation(
        &self,
        chain: &IdentityChain,
        proof: &Equivocation,
        now: Timestamp,
    ) -> Result<Acceptance, CatalogError> {
        proof.verify(chain)?;
        self.in_transaction(now, |intake| match intake.take_chain(chain)? {
            Standing::Current => intake.block(&chain.publisher(), proof).map(|()| Acceptance::Accepted),
            Standing::Replaced(_) => Ok(Acceptance::Refused(Refusal::OlderIdentity)),
            Standing::Refused(refusal) => Ok(Acceptance::Refused(refusal)),
        })
    }

    /// Unblocks a publisher that had two histories, because the user has decided to trust it.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn clear_equivocation(&self, publisher: &PublisherId) -> Result<(), CatalogError> {
        let sql = "UPDATE publishers SET equivocation = NULL WHERE id = ?1";
        self.lock().execute(sql, [publisher.to_bytes()]).map_err(self.failed("write"))?;
        Ok(())
    }

    pub(super) fn in_transaction<T>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&Intake<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut connection = self.lock();
        let failed = self.failed("write");
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let intake = Intake { catalog: self, transaction, now };
        let result = work(&intake)?;
        intake.transaction.commit().map_err(failed)?;
        Ok(result)
    }
}
