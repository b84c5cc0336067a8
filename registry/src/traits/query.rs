//! Search queries.

use crate::SearchRequest;

/// Default maximum number of hits.
const DEFAULT_LIMIT: usize = 20;

/// Search terms and filters.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Query {
    request: SearchRequest,
}

impl Query {
    /// Searches for `words`, which are not parsed as a query language. An empty query matches everything that passes
    /// the filters.
    pub fn new(words: impl Into<String>) -> Self {
        let request = SearchRequest {
            query: words.into(),
            category: None,
            tags: Vec::new(),
            limit: DEFAULT_LIMIT,
            min_reputation: None,
            local: false,
        };
        Self { request }
    }

    /// Only packages of this category.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.request.category = Some(category.into());
        self
    }

    /// Only packages with this tag, in addition to tags set before.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.request.tags.push(tag.into());
        self
    }

    /// Maximum number of hits. Default: 20.
    pub fn limit(mut self, limit: usize) -> Self {
        self.request.limit = limit;
        self
    }

    /// Only packages that a peer of at least this reputation (0 to 1) provides.
    pub fn min_reputation(mut self, reputation: f64) -> Self {
        self.request.min_reputation = Some(reputation);
        self
    }

    /// Searches the local catalog only.
    pub fn local(mut self) -> Self {
        self.request.local = true;
        self
    }

    pub(crate) fn request(&self) -> SearchRequest {
        self.request.clone()
    }
}
