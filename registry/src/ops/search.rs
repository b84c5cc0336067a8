//! Search: queries the local catalog, then peers; the local catalog ranks all hits.

mod network;
mod patience;

use std::{sync::Arc, time::Duration};

use self::network::Asking;
pub(super) use self::network::PeerSearch;
use super::{clock, failure::usage, peers::rated, storage::Storage, trust::Trust};
use crate::{
    Failure, SearchHit, SearchRequest,
    identity::Timestamp,
    index::{Hit, MAX_QUERY_BYTES, MAX_SEARCH_LIMIT, SearchFilters},
    peers::PeerBook,
    trust::Evidence,
};

/// Publishers known for at least this long rank before newer ones.
const LONG_KNOWN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Searches the catalog and peers.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(super) storage: Storage,
    pub(super) trust: Trust,
    pub(super) peers: Arc<PeerBook>,
    /// `None` in offline mode.
    pub(super) network: Option<PeerSearch>,
}

impl Search {
    /// Searches the local catalog. Unless the request is `local`, peers are queried first for releases that it lacks.
    pub(crate) async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure> {
        if request.query.len() > MAX_QUERY_BYTES {
            return Err(usage(format!(
                "a query has at most {MAX_QUERY_BYTES} bytes, this one {}",
                request.query.len()
            ))
            .hinted("a few words are enough: every one of them is looked for"));
        }
        if request.limit == 0 || request.limit > MAX_SEARCH_LIMIT {
            return Err(usage(format!("the limit is from 1 to {MAX_SEARCH_LIMIT}")));
        }
        let (least, limit) = (request.min_reputation, request.limit);
        let now = clock::now().as_unix();
        let known_before = Some(Timestamp::from_unix(now.saturating_sub(LONG_KNOWN.as_secs())));
        let filters = SearchFilters { category: request.category, tags: request.tags, known_before };
        if let (Some(network), false) = (&self.network, request.local) {
            let (query, wanted) = (request.query.clone(), filters.clone());
            let found = self.storage.with_catalog(move |catalog| catalog.search(&query, &wanted, limit)).await?;
            let asking = Asking { query: &request.query, filters: &filters, limit, found };
            network.ask_others(asking).await?;
        }
        let trusted = self.trust.trusted().await?;
        let found = self.storage.with_catalog(move |catalog| {
            // The reputation filter runs later, so hits that it removes must not use up the limit.
            let limit = if least.is_some() { MAX_SEARCH_LIMIT } else { limit };
            let hits = catalog.search(&request.query, &filters, limit)?;
            hits.into_iter()
                .map(|hit| {
                    let record = hit.entry.release.record();
                    let claimants = catalog.publishers_of(&record.package)?;
                    let own = catalog.own_publishers_of(&record.package)?;
                    let trusted = trusted.get(record.package.namespace()).cloned();
                    let meant = Evidence { target: None, trusted, own }.publisher();
                    let trust = match meant {
                        Some((meant, _)) if meant == record.publisher => "pinned",
                        None if claimants.len() < 2 => "known",
                        _ => "conflict",
                    };
                    let source = hit.entry.source.clone();
                    Ok((report(hit, trust), source))
                })
                .collect()
        });
        rated(&self.peers, found.await?, least, limit).await
    }
}

fn report(hit: Hit, trust: &str) -> SearchHit {
    let yanked = hit.entry.yanked;
    let release = hit.entry.release.into_record();
    SearchHit {
        package: release.package.to_string(),
        version: release.version.to_string(),
        yanked,
        description: release.metadata.description,
        cid: release.content.to_string(),
        publisher: release.publisher.to_string(),
        trust: trust.to_owned(),
        tags: release.metadata.tags,
        category: release.metadata.category,
        license: release.metadata.license,
        providers: 0,
        reputation: 1.0,
        score: hit.score,
        fuzzy: hit.fuzzy,
    }
}

#[cfg(test)]
mod tests;
