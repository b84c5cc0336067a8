//! Accepting records: the rules.

use rusqlite::{OptionalExtension as _, Transaction, named_params, params};

use crate::{
    identity::{ChainOrder, IdentityChain, PublisherId, Signed, Timestamp},
    index::{
        Acceptance, Catalog, CatalogError, Claim, ClaimAcceptance, Equivocation, HeadOrder, HeadVerdict, Refusal,
        VerifiedHead, VersionEntry, catalog::schema, judge_head,
    },
    package::{PackageId, Release},
};

/// How an offered identity chain relates to the publisher's chain in the catalog.
pub(super) enum Standing {
    /// The offered chain is the current one.
    Current,
    /// The catalog has a later chain.
    Replaced(Box<IdentityChain>),
    /// Nothing of the publisher is accepted.
    Refused(Refusal),
}

/// One open transaction.
pub(super) struct Intake<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) transaction: Transaction<'a>,
    pub(super) now: Timestamp,
}

impl Intake<'_> {
    pub(super) fn take_claim(&self, claim: &Claim, source: &str) -> Result<ClaimAcceptance, CatalogError> {
        let refused = |refusal: Refusal| ClaimAcceptance {
            head: Acceptance::Refused(refusal.clone()),
            release: claim.entry().map(|_| Acceptance::Refused(refusal)),
        };
        let standing = self.take_chain(claim.chain())?;
        let head = match &standing {
            Standing::Current => self.take_head(claim.chain(), claim.head())?,
            Standing::Replaced(_) => Acceptance::Refused(Refusal::OlderIdentity),
            Standing::Refused(refusal) => return Ok(refused(refusal.clone())),
        };
        if head == Acceptance::Refused(Refusal::Equivocation) {
            return Ok(refused(Refusal::Equivocation));
        }
        let Some(entry) = claim.entry() else { return Ok(ClaimAcceptance { head, release: None }) };
        let current = !matches!(head, Acceptance::Refused(_));
        // A release under an outdated head or identity counts only if the current keys have signed the release itself.
        let chain = if let Standing::Replaced(later) = &standing { later } else { claim.chain() };
        if !current && chain.authorise(&entry.release).is_err() {
            return Ok(ClaimAcceptance { head, release: Some(Acceptance::Refused(Refusal::NotAuthorised)) });
        }
        let record = entry.release.record();
        let yanked = claim.versions().iter().any(|entry| entry.version == record.version && entry.yanked);
        let release = self.take_release(&entry.release, yanked, source)?;
        if matches!(standing, Standing::Current) && entry.found.is_some() {
            self.take_proof(claim)?;
        }
        Ok(ClaimAcceptance { head, release: Some(release) })
    }

    /// Stores the chain if it is new or extends the known one.
    pub(super) fn take_chain(&self, chain: &IdentityChain) -> Result<Standing, CatalogError> {
        let id = chain.publisher().to_bytes();
        let known: Option<(Vec<u8>, bool)> =
            self.read("SELECT chain, equivocation IS NOT NULL FROM publishers WHERE id = ?1", params![id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let Some((known, blocked)) = known else {
            self.write(
                "INSERT INTO publishers (id, chain, first_seen, seen) VALUES (?1, ?2, ?3, ?3)",
                params![id, chain.encode()?, self.now.as_unix().cast_signed()],
            )?;
            self.keep_quota(&chain.publisher())?;
            return Ok(Standing::Current);
        };
        let known = IdentityChain::decode_with(&known, &**self.catalog.signatures())
            .map_err(|error| self.catalog.damaged(error))?;
        match known.compare(chain) {
            ChainOrder::Conflict => return Ok(Standing::Refused(Refusal::IdentityConflict)),
            ChainOrder::OtherWins => self.replace_chain(&known, chain)?,
            _ if blocked => return Ok(Standing::Refused(Refusal::Equivocation)),
            ChainOrder::Same => {}
            ChainOrder::ThisWins => return Ok(Standing::Replaced(Box::new(known))),
        }
        Ok(Standing::Current)
    }

    /// Stores a chain that supersedes the known one. A rotation ends a block for equivocation. If a document was
    /// replaced, the records that only this document authorised are removed.
    fn replace_chain(&self, known: &IdentityChain, chain: &IdentityChain) -> Result<(), CatalogError> {
        let id = chain.publisher().to_bytes();
        let set = "UPDATE publishers SET chain = ?2, equivocation = NULL WHERE id = ?1";
        self.write(set, params![id, chain.encode()?])?;
        if known.documents().iter().all(|document| chain.contains(document.cid())) {
            return Ok(());
        }
        self.write("UPDATE publishers SET head = NULL, refresh = NULL WHERE id = ?1", params![id])?;
        self.write("DELETE FROM proofs WHERE publisher = ?1", params![id])?;
        let envelopes = self.read_all("SELECT envelope FROM releases WHERE publisher = ?1", params![id])?;
        for envelope in envelopes {
            let release = self.open_release(&envelope)?;
            if chain.authorise_historically(&release).is_err() {
                self.write("DELETE FROM releases WHERE cid = ?1", params![release.cid().to_bytes()])?;
                self.derive_package(&chain.publisher(), &release.record().package)?;
            }
        }
        Ok(())
    }

    pub(super) fn take_chain_and_head(
        &self,
        chain: &IdentityChain,
        head: &VerifiedHead,
    ) -> Result<Acceptance, CatalogError> {
        match self.take_chain(chain)? {
            Standing::Current => self.take_head(chain, head),
            Standing::Replaced(_) => Ok(Acceptance::Refused(Refusal::OlderIdentity)),
            Standing::Refused(refusal) => Ok(Acceptance::Refused(refusal)),
        }
    }

    /// Stores the head if it is not below the highest one seen.
    pub(super) fn take_head(&self, chain: &IdentityChain, head: &VerifiedHead) -> Result<Acceptance, CatalogError> {
        let publisher = chain.publisher();
        // A head under a replaced identity document ranks below any head under the current one.
        if let Some(known) = self.catalog.stored_head(&self.transaction, &publisher)?
            && known.record().identity == head.head().record().identity
        {
            let refresh = self.catalog.stored_refresh(&self.transaction, &publisher)?;
            let known = self.catalog.verify_stored(known.envelope().clone(), refresh, chain)?;
            match judge_head(&known, head) {
                HeadVerdict::Newer | HeadVerdict::Refreshed => {}
                HeadVerdict::Known => return Ok(Acceptance::Known),
                HeadVerdict::Stale => return Ok(Acceptance::Refused(Refusal::OlderHead)),
                HeadVerdict::Equivocation(proof) => {
                    self.block(&publisher, &proof)?;
                    return Ok(Acceptance::Refused(Refusal::Equivocation));
                }
            }
        }
        let refresh = head.refresh().map(Signed::encode).transpose()?;
        self.write(
            "UPDATE publishers SET head = ?2, refresh = ?3, seen = ?4 WHERE id = ?1",
            params![publisher.to_bytes(), head.head().encode()?, refresh, self.now.as_unix().cast_signed()],
        )?;
        Ok(Acceptance::Accepted)
    }

    pub(super) fn take_release(
        &self,
        release: &Signed<Release>,
        yanked: bool,
        source: &str,
    ) -> Result<Acceptance, CatalogError> {
        let record = release.record();
        let (cid, publisher) = (release.cid().to_bytes(), record.publisher.to_bytes());
        let held: Option<Vec<u8>> = self.read(
            "SELECT cid FROM releases WHERE publisher = ?1 AND package = ?2 AND version = ?3",
            params![publisher, record.package.as_str(), record.version.to_string()],
            |row| row.get(0),
        )?;
        if let Some(held) = held {
            if held == cid {
                return Ok(Acceptance::Known);
            }
            let held = held.as_slice().try_into().map_err(|error| self.catalog.damaged(error))?;
            return Ok(Acceptance::Refused(Refusal::VersionConflict { held: Box::new(held) }));
        }
        self.write(
            "INSERT INTO releases (cid, publisher, package, version, content, envelope, yanked, seen, source, mark)
             VALUES (:cid, :publisher, :package, :version, :content, :envelope, :yanked, :seen, :source, :mark)",
            named_params! {
                ":cid": cid, ":publisher": publisher, ":package": record.package.as_str(),
                ":version": record.version.to_string(), ":content": record.content.to_bytes(),
                ":envelope": release.encode()?, ":yanked": yanked,
                ":seen": self.now.as_unix().cast_signed(), ":source": source, ":mark": schema::mark(&cid, yanked),
            },
        )?;
        self.derive_package(&record.publisher, &record.package)?;
        self.keep_quota(&record.publisher)?;
        Ok(Acceptance::Accepted)
    }

    /// Updates which versions are yanked, if the claim's head is not below the head that last proved the flags of this
    /// package. A claim proves one package under one head, and publishing another package creates a later head.
    fn take_proof(&self, claim: &Claim) -> Result<(), CatalogError> {
        let Some(package) = claim.package() else { return Ok(()) };
        let (publisher, order) = (claim.publisher(), claim.head().order());
        if self.proven(&publisher, package)?.is_some_and(|known| known > order) {
            return Ok(());
        }
        let shows_a_yank = claim.versions().iter().any(|entry| entry.yanked);
        self.set_proven(&publisher, package, order, shows_a_yank.then(|| claim.encoded()))?;
        self.take_flags(&publisher, package, claim.versions())
    }

    /// The head that last proved the flags of a package.
    fn proven(&self, publisher: &PublisherId, package: &PackageId) -> Result<Option<HeadOrder>, CatalogError> {
        let sql = "SELECT identity_seq, log_seq FROM proofs WHERE publisher = ?1 AND package = ?2";
        self.read(sql, params![publisher.to_bytes(), package.as_str()], |row| {
            let (identity_seq, log_seq): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(HeadOrder { identity_seq: identity_seq.cast_unsigned(), log_seq: log_seq.cast_unsigned() })
        })
    }

    pub(super) fn set_proven(
        &self,
        publisher: &PublisherId,
        package: &PackageId,
        order: HeadOrder,
        claim: Option<&[u8]>,
    ) -> Result<(), CatalogError> {
        let sql = "INSERT OR REPLACE INTO proofs (publisher, package, identity_seq, log_seq, claim)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        let (identity_seq, log_seq) = (order.identity_seq.cast_signed(), order.log_seq.cast_signed());
        self.write(sql, params![publisher.to_bytes(), package.as_str(), identity_seq, log_seq, claim])?;
        Ok(())
    }

    pub(super) fn take_flags(
        &self,
        publisher: &PublisherId,
        package: &PackageId,
        versions: &[VersionEntry],
    ) -> Result<(), CatalogError> {
        let mut changed = 0;
        for entry in versions {
            let sql = "UPDATE releases SET yanked = ?2, mark = ?4 WHERE cid = ?1 AND publisher = ?3 AND yanked <> ?2";
            let cid = entry.release.to_bytes();
            let mark = schema::mark(&cid, entry.yanked);
            changed += self.write(sql, params![cid, entry.yanked, publisher.to_bytes(), mark])?;
        }
        if changed > 0 {
            self.derive_package(publisher, package)?;
        }
        Ok(())
    }

    pub(super) fn block(&self, publisher: &PublisherId, proof: &Equivocation) -> Result<(), CatalogError> {
        let sql = "UPDATE publishers SET equivocation = ?2 WHERE id = ?1";
        self.write(sql, params![publisher.to_bytes(), proof.encode()?])?;
        Ok(())
    }

    pub(super) fn open_release(&self, envelope: &[u8]) -> Result<Signed<Release>, CatalogError> {
        self.catalog.open_stored(envelope)
    }

    pub(super) fn write(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, CatalogError> {
        let run = || self.transaction.prepare_cached(sql)?.execute(params);
        run().map_err(self.catalog.failed("write"))
    }

    pub(super) fn read<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        row: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, CatalogError> {
        let run = || self.transaction.prepare_cached(sql)?.query_row(params, row).optional();
        run().map_err(self.catalog.failed("read"))
    }

    pub(super) fn read_all(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Vec<u8>>, CatalogError> {
        let run = || -> rusqlite::Result<_> {
            self.transaction.prepare_cached(sql)?.query_map(params, |row| row.get(0))?.collect()
        };
        run().map_err(self.catalog.failed("read"))
    }
}
