//! Looks claims up in the ggen DHT, verifies them, and adds them to the catalog.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ggen_blockstore::Block;
use libp2p::PeerId;

use super::{CatalogEvents, clock, failure, node::bootstrap, peers::is_lie, resolve::Hearing, storage::Storage};
use crate::{
    BootstrapRequest, Config, ErrorKind, Failure,
    identity::{Checks, PublisherId},
    index::{Claim, ClaimError, ClaimSet, HeadError, package_key, qualified_key},
    node::{FindingRecord, FoundRecord, Handle},
    package::PackageId,
};

/// Looks up the claims of publishers.
#[derive(Clone, Debug)]
pub(crate) struct ClaimLookup {
    pub(super) storage: Storage,
    /// `None` in offline mode.
    pub(super) node: Option<Handle>,
    pub(super) config: Arc<Config>,
    pub(super) news: CatalogEvents,
}

impl ClaimLookup {
    /// Waits for the bootstrap nodes if the ggen routing table is empty, because a node that has just started may not
    /// have reached them yet. Otherwise a lookup would fail without having queried a peer.
    pub(super) async fn wait_for_dht_peers(&self) -> Result<(), Failure> {
        let Some(node) = &self.node else { return Ok(()) };
        let nodes: Vec<_> = self.config.bootstrap_nodes.iter().map(ToString::to_string).collect();
        if !nodes.is_empty() && node.snapshot().await.map_err(failure::stopped)?.ggen_routing_peers == 0 {
            let timeout = self.config.timeouts.dial();
            // The node itself retries those that cannot be reached.
            let report = bootstrap(node, BootstrapRequest { nodes, timeout }).await?;
            if self.config.rendezvous && report.routing_table_peers == 0 && !report.connected.is_empty() {
                // Plain IPFS nodes do not serve the ggen DHT. The rendezvous through them finds nodes that do.
                let _timed_out = tokio::time::timeout(timeout, node.acquainted()).await;
            }
        }
        Ok(())
    }

    /// Looks the name up on the DHT, keeps what is true of the answers that come in time, and returns it.
    pub(super) async fn ask_the_dht(
        &self,
        publisher: Option<&PublisherId>,
        package: &PackageId,
        within: Duration,
    ) -> Result<Answers, Failure> {
        let key = match publisher {
            Some(publisher) => qualified_key(publisher, package),
            None => package_key(package),
        };
        let answers = self.claims_until(key, Some(tokio::time::Instant::from(clock::after(within)))).await?;
        Ok(match answers.hearing {
            Hearing::Unfinished(_) => Answers { hearing: Hearing::Unfinished(within), ..answers },
            _ => answers,
        })
    }

    /// Looks up a key of claims in the DHT, keeps the valid claims, and returns them.
    pub(super) async fn claims_under(&self, key: Vec<u8>) -> Result<Answers, Failure> {
        self.claims_until(key, None).await
    }

    /// As [`Self::claims_under`], with the responses that arrive until `until`.
    pub(super) async fn claims_until(
        &self,
        key: Vec<u8>,
        until: Option<tokio::time::Instant>,
    ) -> Result<Answers, Failure> {
        let Some(node) = &self.node else { return Ok(Answers::default()) };
        let begun = tokio::time::Instant::now();
        match until {
            Some(until) => tokio::time::timeout_at(until, self.wait_for_dht_peers()).await.unwrap_or(Ok(()))?,
            None => self.wait_for_dht_peers().await?,
        }
        let mut set = ClaimSet::new(&key);
        let mut values = node.find_record(key.clone()).await.map_err(failure::stopped)?;
        let mut seen = HashMap::new();
        let (mut refused, mut liars) = (RefusedClaims::default(), Vec::new());
        let next = async |values: &mut FindingRecord| match until {
            Some(until) => tokio::time::timeout_at(until, values.recv()).await.ok().flatten(),
            None => values.recv().await,
        };
        while let Some(FoundRecord { value, from }) = next(&mut values).await {
            // Most peers give the same answer.
            let lie = match seen.get(&value) {
                Some(lie) => *lie,
                None => {
                    let (key, answer) = (key.clone(), value.clone());
                    let signatures = Arc::clone(self.storage.catalog.signatures());
                    let merging = self.storage.run(move || Ok(merge_valid(set, &key, &answer, &*signatures)));
                    let (merged, error) = merging.await?;
                    set = merged;
                    let lie = error.as_ref().is_some_and(is_lie);
                    error.iter().for_each(|error| refused.add(error));
                    seen.insert(value, lie);
                    lie
                }
            };
            if lie {
                liars.extend(from.filter(|_| liars.len() < MAX_REFUSED));
            }
        }
        let claims: Vec<Claim> = set.claims().cloned().collect();
        self.keep(claims.clone()).await?;
        let hearing = match node.snapshot().await.map_err(failure::stopped)?.connected.is_empty() {
            // That no peer is connected is said where it matters.
            true => Hearing::Heard,
            false => Hearing::of(values.walked(), begun.elapsed()),
        };
        Ok(Answers { claims, refused, liars, hearing })
    }

    /// Adds claims to the catalog, and stores their releases and proof blocks as cache, so that the next lookup of the
    /// package needs no peer for its records.
    pub(super) async fn keep(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        let (catalog, store, news) = (Arc::clone(&self.storage.catalog), self.storage.store.clone(), self.news.clone());
        self.storage
            .run(move || {
                let proofs =
                    claims.iter().filter_map(|claim| claim.entry()?.found.as_ref()).flat_map(|found| &found.proof);
                let blocks: Result<Vec<_>, _> = proofs.map(|data| Block::dag_cbor(data.clone())).collect();
                let mut blocks = blocks.map_err(failure::store)?;
                for release in claims.iter().filter_map(|claim| Some(&claim.entry()?.release)) {
                    blocks.push(release.envelope().block().map_err(failure::failed)?);
                }
                store.put_many(&blocks).map_err(failure::store)?;
                let accepted = catalog
                    .accept_claims(claims.iter().map(|claim| (claim, "dht")), clock::now())
                    .map_err(failure::failed)?;
                claims.iter().zip(&accepted).for_each(|(claim, accepted)| news.tell(claim, accepted));
                Ok(())
            })
            .await
    }
}

/// The claims in the DHT under a name.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Valid claims.
    pub(super) claims: Vec<Claim>,
    /// Invalid claims.
    pub(super) refused: RefusedClaims,
    /// Peers that sent values which no honest peer sends.
    pub(super) liars: Vec<PeerId>,
    pub(super) hearing: Hearing,
}

/// Invalid claims that were found.
#[derive(Debug, Default)]
pub(super) struct RefusedClaims {
    /// The reason for each.
    pub(super) reasons: Vec<String>,
    /// Whether some are dated in the future, which may be due to this machine's clock.
    pub(super) by_the_clock: bool,
}

impl RefusedClaims {
    fn add(&mut self, error: &ClaimError) {
        self.by_the_clock |= matches!(error, ClaimError::Head(HeadError::Future { .. }));
        if self.reasons.len() < MAX_REFUSED {
            self.reasons.push(Failure::from_error(ErrorKind::Verification, error).in_one_line());
        }
    }

    /// Returns what the user can do.
    pub(super) fn hint(&self) -> &'static str {
        match self.by_the_clock {
            true => "check this machine's clock (`date -u`); if it is right, the publisher's was wrong when it signed",
            false => "a peer offers a forged record; ask the publisher for a CID, and fetch that",
        }
    }

    /// Replaces a `NotFound` failure if invalid claims were found.
    pub(super) fn instead_of(&self, failure: Failure, package: &PackageId) -> Failure {
        let found_none = matches!(failure.kind, ErrorKind::NotFound | ErrorKind::TimedOut);
        if !found_none || self.reasons.is_empty() {
            return failure;
        }
        let message = format!("`{package}` is claimed, but no claim that was found can be believed");
        Failure { causes: self.reasons.clone(), ..Failure::new(ErrorKind::Verification, message) }.hinted(self.hint())
    }

    /// Adds the reasons to the failure of a missing version, which may be in an invalid claim.
    pub(super) fn beside(&self, mut failure: Failure) -> Failure {
        if !self.reasons.is_empty() {
            failure.causes.extend(self.reasons.iter().map(|reason| format!("a claim was refused: {reason}")));
            failure.hint.get_or_insert_with(|| self.hint().into());
        }
        failure
    }
}

/// Maximum number of reasons for invalid values, and of peers that sent them.
const MAX_REFUSED: usize = 16;

/// Returns the set merged with the claims of `value`, or the unchanged set and the error.
fn merge_valid(set: ClaimSet, key: &[u8], value: &[u8], checks: &dyn Checks) -> (ClaimSet, Option<ClaimError>) {
    let mut merged = set.clone();
    match ClaimSet::verify_with(key, value, clock::now(), checks).and_then(|other| merged.merge(other)) {
        Ok(()) => (merged, None),
        Err(error) => {
            tracing::info!(target: crate::LOG_TARGET, %error, "a record of the DHT is not valid");
            (set, Some(error))
        }
    }
}
