//! Search: the local catalog, ranked.

use super::{Operations, failure::usage};
use crate::{
    Failure, SearchHit, SearchRequest,
    index::{Hit, MAX_QUERY_BYTES, MAX_SEARCH_LIMIT, SearchFilters},
};

impl Operations {
    /// Searches the catalog of this home.
    pub(crate) async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, Failure> {
        if request.query.len() > MAX_QUERY_BYTES {
            return Err(usage(format!(
                "a query has at most {MAX_QUERY_BYTES} bytes, this one {}",
                request.query.len()
            )));
        }
        if request.limit == 0 || request.limit > MAX_SEARCH_LIMIT {
            return Err(usage(format!("the limit is from 1 to {MAX_SEARCH_LIMIT}")));
        }
        self.with_catalog(move |catalog| {
            let filters = SearchFilters { category: request.category, tags: request.tags };
            let hits = catalog.search(&request.query, &filters, request.limit)?;
            hits.into_iter()
                .map(|hit| {
                    let conflict = catalog.publishers_of(&hit.entry.release.record().package)?.len() > 1;
                    Ok(report(hit, conflict))
                })
                .collect()
        })
        .await
    }
}

fn report(hit: Hit, conflict: bool) -> SearchHit {
    let release = hit.entry.release.into_record();
    SearchHit {
        package: release.package.to_string(),
        version: release.version.to_string(),
        description: release.metadata.description,
        cid: release.content.to_string(),
        publisher: release.publisher.to_string(),
        trust: if conflict { "conflict" } else { "known" }.to_owned(),
        tags: release.metadata.tags,
        category: release.metadata.category,
        license: release.metadata.license,
        providers: 0,
        reputation: 1.0,
        score: hit.score,
    }
}
