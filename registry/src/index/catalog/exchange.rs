//! Reconciliation of two catalogs: summaries of publishers, and pages of the releases that one of them lacks.
//!
//! A summary is a publisher's head and the exclusive or of the marks of its releases, so two catalogs with the same
//! records of a publisher have the same summary. Where summaries differ, the requester lists its marks within a range
//! of (package, version), and receives the missing records of that range page by page.

use std::collections::HashSet;

use rusqlite::{OptionalExtension as _, Row, params};

use crate::{
    identity::{IdentityChain, PublisherId, Signed, Timestamp},
    index::{
        Acceptance, Catalog, CatalogError, Claim, Head, HeadOrder, Refusal, VerifiedHead,
        catalog::intake::{Intake, Standing},
    },
    package::{PackageId, Release},
};

/// Most releases examined for one page.
const MAX_ROWS: i64 = 4096;

/// The state of one publisher in a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) publisher: PublisherId,
    /// The highest head seen; zeros if no head was seen.
    pub(crate) order: HeadOrder,
    /// Exclusive or of the marks of all its releases.
    pub(crate) marks: u64,
}

/// A position among a publisher's releases: package and version, as text.
pub(crate) type Place = (String, String);

/// A request for releases of one publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) publisher: PublisherId,
    /// Only releases after this position.
    pub(crate) after: Place,
    /// Only releases up to and including this position; without it, up to the end.
    pub(crate) until: Option<Place>,
    /// Marks of the releases in that range that the requester has.
    pub(crate) have: HashSet<u64>,
}

/// Some of a publisher's releases, with the records that prove them. Their signatures have been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) chain: IdentityChain,
    pub(crate) head: Option<VerifiedHead>,
    /// Each signed by the keys of the chain's last document.
    pub(crate) releases: Vec<Signed<Release>>,
    /// Claims that show yanked versions.
    pub(crate) claims: Vec<Claim>,
    /// The last position of the page, if there are more releases.
    pub(crate) next: Option<Place>,
}

/// The records of a page that were new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageNews {
    /// Whether the head was new.
    pub(crate) head: bool,
    /// Number of new releases.
    pub(crate) releases: u64,
    /// Packages of the new releases.
    pub(crate) packages: Vec<PackageId>,
}

impl Catalog {
    /// Summaries of the followed publishers, at most `limit`, ordered by id and starting after `after`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn followed(&self, after: Option<&PublisherId>, limit: usize) -> Result<Vec<Summary>, CatalogError> {
        let after = after.map(PublisherId::to_bytes).unwrap_or_default();
        let sql = "SELECT id, head, marks FROM publishers
                   WHERE standing > 0 AND equivocation IS NULL AND id > ?1 ORDER BY id LIMIT ?2";
        self.summaries(sql, params![after, limit.cast_signed() as i64])
    }

    /// Summaries of the publishers whose records changed most recently, at most `limit`.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn lately_seen(&self, limit: usize) -> Result<Vec<Summary>, CatalogError> {
        let sql = "SELECT id, head, marks FROM publishers
                   WHERE equivocation IS NULL AND releases > 0 ORDER BY seen DESC, id LIMIT ?1";
        self.summaries(sql, params![limit.cast_signed() as i64])
    }

    /// The summary of a publisher, if it is known.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn summary(&self, publisher: &PublisherId) -> Result<Option<Summary>, CatalogError> {
        let sql = "SELECT id, head, marks FROM publishers WHERE id = ?1";
        Ok(self.summaries(sql, params![publisher.to_bytes()])?.pop())
    }

    fn summaries(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Summary>, CatalogError> {
        let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let rows: Vec<(Vec<u8>, Option<Vec<u8>>, i64)> = self.read_rows(sql, params, columns)?;
        let summary = |(id, head, marks): (Vec<u8>, Option<Vec<u8>>, i64)| {
            let order = match head {
                Some(head) => {
                    let head =
                        Signed::<Head>::decode_with(&head, &*self.signatures).map_err(|error| self.damaged(error))?;
                    HeadOrder { identity_seq: head.record().identity_seq, log_seq: head.record().log_seq }
                }
                None => HeadOrder { identity_seq: 0, log_seq: 0 },
            };
            Ok(Summary { publisher: self.publisher_id(&id)?, order, marks: marks.cast_unsigned() })
        };
        rows.into_iter().map(summary).collect()
    }

    /// A request for the releases of a publisher after a position. It carries the marks of the releases that this
    /// catalog has, at most `limit` of them, and its range ends at the last of these.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn pull(&self, publisher: &PublisherId, after: Place, limit: usize) -> Result<Pull, CatalogError> {
        let sql = "SELECT package, version, mark FROM releases
                   WHERE publisher = ?1 AND (package, version) > (?2, ?3) ORDER BY package, version LIMIT ?4";
        let values = params![publisher.to_bytes(), after.0, after.1, limit.cast_signed() as i64];
        let rows: Vec<(String, String, i64)> =
            self.read_rows(sql, values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let until = rows.get(limit.saturating_sub(1)).map(|(package, version, _)| (package.clone(), version.clone()));
        let have = rows.iter().map(|(_, _, mark)| mark.cast_unsigned()).collect();
        Ok(Pull { publisher: *publisher, after, until, have })
    }

    /// The releases that this catalog has and the requester lacks: releases signed by the current keys, and claims that
    /// show yanked versions, about `bytes` in total. `None` if nothing of the publisher is known, or if the publisher
    /// is blocked.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn page(&self, pull: &Pull, bytes: usize) -> Result<Option<Page>, CatalogError> {
        let Some(entry) = self.publisher(&pull.publisher)?.filter(|entry| entry.equivocation.is_none()) else {
            return Ok(None);
        };
        let head = entry.head.filter(|head| head.head().record().identity == entry.chain.current_reference());
        let mut page = Page { chain: entry.chain, head, releases: Vec::new(), claims: Vec::new(), next: None };
        let id = pull.publisher.to_bytes();
        let sql = "SELECT package, version, mark, envelope FROM releases
                   WHERE publisher = ?1 AND (package, version) > (?2, ?3) ORDER BY package, version LIMIT ?4";
        let rows: Vec<(String, String, i64, Vec<u8>)> =
            self.read_rows(sql, params![id, pull.after.0, pull.after.1, MAX_ROWS], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let (mut taken, seen, mut claimed) = (0, rows.len() as i64, HashSet::new());
        let mut last = None;
        for (package, version, mark, envelope) in rows {
            let place = (package, version);
            if pull.until.as_ref().is_some_and(|until| place > *until) {
                return Ok(Some(page));
            }
            if !pull.have.contains(&mark.cast_unsigned()) {
                if taken >= bytes {
                    page.next = last;
                    return Ok(Some(page));
                }
                let release = self.open_stored(&envelope)?;
                if page.chain.authorise(&release).is_ok() {
                    taken += envelope.len();
                    page.releases.push(release);
                }
                if mark & 1 == 1 && claimed.insert(place.0.clone()) {
                    let claim = self.stored_claim(&id, &place.0)?;
                    taken += claim.as_ref().map_or(0, |claim| claim.encoded().len());
                    page.claims.extend(claim);
                }
            }
            last = Some(place);
        }
        if seen == MAX_ROWS {
            page.next = last;
        }
        Ok(Some(page))
    }

    /// The claim that most recently proved a yanked version of a package.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(crate) fn claim_with_yanks(
        &self,
        publisher: &PublisherId,
        package: &PackageId,
    ) -> Result<Option<Claim>, CatalogError> {
        self.stored_claim(&publisher.to_bytes(), package.as_str())
    }

    fn stored_claim(&self, publisher: &[u8], package: &str) -> Result<Option<Claim>, CatalogError> {
        let sql = "SELECT claim FROM proofs WHERE publisher = ?1 AND package = ?2";
        let found: Option<Option<Vec<u8>>> = self
            .lock()
            .query_row(sql, params![publisher, package], |row| row.get(0))
            .optional()
            .map_err(self.failed("read"))?;
        // It was verified when it was accepted. A claim that no longer fits the publisher's state is left out.
        Ok(found.flatten().and_then(|claim| Claim::verify_with(&claim, Timestamp::MAX, &*self.signatures).ok()))
    }

    /// Accepts a page in one transaction, under the same rules as for single records. Returns what was new.
    ///
    /// # Errors
    /// [`CatalogError`] if the database fails; nothing is changed then.
    pub(crate) fn accept_page(&self, page: &Page, source: &str, now: Timestamp) -> Result<PageNews, CatalogError> {
        self.in_transaction(now, |intake| intake.take_page(page, source))
    }
}

impl Intake<'_> {
    fn take_page(&self, page: &Page, source: &str) -> Result<PageNews, CatalogError> {
        let mut news = PageNews::default();
        let standing = self.take_chain(&page.chain)?;
        let chain = match &standing {
            Standing::Current => &page.chain,
            Standing::Replaced(later) => later.as_ref(),
            Standing::Refused(_) => return Ok(news),
        };
        if let (Some(head), Standing::Current) = (&page.head, &standing) {
            match self.take_head(&page.chain, head)? {
                Acceptance::Accepted => news.head = true,
                Acceptance::Refused(Refusal::Equivocation) => return Ok(news),
                Acceptance::Known | Acceptance::Refused(_) => {}
            }
        }
        for release in &page.releases {
            let is_theirs = release.record().publisher == chain.publisher() && chain.authorise(release).is_ok();
            if is_theirs && self.take_release(release, false, source)? == Acceptance::Accepted {
                news.releases += 1;
                if news.packages.last() != Some(&release.record().package) {
                    news.packages.push(release.record().package.clone());
                }
            }
        }
        for claim in &page.claims {
            self.take_claim(claim, source)?;
        }
        Ok(news)
    }
}
